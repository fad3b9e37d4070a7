"""A proxy before an S3 server that fails as networks, stores and their keepers do, by a fixed seed.

with faulty_store(endpoint, seed=1, share=0.05) as store:
    store.url            what AWS_ENDPOINT_URL is set to
    store.gone_for(60)   the bucket is not there for a minute
    store.expired = True every request is refused
"""

from __future__ import annotations

import http.client
import itertools
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

FAULTS = ("500", "503", "reset_before", "reset_after", "slow_body", "short_body", "cut_range", "wrong_etag")
"""`cut_range`: a shorter body whose length is told right. `wrong_etag`: another body, under another ETag."""
_OF_BODIES = ("slow_body", "short_body", "cut_range", "wrong_etag")
_NOT_TO_CLIENT = ("connection", "transfer-encoding", "content-length", "date", "server")


class FaultyStore:
    """State of the proxy: `share` of all requests, drawn by `seed`, have a fault, each kind in its turn."""

    def __init__(self, upstream: str, seed: int, share: float, faults: tuple[str, ...], objects: str) -> None:
        self.upstream, self.share, self.faults, self.objects = urlsplit(upstream), share, faults, objects
        self.url = ""
        self.expired = False
        self.refusal = (403, "ExpiredToken")
        self.requests: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self._random, self._lock = random.Random(seed), threading.Lock()
        self._kinds = itertools.cycle(faults)
        self._gone_until = 0.0

    def gone_for(self, seconds: float) -> None:
        """The bucket is away so long: half of the requests hear NoSuchBucket, half nothing at all."""
        self._gone_until = time.monotonic() + seconds

    def fault(self, method: str, path: str) -> str | None:
        """What happens to a request."""
        with self._lock:
            self.requests[f"{method} {path.split('?')[0]}"] += 1
            lot, coin = self._random.random(), self._random.random()
            found: str | None = None
            if time.monotonic() < self._gone_until:
                found = "no_bucket" if coin < 0.5 else "reset_before"
            elif self.expired:
                found = "expired"
            elif lot < self.share:
                kind = next(self._kinds)
                of_others = kind in _OF_BODIES and method != "GET"
                of_objects = kind in ("cut_range", "wrong_etag") and self.objects not in path
                found = None if of_others or of_objects else kind
            self.done[found or "none"] += 1
            return found


@contextmanager
def faulty_store(
    upstream: str, *, seed: int, share: float = 0.05, faults: tuple[str, ...] = FAULTS, objects: str = "/archive/"
) -> Iterator[FaultyStore]:
    """Run the proxy in threads of this process.

    Args:
        upstream: Endpoint of the S3 server.
        seed: Of the faults.
        share: Of the requests that go wrong.
        faults: Kinds of them.
        objects: What the paths of an archive's objects hold; `cut_range` and `wrong_etag` befall them alone.
    """
    store = FaultyStore(upstream, seed, share, faults, objects)

    class Handler(_Handler):
        faulty = store

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.request_queue_size = 128
    store.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faulty: FaultyStore

    def log_message(self, format: str, *args: object) -> None:
        return

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError, ValueError):  # the client went away
            self.close_connection = True

    def _pass_on(self) -> None:
        body = self._request_body()
        fault = self.faulty.fault(self.command, self.path)
        if fault == "reset_before":
            return self._reset()
        if fault in ("500", "503"):
            code = "InternalError" if fault == "500" else "SlowDown"
            return self._error(int(fault), code)
        if fault == "no_bucket":
            return self._error(404, "NoSuchBucket")
        if fault == "expired":
            return self._error(*self.faulty.refusal)
        status, headers, answer = self._ask_upstream(body)
        if fault == "reset_after":
            return self._reset()
        if fault == "wrong_etag" and status < 300:
            headers = [(name, value) for name, value in headers if name.lower() != "etag"] + [("ETag", '"0ther"')]
            answer = answer[::-1]
        if fault == "cut_range" and status == 206:
            answer = answer[: len(answer) // 2]
        self._answer(status, headers, answer, fault)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, fault: str | None) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _NOT_TO_CLIENT:
                self.send_header(name, value)
        told = dict((name.lower(), value) for name, value in headers).get("content-length", "0")
        self.send_header("Content-Length", told if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        half = len(body) // 2 if fault in ("slow_body", "short_body") else len(body)
        self.wfile.write(body[:half])
        if fault == "short_body" and body:
            self.wfile.flush()
            self.close_connection = True
            return self.connection.shutdown(socket.SHUT_RDWR)
        if fault == "slow_body":
            self.wfile.flush()
            time.sleep(1.0)
        self.wfile.write(body[half:])

    def _request_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _ask_upstream(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        place = self.faulty.upstream
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
        try:
            dropped = ("host", "expect", "connection", "transfer-encoding", "content-length")
            headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
            headers["Content-Length"] = str(len(body))
            connection.request(self.command, self.path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _error(self, status: int, code: str) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>by the proxy</Message></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
