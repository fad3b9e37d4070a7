"""Bulk scoring of many small objects: how long until the first row, fresh and resumed; time and memory over the size.

Objects of a few hundred bytes to some kB and of few distinct bodies: one in fifty is a radiograph that goes through
the network, the others end with their header, so that what is measured is radray's and Ray's own cost of an object.
The large run is killed (all its processes) at half its way and started again. Every run has a Ray cluster of its own,
with two logical CPUs.

python benchmarks/score_scale.py [--small 50000] [--large 200000]
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import torch
from common import print_results, result
from scale import below

from radray import storage
from radray.checkpoints import Checkpoint
from radray.cleaning.config import CleaningConfig
from radray.ensemble import Bundle, Member
from radray.index.manifest import ensure_manifest
from radray.phantom.config import PhantomConfig
from radray.phantom.export import draw_object
from radray.phantom.plan import plan_archive
from radray.pretrain.backbone import Backbone
from radray.regions import load_regions
from radray.score.versions import latest_predictions

CHECKOUT = Path(__file__).resolve().parents[1]
GOAL_FIRST_ROW_S, GOAL_RESUMED_S, GOAL_S_PER_100_000, GOAL_LINEAR, GOAL_FLAT = 30, 60, 1, 1.1, 1.1
GROWN_MIB = 32
"""Of the object store, which holds next to nothing: small blocks travel with the messages about them."""
PROJECTED = 10_000_000


def write_bundle(url: str) -> None:
    """One small network with random weights."""
    torch.manual_seed(0)
    regions, backbone = load_regions("skeletal14"), Backbone("resnet10", 32).eval()
    size = backbone.dimension
    member = Member(
        method="simclr", backbone=backbone, mean=torch.zeros(size), scale=torch.full((size,), 0.05),
        weight=torch.randn(len(regions), size) * 0.1, bias=torch.zeros(len(regions)),
        bank=torch.nn.functional.normalize(torch.randn(20, size), dim=1), distances=torch.linspace(0, 1, 20),
        temperature=1.0, own_head=False, share=1.0, run_digest="run",
    )  # fmt: skip
    Bundle(
        regions=regions, cleaning=CleaningConfig(side_px=32, working_px=64), members=[member], temperature=1.0,
        ood_reference=torch.linspace(0, 1, 20), confidence_thresholds=(0.1,) * len(regions), ood_threshold=1.0,
    ).save(url)  # fmt: skip


def write_archive(folder: Path, objects: int) -> None:
    """A thousand objects a folder."""
    config = PhantomConfig(output="unused", images=40, side_px=64, least_per_region=1, seed=3)
    drawn = [draw_object(one, config)[0] for one in plan_archive(config)][:40]
    cut = [body[:900] for body in drawn]  # pixels are missing, or the header ends in the middle
    for number in range(objects):
        place = folder / f"{number // 1000:04d}"
        if number % 1000 == 0:
            place.mkdir(parents=True)
        (place / f"{number:07d}.dcm").write_bytes(drawn[number % 40] if number % 50 == 0 else cut[number % 40])


class Watch:
    """Samples a job: committed rows over time; memory of the driver, of its largest worker and of the object store."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.driver = self.worker = self.store = 0.0
        self.seen: dict[str, float] = {}
        """Stem of a committed file → seconds since the start."""
        self._process, self._output, self._began = process, output, time.monotonic()
        self._known = self._committed()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=watch, daemon=True) for watch in (self._memory, self._commits)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End sampling."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _committed(self) -> set[str]:
        found = self._output.glob("version=*/_checkpoint/*/*.parquet")
        return {path.stem for path in found if ".pending" not in path.name and not path.name.startswith("compacted")}

    def _commits(self) -> None:
        while not self._stop.wait(0.5):
            now = time.monotonic() - self._began
            for stem in self._committed() - self._known:
                self.seen.setdefault(stem, now)

    def _memory(self) -> None:
        while not self._stop.wait(1.0):
            for pid, name in below(self._process.pid):
                try:
                    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                except OSError:
                    continue
                held = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith("Rss")}
                if pid == self._process.pid:
                    self.driver = max(self.driver, held.get("RssAnon", 0.0))
                elif name.startswith("ray::"):
                    self.worker = max(self.worker, held.get("RssAnon", 0.0))
                elif Path(name).name == "raylet":
                    # It holds the object store's memory: what has ever been used of it.
                    self.store = max(self.store, held.get("RssShmem", 0.0))

    def first_row_s(self) -> float:
        """Seconds from the start to the first new commit."""
        return min(self.seen.values())

    def rows(self) -> list[tuple[float, int]]:
        """Seconds since the start and rows committed until then, for each moment with new ones; after `stop`."""
        sizes: dict[str, int] = {}
        for path in self._output.glob("version=*/*.parquet"):
            stem = path.stem.rpartition("-")[0]
            sizes[stem] = sizes.get(stem, 0) + parquet.read_metadata(path).num_rows
        total, found = 0, []
        for stem, seconds in sorted(self.seen.items(), key=lambda item: item[1]):
            total += sizes[stem]
            found.append((seconds, total))
        return found

    def rates(self, parts: int = 1) -> list[float]:
        """Rows a second in equal stretches of time between the first commit and the last."""
        seconds, done = (np.array(values, float) for values in zip(*self.rows(), strict=True))
        edges = np.linspace(seconds[0], seconds[-1], parts + 1)
        counts = [done[seconds <= edge][-1] for edge in edges]
        return [(after - before) / (edges[1] - edges[0]) for before, after in pairwise(counts)]


