"""The review page on this machine: each verdict is on the disk before its key's answer is out.

Bound to 127.0.0.1; every request needs the token of this start's URL, and a Host of this machine (a page elsewhere
cannot reach it by a renamed host). Closed with Ctrl-C; started again, it shows the verdicts given so far.
"""

from __future__ import annotations

import hmac
import json
import secrets
import sys
import threading
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from radray import storage
from radray.errors import ConfigError
from radray.review.config import ReviewConfig
from radray.review.page import PAGE_FILE
from radray.review.verdicts import COLUMNS, Verdict, append_verdict, now, parse_verdicts, standing_verdicts

_LARGEST_BODY = 16_384


class ReviewServer(ThreadingHTTPServer):
    """Serves one review page and keeps its verdicts."""

    daemon_threads = True

    def __init__(self, page: bytes, verdicts_path: str, port: int) -> None:
        """Bind to 127.0.0.1:`port`.

        Raises:
            ConfigError: The port is taken.
        """
        self.page, self.verdicts_path = page, Path(verdicts_path)
        self.token = secrets.token_urlsafe(24)
        self.appending = threading.Lock()
        try:
            super().__init__(("127.0.0.1", port), _Request)
        except OSError as error:
            raise ConfigError(f"--port {port} cannot be used ({error.strerror}); set another, or 0 for any") from error

    @property
    def url(self) -> str:
        """The page's URL, token included."""
        return f"http://127.0.0.1:{self.server_port}/?token={self.token}"

    def verdicts(self) -> list[Verdict]:
        """All verdicts so far, oldest first."""
        if not self.verdicts_path.exists():
            return []
        return parse_verdicts(self.verdicts_path.read_bytes(), str(self.verdicts_path))


class _Request(BaseHTTPRequestHandler):
    server: ReviewServer
    server_version = "radray"
    sys_version = ""

    def do_GET(self) -> None:
        if not self._is_allowed():
            return
        path = urlsplit(self.path).path
        if path == "/":
            self._answer(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")
        elif path == "/verdicts":
            body = json.dumps([asdict(verdict) for verdict in self.server.verdicts()])
            self._answer(HTTPStatus.OK, body.encode(), "application/json")
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"not found", "text/plain")

    def do_POST(self) -> None:
        if not self._is_allowed():
            return
        length = int(self.headers.get("Content-Length") or 0)
        if urlsplit(self.path).path != "/verdicts" or not 0 < length <= _LARGEST_BODY:
            self._answer(HTTPStatus.NOT_FOUND, b"not found", "text/plain")
            return
        try:
            given: dict[str, Any] = json.loads(self.rfile.read(length))
            verdict = Verdict(**{name: str(given.get(name) or "") for name in COLUMNS} | {"time": now()})
        except (ValueError, AttributeError, ConfigError) as error:
            self._answer(HTTPStatus.BAD_REQUEST, str(error).encode(), "text/plain; charset=utf-8")
            return
        with self.server.appending:
            append_verdict(self.server.verdicts_path, verdict)
        self._answer(HTTPStatus.NO_CONTENT, b"", "text/plain")

    def _is_allowed(self) -> bool:
        host = (self.headers.get("Host") or "").rsplit(":", 1)[0]
        given = self.headers.get("X-Radray-Token") or parse_qs(urlsplit(self.path).query).get("token", [""])[0]
        if host in ("127.0.0.1", "localhost") and hmac.compare_digest(given.encode(), self.server.token.encode()):
            return True
        self._answer(HTTPStatus.FORBIDDEN, b"open the URL that jobs/review.py printed, token included", "text/plain")
        return False

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: they name images."""


def run_review(config: ReviewConfig) -> dict[str, Any]:
    """Serve until Ctrl-C; return counts of the verdicts.

    Raises:
        ConfigError: The port is taken, or the verdicts file is another file.
    """
    page = storage.read_bytes(storage.join(config.findings, PAGE_FILE))
    with ReviewServer(page, config.verdicts_path, config.port) as server:
        server.verdicts()
        print(
            f"review page: {server.url}\nverdicts go to {server.verdicts_path}; Ctrl-C ends",
            file=sys.stderr,
            flush=True,
        )
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("closed", file=sys.stderr)
        standing = standing_verdicts(server.verdicts())
    counts: dict[str, int] = {}
    for verdict in standing.values():
        counts[verdict.verdict] = counts.get(verdict.verdict, 0) + 1
    return {"rows_out": len(standing), "by_verdict": counts, "verdicts": str(server.verdicts_path)}
