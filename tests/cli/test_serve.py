from typer.main import get_command

from app.cli import app
from app.serving.settings import Settings


def test_each_setting_is_an_option_with_its_description_and_default():
    options = {one.name: one for one in get_command(app).commands["serve"].params}
    for name, field in Settings.model_fields.items():
        option = options.pop(name)
        assert option.opts == [f"--{name.replace('_', '-')}"]
        # What is not given leaves the environment variable in force.
        assert option.default is None
        shown = "none" if field.default == () else field.default
        assert option.help == f"{field.description} (default: {shown})"
    assert not options


def test_an_option_is_checked_like_its_variable(doppelkopf):
    code, out, err = doppelkopf("serve", "--workers", "65")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("DOPPELKOPF_WORKERS: ")
