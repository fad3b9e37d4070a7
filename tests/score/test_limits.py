"""Requests and bytes a second: on a clock of the test, and as a server counts them when two workers read."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from radray.archive import fetch, fetch_range
from radray.archive.pace import BURST_S, Allowance, keep_pace
from radray.score.config import ScoreConfig
from radray.score.limits import Limited, share_allowance
from tests.score.counting_server import serve_folder

OBJECT_BYTES = 20_000


@pytest.mark.parametrize(
    ("requests_per_s", "bytes_per_s"), [(5.0, None), (None, 50_000.0), (100.0, 50_000.0), (5.0, 1e9)]
)
def test_turns_on_a_clock_of_its_own(requests_per_s: float | None, bytes_per_s: float | None) -> None:
    clock = 100.0
    allowance = Allowance(requests_per_s=requests_per_s, bytes_per_s=bytes_per_s, now=lambda: clock)
    begun = []
    for _ in range(200):
        clock += allowance.reserve(1, OBJECT_BYTES)
        begun.append(clock)
    rate = min(requests_per_s or 1e9, (bytes_per_s or 1e12) / OBJECT_BYTES)
    assert len(begun) / (begun[-1] - begun[0]) == pytest.approx(rate, rel=0.02)
    clock += 60
    burst = [allowance.reserve(1, OBJECT_BYTES) == 0 for _ in range(50)]
    assert sum(burst) <= 1 + rate * BURST_S, "an hour without reading is not caught up on"


def test_bytes_that_did_not_come_are_given_back() -> None:
    clock = 0.0
    allowance = Allowance(bytes_per_s=1000, now=lambda: clock)
    assert allowance.reserve(1, 5000) == 0
    allowance.settle(-4000)
    assert allowance.reserve(1, 0) == pytest.approx(1.0, abs=BURST_S)
    allowance.settle(2000)
    assert allowance.reserve(1, 0) == pytest.approx(3.0, abs=BURST_S)


def test_every_kind_of_read_takes_its_turn(tmp_path: Path) -> None:
    turns: list[tuple[int, int]] = []

    class Notes:
        def reserve(self, requests: int, size: int) -> float:
            turns.append((requests, size))
            return 0.0

        def settle(self, size: int) -> None:
            turns.append((0, size))

    (tmp_path / "object").write_bytes(b"x" * 1000)
    keep_pace(Notes())
    try:
        assert len(fetch(str(tmp_path / "object"), size=1000)) == 1000
        assert turns == [(1, 1000)]
        turns.clear()
        assert len(fetch_range(str(tmp_path / "object"), 900, 500)) == 100
        assert turns == [(1, 500), (0, -400)]
        turns.clear()
        assert len(fetch(str(tmp_path / "object"))) == 1000
        assert turns == [(1, 0), (0, 1000)]
    finally:
        keep_pace(None)


class FetchAll:
    """A transform: fetches every object, eight at a time, as scoring does."""

    def __call__(self, rows: pa.Table) -> pa.Table:
        with ThreadPoolExecutor(8) as threads:
            sizes = list(threads.map(lambda uri: len(fetch(uri, size=OBJECT_BYTES)), rows["uri"].to_pylist()))
        return rows.append_column("fetched", pa.array(sizes))


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(("limit", "per_s"), [("max_requests_per_s", 40.0), ("max_bytes_per_s", 40.0 * OBJECT_BYTES)])
def test_two_workers_keep_to_one_limit(tmp_path: Path, limit: str, per_s: float) -> None:
    import ray

    (tmp_path / "object").write_bytes(b"x" * OBJECT_BYTES)
    with serve_folder(tmp_path) as server:
        allowance = share_allowance(ScoreConfig(archive="a", bundle="b", output="o", **{limit: per_s}))  # type: ignore[arg-type]
        worker: Callable[..., Any] = ray.remote(num_cpus=0.5)(Limited).remote  # type: ignore[assignment]
        workers = [worker(transform=FetchAll, arguments={}, hours=None, allowance=allowance) for _ in range(2)]
        table = pa.table({"uri": [f"{server.url}/object"] * 8})
        ray.get([each.__call__.remote(table) for each in workers])  # type: ignore[attr-defined]
        time.sleep(0.6)
        server.requests.clear()
        ray.get([each.__call__.remote(table) for each in workers for _ in range(5)])  # type: ignore[attr-defined]
    assert len(server.requests) == 80
    # 40 a second; half a second may be caught up on, and a busy machine may hold up what 16 threads asked for in time.
    assert server.fullest(1.0)[0] <= 40 + BURST_S * 40 + 16
    assert server.seconds() >= 0.9 * (80 / 40 - BURST_S)
    assert server.seconds() <= 5 * 80 / 40, "and it is used"
