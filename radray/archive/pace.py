"""How fast this process may read from an archive: requests and bytes a second, shared by all who read.

A process reads as fast as it can until `keep_pace` gives it an allowance. Reads of local folders count like those of a
store, for a folder is often a mount of the archive's server.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

BURST_S = 0.5
"""Seconds of unused allowance that may be caught up on: eight objects are fetched at a time, then decoded."""


class Pace(Protocol):
    """What a reader asks before and tells after each read."""

    def reserve(self, requests: int, size: int) -> float:
        """Take a turn of so many requests and bytes; return the seconds to wait before it."""

    def settle(self, size: int) -> None:
        """Bytes that were read beyond those reserved; negative for fewer."""


class Allowance:
    """Requests and bytes a second. Every turn moves the time of the next one, so the order is that of asking.

    Args:
        requests_per_s: Most requests a second; None for any number.
        bytes_per_s: Most bytes a second; None for any number. Objects are read whole: a short time may see one more.
        now: Clock, in seconds.
    """

    def __init__(
        self,
        *,
        requests_per_s: float | None = None,
        bytes_per_s: float | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rates = (requests_per_s, bytes_per_s)
        self._now = now
        self._free = [now(), now()]

    def reserve(self, requests: int, size: int) -> float:
        """Take a turn; return the seconds to wait before it."""
        now = self._now()
        start = max(now, *self._free)
        for which, amount in enumerate((requests, size)):
            if rate := self._rates[which]:
                self._free[which] = max(self._free[which], now - BURST_S) + amount / rate
        return start - now

    def settle(self, size: int) -> None:
        """Add bytes read beyond those reserved to what the next turns wait for; negative gives them back."""
        if rate := self._rates[1]:
            self._free[1] += size / rate


_pace: Pace | None = None


def keep_pace(pace: Pace | None) -> None:
    """Read no faster than `pace` from now on, in all threads of this process; None for as fast as can be."""
    global _pace
    _pace = pace


def read_in_turn(read: Callable[[], bytes], *, requests: int = 1, expected: int = 0) -> bytes:
    """Wait for a turn, then read.

    Args:
        read: Reads and returns the bytes.
        requests: How many requests that takes.
        expected: Bytes that will come, as far as is known; put right afterwards.
    """
    pace = _pace
    if pace is None:
        return read()
    wait_s = pace.reserve(requests, expected)
    if wait_s > 0:
        time.sleep(wait_s)
    body = b""
    try:
        body = read()
    finally:
        if len(body) != expected:
            pace.settle(len(body) - expected)
    return body


def wait_for_turn() -> None:
    """Wait for a turn of one request whose bytes do not count, such as a page of a listing."""
    read_in_turn(lambda: b"")
