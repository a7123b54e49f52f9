"""Serves like `doppelkopf serve`, with another engine.

    python -m tests.support.serve_with_engine MODULE:ENGINE [OPTION ...]

Settings come from the environment; the engine finds its options in the variable OPTIONS.
"""

import os
import sys

from app.serving.settings import load_settings

OPTIONS = "TESTS_ENGINE_OPTIONS"


def serve_with(engine: str) -> int:
    """Serve with the engine `MODULE:CLASS`; return the exit code."""
    settings = load_settings()
    if settings.workers == 1:
        from app.serving.server.single_process import serve

        return serve(settings, engine)
    from app.serving.workers.supervisor import supervise

    return supervise(settings, engine)


if __name__ == "__main__":
    os.environ[OPTIONS] = " ".join(sys.argv[2:])
    sys.exit(serve_with(sys.argv[1]))
