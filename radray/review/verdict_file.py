"""The verdicts file: append-only, one atomic line a key press, on the disk before the key is answered.

On a disk one process writes at a time: a second one that opens the file is refused. In an S3 store, which cannot
append, the whole (small) file is put anew with each verdict, on the condition that it is the one that was read; where
another process has put its verdicts meanwhile, it is read again and keeps both.
"""

from __future__ import annotations

import csv
import fcntl
import io
import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import astuple, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from radray import storage
from radray.errors import ConfigError
from radray.review.merging import merge_lines, number_lines
from radray.review.stored_object import StoredObject
from radray.review.verdicts import COLUMNS, Verdict, read_lines

_TRIES = 30
"""How often a file in a store is read again because another process was faster."""


class VerdictFile:
    """The verdicts so far, and the only way to add one."""

    def __init__(self, url: str, *, patience_s: float = 0) -> None:
        """Open the file, or begin it; a torn last line is cut off.

        Args:
            url: A path on this machine, or an object's URL.
            patience_s: How long to wait for another writer of a file on a disk to end.

        Raises:
            ConfigError: Another process writes it, it is another file, or the store keeps no conditions.
        """
        self._place = storage.locate(url)
        self._appending = threading.Lock()
        self._file: int | None = None
        self.notes: list[str] = []
        """What was found wrong with the file, for people."""
        self._stored: StoredObject | None = None
        if self._place.is_local:
            self._file = _open_locked(self._place.path, patience_s)
        else:
            self._stored = StoredObject(self.url)
        try:
            body = self._read()
            lines = read_lines(body, self._place.url)
            self._take(number_lines(lines.verdicts))
            if lines.whole_bytes < len(body):
                self.notes.append(
                    f"the last line of {self._place.url} was torn and is cut off; it had not been answered"
                )
            is_whole = lines.whole_bytes == len(body) and body[-1:] == b"\n"
            if body and not (is_whole and lines.columns == COLUMNS and self.verdicts == lines.verdicts):
                self._put(lambda known: known)
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
                self._put(lambda known: known if verdict.id in self._ids else [*known, verdict])
            else:
                _append_line(
                    self._file, _as_csv([verdict], header=not self.verdicts and not os.fstat(self._file).st_size)
                )
                self.verdicts.append(verdict)
                self._ids.add(verdict.id)
        return True

    def merge(self, verdicts: Iterable[Verdict]) -> int:
        """Take in lines of another file, see `merge_lines`; return how many were new.

        Raises:
            OSError: They could not be written; the file is as it was before.
        """
        others = number_lines(verdicts)
        with self._appending:
            fresh = {verdict.id for verdict in others} - self._ids
            if fresh:
                self._put(lambda known: merge_lines(known, others))
        return len(fresh)

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
        return Path(self._place.path).read_bytes() if self._stored is None else self._stored.read()

    def _take(self, verdicts: list[Verdict]) -> None:
        self.verdicts = verdicts
        self._ids = {verdict.id for verdict in verdicts}

    def _put(self, change: Callable[[list[Verdict]], list[Verdict]]) -> None:
        """Write all lines anew as `change` leaves them; the old file stays until the new one is there."""
        if self._stored is None:
            after = change(self.verdicts)
            self._file = _replace_locked(self._place.path, self._file, _as_csv(after))
            self._take(after)
            return
        for _ in range(_TRIES):
            after = change(self.verdicts)
            if self._stored.replace(_as_csv(after)):
                self._take(after)
                return
            time.sleep(random.uniform(0, 0.2))
            theirs = number_lines(read_lines(self._read(), self.url).verdicts)
            # What was answered as saved stays, even where somebody has put an older file there.
            self._take(merge_lines(theirs, self.verdicts))
        raise OSError(f"{self.url}: others write there without a pause")


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
            if _lies_at(file, path):
                return file
            os.close(file)  # replaced by its writer before it was locked here
            continue
        except OSError as error:
            os.close(file)
            if time.monotonic() >= end:
                raise ConfigError(
                    f"{path}: another review writes there; end it, or set --verdicts to another file"
                ) from error
        time.sleep(0.2)


def _lies_at(file: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _replace_locked(path: str, old: int | None, body: bytes) -> int:
    """Put another file in the place of a locked one; it is locked before anybody can see it."""
    draft = str(Path(path).with_name(f".{Path(path).name}.{os.getpid()}"))
    file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _append_line(file, body)
        os.replace(draft, path)
    except OSError:
        os.close(file)
        Path(draft).unlink(missing_ok=True)
        raise
    if old is not None:
        os.close(old)
    return file


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
