import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from app.core.errors import SettingsError
from app.training.options import TrainOptions

OPTIONS = TrainOptions(Path("my ads.csv"), "base", Path("out"))


def test_the_command_writes_out_defaults_but_not_resume():
    command = shlex.split(OPTIONS.command(64))
    assert command[:4] == ["doppelkopf", "train", "--data", "my ads.csv"]
    assert command[command.index("--max-length") + 1] == "64"
    assert command[command.index("--seed") + 1] == "42"
    assert "--no-class-weights" in command
    assert "--resume" not in command
    assert "--labels" not in command


def test_the_command_names_class_weights_when_on():
    command = replace(OPTIONS, class_weights=True, resume=True).command(64)
    assert command.endswith(" --class-weights")


def test_the_command_names_columns_and_the_validation_file():
    options = replace(OPTIONS, validation=Path("v.csv"), text_column="body")
    command = options.command(64)
    assert "--text-column body" in command
    assert "--validation v.csv" in command
    assert "--validation-share" not in command


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("warmup_ratio", 1.0),
        ("weight_decay", -0.1),
        ("label_smoothing", 1.0),
        ("distance_weight", -1.0),
        ("validation_share", 1.0),
        ("freeze_layers", -1),
        ("seed", -1),
        ("save_dtype", "int8"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_option(option, value):
    options = replace(OPTIONS, **{option: value})
    with pytest.raises(SettingsError, match=f"^--{option.replace('_', '-')} has to be"):
        options.check()
