"""The review page behind HTTP: each verdict is on the disk before its key's answer is out.

Every request for data needs a token, which the page takes from its URL's fragment (never sent, never logged) and sends
in a header. On this machine the server is bound to 127.0.0.1 and wants a Host of this machine, so that a page
elsewhere cannot reach it by a renamed host. Closed with Ctrl-C; started again, it shows the verdicts given so far.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from radray import storage
from radray.errors import ConfigError
from radray.review.config import ReviewConfig
from radray.review.desk import ReviewDesk
from radray.review.page import page_part, page_script, render_served_page, served_policy
from radray.review.reviewers import Reviewers, add_reviewers, new_token, read_reviewers
from radray.review.verdict_file import VerdictFile
from radray.review.verdicts import parse_verdicts

LOCAL_HOSTS = ("127.0.0.1", "localhost")
TOKEN_HEADER = "x-radray-token"
NAME_HEADER = "x-radray-reviewer"
_LARGEST_BODY = 16_384
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def review_app(desk: ReviewDesk, *, hosts: tuple[str, ...] | None = LOCAL_HOSTS) -> FastAPI:
    """The ASGI application; its URLs are relative, so it may be mounted anywhere.

    Args:
        desk: What is reviewed.
        hosts: Names under which it may be asked; None where a reverse proxy in front of it sees to that.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page, script = render_served_page(), page_script()

    @app.middleware("http")
    async def guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        host = (request.headers.get("host") or "").rsplit(":", 1)[0]
        if hosts is not None and host not in hosts:
            response: Response = JSONResponse({"detail": "not under this name"}, 403)
        else:
            response = await answer(request)
        response.headers.update(_HEADERS | {"Content-Security-Policy": served_policy()})
        return response

    def known(request: Request) -> str | None:
        """The token's reviewer, None for the shared token."""
        is_known, name = desk.reviewers.identify(request.headers.get(TOKEN_HEADER, ""))
        if not is_known:
            raise HTTPException(403, "open the URL that jobs/review.py printed, with all that stands behind the #")
        return name

    def reviewer(request: Request, known: str | None = Depends(known)) -> str:
        try:
            return desk.name_reviewer(known, unquote(request.headers.get(NAME_HEADER, "")))
        except ConfigError as error:
            raise HTTPException(400, str(error)) from error

    @app.get("/")
    def show_page() -> Response:
        return Response(page, media_type="text/html")

    @app.get("/review.js")
    def show_script() -> Response:
        return Response(script, media_type="text/javascript")

    @app.get("/review.css")
    def show_style() -> Response:
        return Response(page_part("review.css"), media_type="text/css")

    @app.get("/queue")
    def show_queue(name: str | None = Depends(known)) -> Response:
        return Response(desk.queue(name), media_type="application/json")

    @app.get("/picture/{number}", dependencies=[Depends(known)])
    def show_picture(number: int) -> Response:
        try:
            return Response(desk.pictures.read(number), media_type="image/png")
        except IndexError as error:
            raise HTTPException(404, "no such picture") from error
        except FileNotFoundError as error:
            raise HTTPException(410, "the audit ran again; start the review again") from error

    @app.get("/verdicts")
    def show_verdicts(name: str = Depends(reviewer)) -> dict[str, Any]:
        return desk.verdicts(name)

    @app.post("/verdicts")
    async def take_verdict(request: Request, name: str = Depends(reviewer)) -> dict[str, Any]:
        body = await _read_body(request)
        try:
            given = json.loads(body)
            if not isinstance(given, dict):
                raise ConfigError("a verdict is a JSON object")
            return await run_in_threadpool(desk.give, name, given)
        except (ValueError, ConfigError) as error:
            raise HTTPException(400, str(error)) from error

    @app.get("/agreement", dependencies=[Depends(known)])
    def show_agreement() -> dict[str, Any]:
        return desk.agreement()

    @app.get("/accuracy")
    def show_accuracy(name: str = Depends(reviewer)) -> dict[str, Any] | None:
        return desk.accuracy(name)

    return app


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST_BODY:
            raise HTTPException(413, f"a verdict has at most {_LARGEST_BODY} bytes")
    return bytes(body)


def run_review(config: ReviewConfig) -> dict[str, Any]:
    """Serve until Ctrl-C, or only sum up with --summary; return counts, agreement and accuracy.

    Raises:
        ConfigError: The port is taken, the verdicts file is another file or has another writer.
    """
    with VerdictFile(config.verdicts_url) as file:
        desk = ReviewDesk(config.findings, file, Reviewers({}))
        for url in config.merge:
            _merge(desk, url)
        if config.summary:
            return desk.summary()
        tokens = add_reviewers(config.reviewers_url, config.reviewer) if config.reviewer else {}
        hashes = read_reviewers(config.reviewers_url) if config.has_reviewers else {}
        shared = None if hashes else new_token()
        desk.reviewers = Reviewers(hashes, shared)
        with _bind(config.port) as bound:
            _announce(f"http://127.0.0.1:{bound.getsockname()[1]}/", desk, tokens, shared)
            settings = uvicorn.Config(
                review_app(desk),
                access_log=False,  # requests name images
                ws="none",
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=3,
            )
            try:
                uvicorn.Server(settings).run(sockets=[bound])
            except KeyboardInterrupt:
                print("closed", file=sys.stderr)
        return desk.summary()


def _merge(desk: ReviewDesk, url: str) -> None:
    verdicts = parse_verdicts(storage.read_bytes(url), url)
    added, unknown = desk.merge(verdicts)
    said = f"{url}: {added} verdicts added, {len(verdicts) - added - unknown} were there already"
    if unknown:
        said += f"; {unknown} left out, which name no image of --findings: give the findings that they were made on"
    print(said, file=sys.stderr)


def _bind(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # A server that was killed leaves connections behind that would keep the port for a minute.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(("127.0.0.1", port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise ConfigError(f"--port {port} cannot be used ({error.strerror}); set another, or 0 for any") from error
    return bound


def _announce(url: str, desk: ReviewDesk, tokens: dict[str, str], shared: str | None) -> None:
    lines = [f"note: {note}" for note in desk.file.notes]
    lines += [f"{name} (told once, keep it): {url}#token={token}" for name, token in tokens.items()]
    if shared is not None:
        lines.append(f"review page: {url}#token={shared}")
    else:
        lines.append(f"reviewers: {', '.join(desk.reviewers.names)}; each by the URL told when the name was added")
    lines.append(f"verdicts go to {desk.file.url}; Ctrl-C ends")
    print("\n".join(lines), file=sys.stderr, flush=True)
