"""A web server on loopback that notes when each request came and how many bytes it took."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(kw_only=True)
class Counted:
    """What the server saw."""

    url: str
    requests: list[tuple[float, int]] = field(default_factory=list)
    """Time in seconds and bytes sent, of each request."""

    def fullest(self, window_s: float) -> tuple[int, int]:
        """Most requests, and most bytes, of any `window_s` seconds."""
        seen = sorted(self.requests)
        windows = [[size for at, size in seen if start <= at < start + window_s] for start, _ in seen]
        return max(len(window) for window in windows), max(sum(window) for window in windows)

    def seconds(self) -> float:
        """From the first request to the last."""
        times = [at for at, _ in self.requests]
        return max(times) - min(times)


@contextmanager
def serve_folder(folder: Path) -> Iterator[Counted]:
    """Serve the files of `folder`, with ranges."""
    counted = Counted(url="")

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = (folder / self.path.lstrip("/")).read_bytes()
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            part = body[int(asked[1]) : int(asked[2]) + 1] if asked else body
            counted.requests.append((time.monotonic(), len(part)))
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {asked[1]}-{int(asked[1]) + len(part) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            self.wfile.write(part)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    counted.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield counted
    finally:
        server.shutdown()
        server.server_close()
