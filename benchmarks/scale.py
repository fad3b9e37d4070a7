"""Index and clean over thousands of damaged objects: nothing lost, no crash, memory that does not grow.

Small phantoms are written once whole and many times damaged (bits flipped, cut, lengths swapped, headers spliced). The
jobs run over 2,000 and over 20,000 of them; the resident memory of the driver and of the largest worker is sampled.
With --kills the large run is killed (its whole process group) so many times in each job, started again, and its tables
are compared with those of a run left in peace.

python benchmarks/scale.py [--small 2000] [--large 20000] [--kills 5]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from common import print_results, result

from radray import storage
from radray.phantom.config import PhantomConfig
from radray.phantom.export import draw_object
from radray.phantom.plan import plan_archive

CHECKOUT = Path(__file__).resolve().parents[1]
GOAL_GROWTH = 1.1
JOBS = ("index", "clean")


def damage(body: bytes, rng: np.random.Generator) -> bytes:
    """One fault of the kinds that disks, networks and old software make."""
    damaged = bytearray(body)
    kind = rng.integers(5)
    if kind == 0:
        for place in rng.integers(0, len(damaged), rng.integers(1, 20)):
            damaged[place] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del damaged[int(rng.integers(0, len(damaged))) :]
    elif kind == 2:
        place = int(rng.integers(132, min(len(damaged) - 8, 2000)))
        damaged[place : place + 4] = damaged[place + 4 : place + 8]
    elif kind == 3:
        start, length = int(rng.integers(132, 1500)), int(rng.integers(1, 400))
        other = int(rng.integers(0, 1500))
        damaged[start : start + length] = damaged[other : other + int(rng.integers(1, 400))]
    else:
        start = int(rng.integers(0, len(damaged)))
        damaged[start : start + int(rng.integers(1, 4000))] = b"\0" * int(rng.integers(0, 4000))
    return bytes(damaged)


def write_archive(folder: Path, objects: int, seed: int) -> None:
    """Ten phantoms in a hundred as they are, the rest damaged."""
    config = PhantomConfig(output="unused", images=60, side_px=160, least_per_region=1, seed=seed)
    whole = [body for body in (draw_object(one, config)[0] for one in plan_archive(config)) if len(body) > 4000]
    rng = np.random.default_rng(seed)
    for number in range(objects):
        body = whole[int(rng.integers(len(whole)))]
        place = folder / f"{number // 1000:03d}" / f"{number:06d}.dcm"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(body if number % 10 == 0 else damage(body, rng))


class Memory:
    """Samples the private memory of a process and of those below it: peak of the driver, peak of any worker."""

    def __init__(self, pid: int) -> None:
        self.driver = self.worker = 0.0
        self._pid, self._stop = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End sampling."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            for pid, name in below(self._pid):
                try:
                    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                except OSError:
                    continue
                held = sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:",))) / 1024
                if pid == self._pid:
                    self.driver = max(self.driver, held)
                elif name.startswith("ray::"):
                    self.worker = max(self.worker, held)


def below(root: int) -> list[tuple[int, str]]:
    """`root` and every process below it, with the beginning of its command line."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        try:
            name = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
        except OSError:
            name = ""
        found.append((pid, name))
        todo += children.get(pid, [])
    return found


def start(job: str, folder: Path) -> subprocess.Popen[str]:
    """A job of the run in `folder`, in a process group of its own."""
    options = {
        "index": [
            "--archive",
            str(folder.parent / "archive" / folder.name.split("-")[0]),
            "--output",
            str(folder / "index"),
        ],
        "clean": ["--index", str(folder / "index"), "--output", str(folder / "images"), "--side-px", "64"],
    }[job]
    environment = {**os.environ, "RADRAY_PATIENT_KEY": "0123456789abcdef"}
    return subprocess.Popen(
        [sys.executable, str(CHECKOUT / "jobs" / f"{job}.py"), *options],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The summary of a job that must end well."""
    out, err = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"a job ended with {process.returncode}: {err[-3000:]}")
    summary: dict[str, Any] = json.loads(out.splitlines()[-1])
    return summary


def run(folder: Path) -> dict[str, dict[str, Any]]:
    """Both jobs in peace; their summaries and memory."""
    found = {}
    for job in JOBS:
        process = start(job, folder)
        memory = Memory(process.pid)
        found[job] = finish(process)
        memory.stop()
        found[job] |= {"driver_mib": memory.driver, "worker_mib": memory.worker}
    return found


def run_killed(folder: Path, kills: int, rng: np.random.Generator) -> int:
    """Both jobs, each killed so often at random moments after its first rows; how many kills met a job at work."""
    met = 0
    for job in JOBS:
        for _ in range(kills):
            process = start(job, folder)
            time.sleep(float(rng.uniform(8, 25)))
            met += process.poll() is None
            for pid, _ in below(process.pid)[::-1]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            process.communicate()
        finish(start(job, folder))
    return met


def rows_of(folder: Path, table: str) -> list[dict[str, Any]]:
    """A table, sorted."""
    return storage.read_table(str(folder / table)).sort_by("uri").to_pylist()


def main() -> None:
    """Measure, print tables and, last, one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--small", type=int, default=2000)
    options.add_argument("--large", type=int, default=20000)
    options.add_argument("--kills", type=int, default=0)
    given = options.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, found = Path(name), {}
        for size, objects in (("small", given.small), ("large", given.large)):
            write_archive(folder / "archive" / size, objects, seed=objects)
            found[size] = run(folder / size)
            for job, summary in found[size].items():
                print(f"{job} {objects:,}: {summary['rows_in']:,} in, {summary['rows_out']:,} out, "
                      f"{summary['seconds']:.0f} s, driver {summary['driver_mib']:.0f} MiB, "
                      f"largest worker {summary['worker_mib']:.0f} MiB, "
                      f"{summary['by_reason']}")  # fmt: skip
            index, images = rows_of(folder / size, "index"), rows_of(folder / size, "images")
            lost = objects - len({row["uri"] for row in index})
            lost += len([row for row in index if row["status"] == "ok"]) - len({row["uri"] for row in images})
            silent = sum(1 for row in images if (row["image"] is None) != (row["reason"] is not None))
            results[f"lost_{size}"] = result(lost, 0, least=False)
            results[f"neither_image_nor_reason_{size}"] = result(silent, 0, least=False)
        for job in JOBS:
            for part in ("driver_mib", "worker_mib"):
                grown = found["large"][job][part] / found["small"][job][part]
                results[f"{job}_{part}_growth"] = result(
                    round(grown, 3), GOAL_GROWTH, round(found["small"][job][part]), least=False
                )
                print(f"{job}: {part} {grown:.2f} times as much with {given.large:,} objects as with {given.small:,}")
        if given.kills:
            met = run_killed(folder / "large-killed", given.kills, np.random.default_rng(5))
            for table in ("index", "images"):
                same = rows_of(folder / "large", table) == rows_of(folder / "large-killed", table)
                results[f"{table}_same_after_kills"] = result(int(same), 1)
                print(f"{table} after {given.kills} kills: {'the same' if same else 'ANOTHER'} table as undisturbed")
            results["kills_that_met_a_job"] = result(met, 2 * given.kills)
        reasons = Counter(row["reason"] or "ok" for row in rows_of(folder / "large", "images"))
        print(dict(reasons.most_common()))
    print_results("scale", ("ray", "pyarrow", "pydicom", "imagecodecs"), results)


if __name__ == "__main__":
    main()
