import shlex
from dataclasses import MISSING, fields

import torch
from safetensors.torch import load_file
from typer.main import get_command

from app.cli import app
from app.training.options import TrainOptions
from tests.support.ad_files import LABELLED_ADS, write_ads


def test_the_command_of_the_card_trains_the_same_weights(doppelkopf, tmp_path, tiny_base):
    write_ads(tmp_path / "my ads.csv", LABELLED_ADS * 2)
    doppelkopf("train", "--data", "my ads.csv", "--base", tiny_base, "--out", "v1",
               "--epochs", 1, "--class-weights")  # fmt: skip
    card = (tmp_path / "v1" / "README.md").read_text()
    command = card.split("```sh\n")[1].split("\n```")[0]
    (tmp_path / "v1").rename(tmp_path / "before")

    code, _, err = doppelkopf(*shlex.split(command)[1:])
    assert code == 0, err
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("before", "v1"))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_each_field_of_the_options_is_an_option():
    """With its name, its default and a help text; only what has no default is required."""
    options = {one.name: one for one in get_command(app).commands["train"].params}
    for field in fields(TrainOptions):
        option = options.pop(field.name)
        assert option.opts == [f"--{field.name.replace('_', '-')}"]
        assert option.required == (field.default is MISSING)
        assert option.required or option.default == field.default
        assert option.help
    assert not options


def test_only_class_weights_have_an_option_that_turns_them_off():
    options = get_command(app).commands["train"].params
    off = [name for one in options for name in one.secondary_opts]
    assert off == ["--no-class-weights"]
