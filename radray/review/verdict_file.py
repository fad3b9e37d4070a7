"""The verdicts file: append-only, one atomic line a key press, on the disk before the key is answered.

One writer at a time: a second process that opens the file is refused. In an object store, which cannot append, the
whole (small) file is put anew with each verdict.
"""

from __future__ import annotations

import csv
import fcntl
import io
import os
import threading
import time
import uuid
from dataclasses import astuple, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from radray import storage
from radray.errors import ConfigError
from radray.review.verdicts import COLUMNS, Verdict, read_lines


class VerdictFile:
    """The verdicts so far, and the only way to add one."""

    def __init__(self, url: str, *, patience_s: float = 0) -> None:
        """Open the file, or begin it; a torn last line is cut off.

        Args:
            url: A path on this machine, or an object's URL.
            patience_s: How long to wait for another writer to end.

        Raises:
            ConfigError: Another process writes it, or it is another file.
        """
        self._place = storage.locate(url)
        self._appending = threading.Lock()
        self._file: int | None = None
        self.notes: list[str] = []
        """What was found wrong with the file, for people."""
        if self._place.is_local:
            self._file = _open_locked(self._place.path, patience_s)
        try:
            body = self._read()
            lines = read_lines(body, self._place.url)
            self.verdicts = lines.verdicts
            self._ids = {verdict.id for verdict in self.verdicts if verdict.id}
            if lines.whole_bytes < len(body):
                self.notes.append(
                    f"the last line of {self._place.url} was torn and is cut off; it had not been answered"
                )
            if body and (lines.whole_bytes < len(body) or lines.columns != COLUMNS or body[-1:] != b"\n"):
                self._rewrite()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Where it lies."""
        return self._place.url

    def append(self, verdict: Verdict) -> bool:
        """Append one line and see it on the disk (or in the store) before returning.

        Args:
            verdict: Without an id it gets one.

        Returns:
            False where its id is in the file already: it counts once.

        Raises:
            OSError: It could not be written; the file is as it was before.
        """
        verdict = replace(verdict, id=verdict.id or uuid.uuid4().hex, comment=" ".join(verdict.comment.split()))
        with self._appending:
            if verdict.id in self._ids:
                return False
            if self._file is None:
                storage.write_bytes(self.url, _as_csv([*self.verdicts, verdict]))
            else:
                _append_line(
                    self._file, _as_csv([verdict], header=not self.verdicts and not os.fstat(self._file).st_size)
                )
            self.verdicts.append(verdict)
            self._ids.add(verdict.id)
        return True

    def close(self) -> None:
        """Let others write the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> bytes:
        if self._file is not None:
            return Path(self._place.path).read_bytes()
        return storage.read_bytes(self.url) if storage.exists(self.url) else b""

    def _rewrite(self) -> None:
        """Put the file right: whole lines, all columns; the old file stays until the new one is there."""
        storage.write_bytes(self.url, _as_csv(self.verdicts))
        if self._file is not None:
            self.close()
            self._file = _open_locked(self._place.path)


def append_verdict(path: str | Path, verdict: Verdict) -> None:
    """Append one verdict to a file that nobody else writes.

    Raises:
        ConfigError: Another process writes it, or it is another file.
    """
    with VerdictFile(str(path)) as file:
        file.append(verdict)


def _open_locked(path: str, patience_s: float = 0) -> int:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + patience_s
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            # The lock goes with the process, however it ends.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError as error:
            os.close(file)
            if time.monotonic() >= end:
                raise ConfigError(
                    f"{path}: another review writes there; end it, or set --verdicts to another file"
                ) from error
        time.sleep(0.2)


def _append_line(file: int, line: bytes) -> None:
    before = os.fstat(file).st_size
    try:
        if os.write(file, line) != len(line):
            raise OSError("the disk took a part of the line only; is it full?")
        os.fsync(file)
    except OSError:
        os.ftruncate(file, before)
        raise


def _as_csv(verdicts: list[Verdict], *, header: bool = True) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(COLUMNS)
    writer.writerows(astuple(verdict) for verdict in verdicts)
    return text.getvalue().encode()