def start(folder: Path, archive: Path, name: str) -> tuple[subprocess.Popen[bytes], Watch]:
    """The job, watched."""
    options = {
        "archive": archive, "bundle": folder / "bundle", "output": folder / name, "patient-key": "none",
        "rows-per-block": 256,
    }  # fmt: skip
    given = [text for option, value in options.items() for text in (f"--{option}", str(value))]
    process = subprocess.Popen(
        [sys.executable, str(CHECKOUT / "tests" / "two_cpus.py"), str(CHECKOUT / "jobs" / "score.py"), *given],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    return process, Watch(process, folder / name)


def finish(process: subprocess.Popen[bytes], watch: Watch) -> float:
    """Wait for the end; seconds from the start."""
    began = time.monotonic()
    if process.wait() != 0:
        raise SystemExit("the job failed")
    watch.stop()
    return time.monotonic() - began


def kill_at(process: subprocess.Popen[bytes], watch: Watch, files: int) -> None:
    """SIGKILL to the job and all that it started, when so many files are committed."""
    while len(watch.seen) < files:
        if process.poll() is not None:
            raise SystemExit("the job ended before it was killed")
        time.sleep(0.5)
    for pid, _ in below(process.pid)[::-1]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()
    watch.stop()


def listing_s(archive: Path, folder: Path) -> float:
    """Seconds of a listing alone."""
    began = time.monotonic()
    ensure_manifest(str(archive), str(folder))
    return time.monotonic() - began


def checkpoint_s(predictions: Path) -> tuple[float, int]:
    """Seconds to read and compact all commits of a killed run, and their number of rows."""
    folder = next(predictions.glob("version=*/_checkpoint/*"))
    data = folder.parents[1]
    place = storage.locate(str(data))
    began = time.monotonic()
    commits = Checkpoint(str(folder), place.path, place.arrow).read()
    return time.monotonic() - began, len(commits)


def main() -> None:
    """Measure, print, and last one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--small", type=int, default=50_000)
    options.add_argument("--large", type=int, default=200_000)
    given = options.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_bundle(str(folder / "bundle"))
        for size, objects in (("tiny", 1000), ("small", given.small), ("large", given.large)):
            write_archive(folder / "archive" / size, objects)
        process, tiny = start(folder, folder / "archive" / "tiny", "tiny")
        finish(process, tiny)
        results["first_row_fresh_s"] = result(round(tiny.first_row_s(), 1), GOAL_FIRST_ROW_S, least=False)
        listed = listing_s(folder / "archive" / "large", folder / "listing")
        results["listing_s"] = result(round(listed, 1))
        print(f"first row fresh {tiny.first_row_s():.1f} s; {given.large:,} objects listed in {listed:.1f} s")

        process, small = start(folder, folder / "archive" / "small", "small")
        finish(process, small)
        process, first = start(folder, folder / "archive" / "large", "large")
        kill_at(process, first, given.large // 256 // 2)
        print(f"large: first row after {first.first_row_s():.1f} s with its listing, killed at half its way")
        print(f"rows/s in the halves before the kill {first.rates(2)}, small run {small.rates()}")
        for watch in (small, first):
            print(f"MiB: driver {watch.driver:.0f}, largest worker {watch.worker:.0f}, object store {watch.store:.0f}")
        results["first_row_large_s"] = result(round(first.first_row_s(), 1))
        # On a copy, so that the run below reads its commits itself.
        subprocess.run(["cp", "-r", str(folder / "large"), str(folder / "copy")], check=True)
        read_s, ids = checkpoint_s(folder / "copy")
        results["checkpoint_read_s"] = result(round(read_s, 2))
        process, second = start(folder, folder / "archive" / "large", "large")
        finish(process, second)
        allowed = GOAL_RESUMED_S + GOAL_S_PER_100_000 * ids / 100_000
        results["first_row_resumed_s"] = result(round(second.first_row_s(), 1), round(allowed, 1), least=False)
        print(
            f"resumed with {ids:,} ids: first row after {second.first_row_s():.1f} s, of it {read_s:.2f} s for the ids"
        )

        table = storage.read_table(latest_predictions(str(folder / "large")), columns=["uri"])
        unlike = given.large - len(set(table["uri"].to_pylist())) + abs(table.num_rows - given.large)
        results["rows_missing_or_twice"] = result(unlike, 0, least=False)
        rates = {"small": small.rates()[0], "large": np.mean([first.rates()[0], second.rates()[0]])}
        halves = first.rates(2)
        slower = max(rates["small"] / rates["large"], halves[0] / halves[1])
        results["objects_per_s_small"] = result(round(rates["small"], 1))
        results["objects_per_s_large"] = result(round(rates["large"], 1))
        results["time_per_object_growth"] = result(round(slower, 3), GOAL_LINEAR, least=False)
        store = [watch.store for watch in (small, first, second)]
        results["store_mib_grown"] = result(round(max(store) - store[0], 1), GROWN_MIB, round(store[0], 1), least=False)
        for part in ("driver", "worker"):
            before, after = getattr(small, part), max(getattr(first, part), getattr(second, part))
            results[f"{part}_mib_growth"] = result(
                round(after / before, 3), GOAL_FLAT, baseline=round(before), least=False
            )
        print({name: (round(rate, 1)) for name, rate in rates.items()}, f"halves of the large run {halves}")
        hours, times = PROJECTED / rates["large"] / 3600, PROJECTED / given.large
        print(
            f"{PROJECTED:,} objects: listing {times * listed / 60:.0f} min ({listed:.1f} s × {times:.0f}); passing "
            f"{hours:.1f} h at {rates['large']:.0f} objects/s, beside what decoding and the network cost; "
            f"{PROJECTED // 10**6} shards, 8 MB of ids in the driver for each; "
            f"all ids of a resumed run are read in {PROJECTED / ids * read_s:.0f} s"
        )
        # Other work on the machine lengthens every wait above: beside the cores' number this says how much there was.
        results["load_average"] = result(round(os.getloadavg()[1], 1))
        results["projected_10m_hours"] = result(round(hours + times * listed / 3600, 1))
    print_results("score_scale", ("ray", "pyarrow"), results)


if __name__ == "__main__":
    main()
