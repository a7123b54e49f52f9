"""HTTP routes, with `stream/`, `jobposting/`, `static/`."""
