"""The options of a training, and the command that repeats it."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from typing_extensions import Doc

from app.core.errors import SettingsError

SAVE_DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class TrainOptions:
    """The options of `doppelkopf train`, which derives its command line from these fields.

    The field `batch_size` is the option `--batch-size`, with the field's type, default and text.
    """

    data: Annotated[Path, Doc("Ads: .csv, .jsonl (or .ndjson, .json) or .parquet.")]
    base: Annotated[str, Doc("A base encoder: a folder, or a name on the model hub.")]
    out: Annotated[Path, Doc("The checkpoint folder to make.")]
    labels: Annotated[
        Path | None, Doc("JSON file that fixes labels, their order and display names.")
    ] = None
    validation: Annotated[Path | None, Doc("Ads to validate with.")] = None
    validation_share: Annotated[
        float, Doc("Share of the rows to validate with, if there is no --validation.")
    ] = 0.1
    text_column: Annotated[
        str | None,
        Doc('Column of the texts. Default: "text", or "title" if there is no such column.'),
    ] = None
    title_column: Annotated[
        str | None, Doc('Column of the titles. Default: "title", if there is one.')
    ] = None
    job_category_column: Annotated[
        str | None, Doc('Column of the job categories. Default: "job_category".')
    ] = None
    min_education_column: Annotated[
        str | None, Doc('Column of the minimum educations. Default: "min_education".')
    ] = None
    group_column: Annotated[
        str | None,
        Doc("Rows with the same value in this column, such as the employer, are not split."),
    ] = None
    epochs: Annotated[int, Doc("Passes over the data.")] = 3
    batch_size: Annotated[int, Doc("Windows per step and device.")] = 16
    learning_rate: Annotated[float, Doc("Peak learning rate of AdamW; decays linearly.")] = 5e-5
    warmup_ratio: Annotated[
        float, Doc("Share of the steps in which the learning rate rises to its peak.")
    ] = 0.1
    weight_decay: Annotated[float, Doc("Weight decay of AdamW.")] = 0.01
    label_smoothing: Annotated[
        float, Doc("Share of the target that is spread over all labels.")
    ] = 0.0
    distance_weight: Annotated[
        float, Doc("Weight in an ordered head's loss of how many levels a prediction is off.")
    ] = 0.0
    max_length: Annotated[
        int | None, Doc("Tokens per window. Default: the encoder's positions, up to 512.")
    ] = None
    layers: Annotated[int | None, Doc("Keep this many of the base's layers, evenly spread.")] = None
    freeze_layers: Annotated[
        int | None, Doc("Freeze the embeddings and this many of the lowest layers, 0 or more.")
    ] = None
    teacher: Annotated[
        Path | None, Doc("A trained checkpoint to learn from; --layers of its layers are kept.")
    ] = None
    seed: Annotated[int, Doc("Seed of the split, new heads, order and dropout.")] = 42
    save_dtype: Annotated[str, Doc("float32 or float16.")] = "float32"
    license: Annotated[str | None, Doc("License for the model card.")] = None
    note: Annotated[str | None, Doc("A paragraph for the model card.")] = None
    class_weights: Annotated[bool, Doc("Give rare classes more weight in the loss.")] = False
    resume: Annotated[bool, Doc("Continue an interrupted training.")] = False

    def check(self) -> None:
        """Check the ranges of the values, before any file is read.

        Raises:
            SettingsError: a value is out of range; names the option and its range.
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
        """Return the command that repeats this training, with all defaults written out.

        A training can only resume with the same command.

        Args:
            max_length: tokens in a window, as the training used them.
        """
        words = ["doppelkopf", "train"]
        for name, value in vars(replace(self, max_length=max_length)).items():
            option = name.replace("_", "-")
            if (
                value is None
                or name == "resume"
                or (name == "validation_share" and self.validation)
            ):
                continue
            if isinstance(value, bool):
                words.append(f"--{option}" if value else f"--no-{option}")
            else:
                words += [f"--{option}", str(value)]
        return shlex.join(words)
