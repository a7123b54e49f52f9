"""The command `doppelkopf serve`."""

import os
from typing import Any

import typer

from app.cli.console import print_error
from app.cli.options import option, with_options
from app.serving.settings import CLIENT_KEY, PREFIX, Settings, load_settings


def _shown(default: Any) -> str:
    return "none" if default == () else str(default)


# Values stay text here: `load_settings` parses them as it does those of the environment.
@with_options(
    option(
        name,
        str | None,
        None,
        metavar=name.rsplit("_", 1)[-1].upper(),
        help=f"{field.description} (default: {_shown(field.default)})",
        show_default=False,
    )
    for name, field in Settings.model_fields.items()
)
def serve(**options: str | None) -> None:
    """Serve a checkpoint over HTTP.

    Each option is an environment variable too: --max-windows is DOPPELKOPF_MAX_WINDOWS.
    """
    given = {name: value for name, value in options.items() if value is not None}
    settings = load_settings(given)
    if (name := f"{PREFIX}{CLIENT_KEY.upper()}") in os.environ and not settings.api_keys:
        # Someone who mistakes the client's variable for the server's would run an open service.
        print_error(
            f"{name} is what clients send; this server requires no key without {PREFIX}API_KEYS."
        )
    from app.serving.process import frozen_gc

    with frozen_gc():
        if settings.workers == 1:
            from app.serving.server.single_process import serve as run
        else:
            from app.serving.workers.supervisor import supervise as run
    raise typer.Exit(run(settings))
