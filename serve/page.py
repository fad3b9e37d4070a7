"""The page at `/`: three files that ask nobody but this service."""

from functools import lru_cache
from pathlib import Path

from fastapi.responses import Response

from serve.problems import ApiError, ApiReason

PAGES = Path(__file__).parent / "pages"
TYPES = {"index.html": "text/html", "page.js": "text/javascript", "page.css": "text/css"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page_file(name: str) -> Response:
    """One file of the page.

    Raises:
        ApiError: NOT_FOUND.
    """
    if name not in TYPES:
        raise ApiError(ApiReason.NOT_FOUND, "no such file")
    headers = {"Content-Security-Policy": POLICY}
    return Response(_read(name), media_type=TYPES[name], headers=headers)


@lru_cache
def _read(name: str) -> bytes:
    return (PAGES / name).read_bytes()
