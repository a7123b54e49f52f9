"""The pages for browsers: the try-it page and the API's documentation (Swagger UI).

All files are read into memory at the start, so no path of a request reaches the file system.
"""

import re
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from mimetypes import guess_type
from pathlib import Path

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException

PAGE = Path(__file__).with_name("static")
# The package contains Swagger UI, so the browser needs no access to the internet.
SWAGGER = files("fastapi_offline") / "static"
SWAGGER_FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")

POLICY = (
    "default-src 'none'; script-src 'self'{scripts}; style-src 'self'{styles}; "
    "img-src 'self'{images}; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY.format(scripts="", styles="", images=""),
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), "
    "payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def try_it_page(closed: Iterable[str]) -> APIRouter:
    """Return the routes of the try-it page and its files.

    Args:
        closed: relative addresses that a browser cannot open; the page has no links to them.
    """
    router = APIRouter(include_in_schema=False)
    markup = (PAGE / "index.html").read_text(encoding="utf-8")
    for address in closed:
        markup = re.sub(rf'\s*<a href="{address}".*?</a>', "", markup)

    @router.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse(markup, headers=HEADERS)

    _add_files(router, "/page", {file.name: file for file in PAGE.iterdir()})
    return router


def documentation() -> APIRouter:
    """Return the routes of Swagger UI, which loads `openapi.json` from the same folder."""
    router = APIRouter(include_in_schema=False)
    markup = bytes(
        get_swagger_ui_html(
            openapi_url="openapi.json",
            title="Doppelkopf",
            swagger_js_url="docs/swagger-ui-bundle.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url="docs/favicon.png",
        ).body
    ).decode()
    # The page has one inline script. Its digest allows this script and no other.
    (script,) = re.findall(r"<script>(.*?)</script>", markup, flags=re.DOTALL)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policy = POLICY.format(
        scripts=f" 'sha256-{digest}'", styles=" 'unsafe-inline'", images=" data:"
    )

    @router.get("/docs")
    async def docs() -> HTMLResponse:
        return HTMLResponse(markup, headers={**HEADERS, "Content-Security-Policy": policy})

    _add_files(router, "/docs", {name: SWAGGER / name for name in SWAGGER_FILES})
    return router


def _add_files(router: APIRouter, path: str, paths: dict[str, Traversable]) -> None:
    contents = {name: file.read_bytes() for name, file in paths.items()}

    @router.get(path + "/{name}")
    async def file(name: str) -> Response:
        if name not in contents:
            raise HTTPException(404)
        return Response(contents[name], media_type=guess_type(name)[0], headers=HEADERS)
