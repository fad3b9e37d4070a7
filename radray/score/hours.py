"""The hours of a day in which an archive may be read: `20-06` is from eight in the evening to six in the morning."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from datetime import time as clock_time
from zoneinfo import ZoneInfo

from radray.errors import ConfigError

_HOURS = re.compile(r"(\d{1,2})(?::(\d\d))?-(\d{1,2})(?::(\d\d))?")
_LOOK_S = 60.0
"""Longest sleep before the clock is looked at again: clocks are put right, and summer time comes."""


@dataclass(frozen=True, kw_only=True)
class Hours:
    """A window of every day; it may go over midnight."""

    start: clock_time
    """When reading begins."""
    end: clock_time
    """When no more blocks are begun."""
    zone: str | None = None
    """IANA name of the time zone; None for that of the machine which reads."""

    @classmethod
    def parse(cls, text: str, zone: str | None = None) -> Hours:
        """From `20-06` or `19:30-06:15`.

        Raises:
            ConfigError: Neither of these forms, no such hour or zone, or an empty window.
        """
        found = _HOURS.fullmatch(text.strip())
        try:
            if found is None:
                raise ValueError
            first, first_minute, last, last_minute = (int(part or 0) for part in found.groups())
            start = clock_time(0 if (first, first_minute) == (24, 0) else first, first_minute)
            end = clock_time(0 if (last, last_minute) == (24, 0) else last, last_minute)
        except ValueError:
            raise ConfigError(
                f"--hours is {text!r}; set it to two times of day, such as 20-06 or 19:30-06:15"
            ) from None
        if start == end:
            raise ConfigError(f"--hours is {text!r}, which is no time at all; leave it out to read at any hour")
        try:
            if zone is not None:
                ZoneInfo(zone)
        except (ValueError, OSError, KeyError):
            raise ConfigError(f"--time-zone is {zone!r}; set it to a name such as Europe/Berlin") from None
        return cls(start=start, end=end, zone=zone)

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"

    @property
    def share(self) -> float:
        """Share of the day that lies in the window."""
        minutes = [moment.hour * 60 + moment.minute for moment in (self.start, self.end)]
        return ((minutes[1] - minutes[0]) % 1440) / 1440

    def opens_at(self, now: datetime | None = None) -> datetime | None:
        """When the window opens next, in the site's time; None while it is open.

        Args:
            now: The site's time; None for now.
        """
        now = self._now() if now is None else now
        moment = now.time()
        wraps = self.start > self.end
        after, before = moment >= self.start, moment < self.end
        if (after or before) if wraps else (after and before):
            return None
        opening = datetime.combine(now.date(), self.start, now.tzinfo)
        return opening if opening > now else opening + timedelta(days=1)

    def wait(self, *, now: Callable[[], datetime] | None = None, sleep: Callable[[float], object] = time.sleep) -> None:
        """Return once the window is open.

        Args:
            now: The site's time; None for the machine's clock.
            sleep: Sleeps so many seconds.
        """
        now = now or self._now
        while (opening := self.opens_at(now())) is not None:
            # Through timestamps: a difference of local times is wrong in the night when the clocks change.
            sleep(max(0.05, min(_LOOK_S, opening.timestamp() - now().timestamp())))

    def notice(self) -> str | None:
        """What to say while the window is closed; None while it is open."""
        opening = self.opens_at()
        return None if opening is None else f"waits outside of --hours {self}, goes on at {opening:%Y-%m-%d %H:%M}"

    def _now(self) -> datetime:
        return datetime.now(None if self.zone is None else ZoneInfo(self.zone))
