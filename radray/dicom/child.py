"""The parent's side of the decoding child: started on first use, kept, replaced after a crash or a hang.

A second child, which has its codecs imported, stands by: after a crash the next image does not wait for one to start.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import radray
from radray.dicom.decode_child import HEAD
from radray.dicom.samples import FrameSpec, SmallFrame
from radray.errors import ObjectError, Reason

_PIPE_BYTES = 1 << 20
"""Of each pipe, so that the processes take turns less often; what Linux allows everybody."""
_START_TIMEOUT_S = 120.0
"""The child imports its codecs first; on a busy machine that takes a while."""


class DecodingChild:
    """One child process. Not shared between processes; calls from several threads wait for one another.

    Args:
        memory_bytes: Most address space of the child.
    """

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._spare: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def decode(self, frame: bytes, spec: FrameSpec, timeout_s: float) -> SmallFrame:
        """Decode one compressed frame.

        Raises:
            ObjectError: CORRUPT_PIXELS, TOO_LARGE (memory limit), DECODER_CRASHED or DECODE_TIMEOUT.
        """
        with self._lock:
            pipes = self._running()
            try:
                self._write(pipes, asdict(spec), frame, time.monotonic() + timeout_s)
                document, body = self._read(pipes, time.monotonic() + timeout_s)
            except TimeoutError:
                self._end()
                raise ObjectError(Reason.DECODE_TIMEOUT, f"{spec.codec}: no image after {timeout_s:g} s") from None
            except OSError:
                code = self._end()
                raise ObjectError(Reason.DECODER_CRASHED, f"{spec.codec}: the decoder died (exit {code})") from None
        if error := document.get("error"):
            reason = Reason.TOO_LARGE if error == "MemoryError" else Reason.CORRUPT_PIXELS
            raise ObjectError(reason, f"{spec.codec}: the decoder refused the frame ({error})")
        values = np.frombuffer(body, np.float32).reshape(document["shape"])
        rows, columns = document["source"]
        return SmallFrame(
            values=values, is_luminance=document["is_luminance"], source_rows=rows, source_columns=columns
        )

    def close(self) -> None:
        """End the child, and the one that stands by."""
        with self._lock:
            if self._owner == os.getpid():
                _close(self._process)
                _close(self._spare)
            self._process = self._spare = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._owner != os.getpid():  # after a fork the pipes belong to the other process
            self._process = self._spare = None
        if self._process is not None and self._process.poll() is None:
            return self._process
        _close(self._process)
        self._owner = os.getpid()
        spare, self._spare = self._spare, None
        if spare is not None and spare.poll() is not None:
            _close(spare)
            spare = None
        process = spare or self._spawn()
        self._await_ready(process)
        with suppress(OSError):  # a user may hold only so many bytes of pipes
            for pipe in (process.stdin, process.stdout):
                fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)  # type: ignore[union-attr]
        self._process, self._spare = process, self._spawn()
        return process

    def _spawn(self) -> subprocess.Popen[bytes]:
        root = str(Path(radray.__file__).parents[1])
        path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
        process = subprocess.Popen(
            [sys.executable, "-m", "radray.dicom.decode_child", str(self._memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            bufsize=0,
        )
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        return process

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        try:
            self._read(process, time.monotonic() + _START_TIMEOUT_S)
        except OSError as error:
            code = _close(process)
            raise RuntimeError(f"the decoding child does not start (exit {code})") from error

    def _end(self) -> int | None:
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return None
        return _close(process)

    @staticmethod
    def _write(process: subprocess.Popen[bytes], document: dict[str, Any], body: bytes, deadline: float) -> None:
        assert process.stdin is not None
        pipe = process.stdin.fileno()
        text = json.dumps(document).encode()
        for part in (HEAD.pack(len(text), len(body)) + text, body):
            rest = memoryview(part)
            while rest:
                _wait(pipe, select.POLLOUT, deadline)
                rest = rest[os.write(pipe, rest) :]

    @staticmethod
    def _read(process: subprocess.Popen[bytes], deadline: float) -> tuple[dict[str, Any], bytes]:
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        text, body = HEAD.unpack(_read_exactly(pipe, HEAD.size, deadline))
        document: dict[str, Any] = json.loads(_read_exactly(pipe, text, deadline))
        return document, _read_exactly(pipe, body, deadline)


def _close(process: subprocess.Popen[bytes] | None) -> int | None:
    """End a process and close its pipes; what it ended with."""
    if process is None:
        return None
    died_of = process.poll()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.kill()
    code = process.wait()
    return died_of if died_of is not None else code


def _read_exactly(pipe: int, size: int, deadline: float) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        _wait(pipe, select.POLLIN, deadline)
        part = os.read(pipe, min(size - len(parts), 1 << 20))
        if not part:
            raise BrokenPipeError
        parts += part
    return bytes(parts)


def _wait(pipe: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(pipe, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError
