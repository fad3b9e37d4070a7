"""The sizing model against sums done by hand, and against what every such model must obey."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radray.errors import ConfigError
from radray.score.config import ScoreConfig
from radray.sizing.config import SizingConfig
from radray.sizing.model import estimate
from radray.sizing.stage import run_sizing

PLAIN = SizingConfig(
    objects=1_000_000,
    radiographs=0.5,
    object_mib=2.0,
    nodes=2,
    cores=10,
    headers_per_core_s=500.0,
    images_per_core_s=25.0,
    forward_per_core_s=100.0,
    listed_per_s=10_000.0,
    blocks_per_s=100.0,
    files_per_s=1_000.0,
    start_s=10.0,
    rows_per_block=100,
    latency_ms=0.0,
)


def test_the_sum_by_hand() -> None:
    found = estimate(PLAIN)
    # Start, listing, headers by 20 cores (the driver needs 39 s for 3,907 blocks of 256), three looks at as many files.
    assert found.job_seconds["index"] == pytest.approx(10 + 100 + 100 + 3 * 3907 / 1000)
    # 500,000 images by 20 cores: 40 ms to decode, 10 ms to predict; 10,000 blocks in 100 s meanwhile.
    assert found.job_seconds["score"] == pytest.approx(10 + 500_000 * 0.05 / 20 + 3 * 10_000 / 1000)
    assert found.bottleneck == "cores"
    assert (found.reads, found.lists, found.writes) == (1_500_000, 1_000, 3 * 13_907)
    assert found.read_gib == pytest.approx((1_000_000 / 16 + 500_000 * 2) / 1024)
    assert sum(found.critical.values()) == pytest.approx(found.seconds)


def test_waiting_for_a_store_takes_worker_time() -> None:
    slow = estimate(replace(PLAIN, latency_ms=160.0))
    # 160 ms for a block's first body: 1.6 ms an image on top of 50. 32 headers in 160 ms are 200 a second, not 500.
    assert slow.job_seconds["score"] == pytest.approx(10 + 500_000 * 0.0516 / 20 + 30)
    assert slow.job_seconds["index"] == pytest.approx(10 + 100 + 1_000_000 / 200 / 20 + 3 * 3907 / 1000)
    # Eight bodies in 800 ms are fewer than a worker decodes and predicts.
    slowest = estimate(replace(PLAIN, latency_ms=800.0))
    assert slowest.bottleneck == "latency" and slowest.job_seconds["score"] == pytest.approx(10 + 500_000 / 200 + 30)


def test_gpus_predict_while_all_cores_decode() -> None:
    config = replace(PLAIN, gpu_nodes=1, gpu_cores=10, forward_per_gpu_s=1000.0)
    found = estimate(config)
    # Thirty cores decode 25 a second each; the GPU would do 1,000.
    assert found.job_seconds["score"] == pytest.approx(10 + 500_000 / 750 + 30)
    many = estimate(replace(config, gpu_nodes=100, forward_per_gpu_s=1.0))
    assert many.bottleneck == "GPUs"


@pytest.mark.parametrize(
    ("change", "bottleneck"),
    [
        ({"max_requests_per_s": 10.0}, "requests"),
        ({"max_mib_per_s": 1.0}, "network"),
        ({"listed_per_s": 10.0}, "listing"),
        ({"blocks_per_s": 0.1}, "driver"),
        ({"files_per_s": 0.1}, "check of rows"),
        ({"start_s": 10_000.0}, "start"),
    ],
)
def test_what_is_scarce_is_the_bottleneck(change: dict[str, Any], bottleneck: str) -> None:
    assert estimate(replace(PLAIN, **change)).bottleneck == bottleneck


@given(
    nodes=st.integers(1, 50),
    radiographs=st.floats(0, 1),
    requests=st.none() | st.floats(1, 1e5),
    rows=st.integers(1, 4096),
)
def test_more_of_the_bottleneck_never_slows_and_more_objects_never_speed_up(
    nodes: int, radiographs: float, requests: float | None, rows: int
) -> None:
    config = replace(PLAIN, nodes=nodes, radiographs=radiographs, max_requests_per_s=requests, rows_per_block=rows)
    found = estimate(config)
    doubled = estimate(config, {found.bottleneck: 2.0})
    assert found.seconds / 2 <= doubled.seconds * (1 + 1e-9) and doubled.seconds < found.seconds
    assert estimate(replace(config, objects=2 * config.objects)).seconds > found.seconds


def test_prices_are_counted_where_they_are_given() -> None:
    assert estimate(PLAIN).costs == {}
    priced = replace(PLAIN, price_node_hour=1.0, price_1000_reads=0.5, price_gib=0.1)
    found = estimate(priced)
    assert found.costs["nodes"] == pytest.approx(2 * found.seconds / 3600)
    assert found.costs["reads"] == pytest.approx(750)
    assert found.costs["bytes read"] == pytest.approx(0.1 * found.read_gib)
    assert "GPU nodes" not in found.costs


def test_the_summary_says_hours_days_and_the_next_limit(capsys: pytest.CaptureFixture[str]) -> None:
    summary = run_sizing(replace(PLAIN, hours_per_day=1.0))
    assert summary["hours"] == pytest.approx(estimate(PLAIN).seconds / 3600, abs=1e-3)
    assert summary["days"] == pytest.approx(summary["hours"], abs=2e-3)
    assert summary["bottleneck"] == "cores" and summary["doubled"]["hours"] < summary["hours"]
    printed = capsys.readouterr().out
    assert "limit: cores" in printed and "decode, clean" in printed and "cost" not in printed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objects": 0}, "--objects"),
        ({"radiographs": 1.5}, "--radiographs"),
        ({"nodes": 0}, "--gpu-nodes"),
        ({"forward_per_gpu_s": 100.0}, "--gpu-nodes"),
        ({"max_requests_per_s": 0.0}, "--max-requests-per-s"),
        ({"price_gib": -1.0}, "--price-gib"),
        ({"hours_per_day": 25.0}, "--hours-per-day"),
    ],
)
def test_a_bad_configuration_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(PLAIN, **change)


def test_blocks_are_those_of_the_jobs() -> None:
    import inspect

    from radray.index import headers, stage
    from radray.score import rows
    from radray.sizing import model

    assert SizingConfig().rows_per_block == ScoreConfig(index="i", bundle="b", output="o").rows_per_block
    assert f"rows_per_block={model.INDEX_ROWS_PER_BLOCK}" in inspect.getsource(stage.run_index)
    assert model.HEADERS_AT_ONCE == headers._READS_AT_ONCE
    assert model.FETCHES_AT_ONCE == rows._FETCHES
