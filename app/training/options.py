"""What a training was asked to do, and the command line that asks for the same again."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.core.errors import SettingsError
from app.data.labelled_ads import Columns

SAVE_DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class TrainOptions:
    """The options of `doppelkopf train`; batch size and length count windows and their tokens."""

    data: Path
    base: str
    out: Path
    labels: Path | None = None
    validation: Path | None = None
    validation_share: float = 0.1
    columns: Columns = field(default_factory=Columns)
    epochs: int = 3
    batch_size: int = 16
    learning_rate: float = 5e-5
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    distance_weight: float = 0.0
    class_weights: bool = False
    max_length: int | None = None
    layers: int | None = None
    freeze_layers: int | None = None
    teacher: Path | None = None
    seed: int = 42
    save_dtype: str = "float32"
    license: str | None = None
    note: str | None = None
    resume: bool = False

    def check(self) -> None:
        """Refuse values that cannot work before anything is read.

        Raises:
            SettingsError: names the option and what it can be.
        """
        bounds = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch-size": (self.batch_size >= 1, "at least 1"),
            "learning-rate": (0 < self.learning_rate < 1, "above 0 and below 1"),
            "warmup-ratio": (0 <= self.warmup_ratio < 1, "from 0 to below 1"),
            "weight-decay": (self.weight_decay >= 0, "at least 0"),
            "label-smoothing": (0 <= self.label_smoothing < 1, "from 0 to below 1"),
            "distance-weight": (self.distance_weight >= 0, "at least 0"),
            "validation-share": (0 <= self.validation_share < 1, "from 0 to below 1"),
            "freeze-layers": ((self.freeze_layers or 0) >= 0, "at least 0"),
            "seed": (0 <= self.seed < 2**32, "from 0 to 4294967295"),
            "save-dtype": (self.save_dtype in SAVE_DTYPES, " or ".join(SAVE_DTYPES)),
        }
        for option, (fits, range_) in bounds.items():
            if not fits:
                value = getattr(self, option.replace("-", "_"))
                raise SettingsError(f"--{option} has to be {range_}, not {value}.")

    def command(self, max_length: int) -> str:
        """Return the command that trains the same again; also what has a default is spelled out.

        Args:
            max_length: the window length that was used.
        """
        chosen: Mapping[str, object] = {
            "--data": self.data,
            "--base": self.base,
            "--out": self.out,
            "--labels": self.labels,
            "--validation": self.validation,
            "--validation-share": None if self.validation else self.validation_share,
            "--text-column": self.columns.text,
            "--title-column": self.columns.title,
            "--job-category-column": self.columns.job_category,
            "--min-education-column": self.columns.min_education,
            "--group-column": self.columns.group,
            "--epochs": self.epochs,
            "--batch-size": self.batch_size,
            "--learning-rate": self.learning_rate,
            "--warmup-ratio": self.warmup_ratio,
            "--weight-decay": self.weight_decay,
            "--label-smoothing": self.label_smoothing,
            "--distance-weight": self.distance_weight,
            "--max-length": max_length,
            "--layers": self.layers,
            "--freeze-layers": self.freeze_layers,
            "--teacher": self.teacher,
            "--seed": self.seed,
            "--save-dtype": self.save_dtype,
            "--license": self.license,
            "--note": self.note,
        }
        words = ["doppelkopf", "train"]
        for option, value in chosen.items():
            if value is not None:
                words += [option, str(value)]
        words.append("--class-weights" if self.class_weights else "--no-class-weights")
        return shlex.join(words)
