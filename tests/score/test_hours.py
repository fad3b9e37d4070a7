"""`--hours` on an injected clock: windows over midnight, zones, the night when the clocks change."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from radray import streaming
from radray.errors import ConfigError
from radray.score import limits
from radray.score.config import ScoreConfig
from radray.score.hours import Hours


def at(hour: int, minute: int = 0, *, day: int = 10) -> datetime:
    return datetime(2026, 11, day, hour, minute)


@pytest.mark.parametrize(
    ("text", "now", "opens"),
    [
        ("20-06", at(19, 59), at(20)),
        ("20-06", at(20), None),
        ("20-06", at(23, 59), None),
        ("20-06", at(5, 59), None),
        ("20-06", at(6), at(20)),
        ("08-17", at(7), at(8)),
        ("08-17", at(12), None),
        ("08-17", at(17), at(8, day=11)),
        ("19:30-06:15", at(6, 14), None),
        ("19:30-06:15", at(6, 15), at(19, 30)),
        ("18-24", at(23, 59), None),
        ("18-24", at(0), at(18)),
        ("0-6", at(3), None),
        ("24-6", at(3), None),
    ],
)
def test_windows(text: str, now: datetime, opens: datetime | None) -> None:
    assert Hours.parse(text).opens_at(now) == opens


@pytest.mark.parametrize("text", ["20", "20-20", "25-06", "20-06-07", "eight-nine", "20:60-06", "-3-4", "0-24"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--hours is"):
        Hours.parse(text)


def test_the_wait_ends_when_the_window_opens() -> None:
    clock, slept = at(18, 30), []

    def sleep(seconds: float) -> None:
        nonlocal clock
        slept.append(seconds)
        clock += timedelta(seconds=seconds)

    Hours.parse("20-06").wait(now=lambda: clock, sleep=sleep)
    assert clock == at(20)
    assert sum(slept) == 90 * 60 and max(slept) <= 60
    slept.clear()
    Hours.parse("20-06").wait(now=lambda: clock, sleep=sleep)
    assert not slept


def test_the_night_when_the_clocks_change_is_an_hour_longer() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    clock, slept = datetime(2026, 10, 24, 23, tzinfo=berlin), 0.0

    def sleep(seconds: float) -> None:
        nonlocal clock, slept
        slept += seconds
        clock = (clock.astimezone(UTC) + timedelta(seconds=seconds)).astimezone(berlin)

    Hours.parse("06-20", "Europe/Berlin").wait(now=lambda: clock, sleep=sleep)
    assert clock == datetime(2026, 10, 25, 6, tzinfo=berlin)
    assert slept == pytest.approx(8 * 3600)


def test_the_zone_is_the_sites() -> None:
    assert Hours.parse("20-06").share == pytest.approx(10 / 24)
    zones = [Hours.parse("20-06", zone).opens_at() for zone in ("Asia/Tokyo", "America/New_York", "Europe/Berlin")]
    assert None in zones, "it is night somewhere"
    with pytest.raises(ConfigError, match="--time-zone is 'Mars/Base'"):
        ScoreConfig(archive="a", bundle="b", output="o", hours="20-06", time_zone="Mars/Base")
    with pytest.raises(ConfigError, match="set --hours too"):
        ScoreConfig(archive="a", bundle="b", output="o", time_zone="Europe/Berlin")


def test_every_block_waits_and_none_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    class Note:
        def __call__(self, rows: pa.Table) -> pa.Table:
            events.append(f"block {rows['row'][0]}")
            return rows

    monkeypatch.setattr(Hours, "wait", lambda self: events.append(f"wait {self}"))
    worker = limits.Limited(transform=Note, arguments={}, hours=Hours.parse("20-06"), allowance=None)
    for block in range(2):
        worker(pa.table({"row": [block]}))
    assert events == ["wait 20:00-06:00", "block 0", "wait 20:00-06:00", "block 1"]


def test_the_progress_line_says_once_that_it_waits(capsys: pytest.CaptureFixture[str]) -> None:
    line = streaming._ProgressLine("score", None, 10, 0, every_s=0.02, pause=lambda: "waits until 20:00")
    with pytest.raises(InterruptedError), line:
        time.sleep(0.3)
        raise InterruptedError
    assert capsys.readouterr().err == "score: waits until 20:00\n"
