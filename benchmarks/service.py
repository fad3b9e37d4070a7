"""The Serve application at saturation against the bare pipeline in this program, and its latency at 70 % of that.

Draws a phantom export (full-size objects of all transfer syntaxes), builds a bundle as benchmarks/score.py does, and
measures in one run: decoding, cleaning and the ensemble by one process a core without HTTP; the same objects through
`POST /v1/region` with as many requests at once as saturate it; and at 70 % of that rate, sent at fixed times whether or
not the answers before have come. The load generator is a process of its own; its CPU seconds are told.

python benchmarks/service.py --output FOLDER [--images 200] [--side-px 2048] [--seconds 300]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from common import print_results, result

CORES = os.cpu_count() or 1
BATCH = 16
AT_ONCE = 6 * CORES
SHARE = 0.7
P99_OVER_P50 = 3.0
PORT = 8123


def draw_archive(folder: Path, images: int, side_px: int) -> list[str]:
    """Paths of the readable radiographs of a phantom export."""
    from radray import storage
    from radray.phantom.config import PhantomConfig
    from radray.phantom.export import write_phantom

    config = PhantomConfig(output=str(folder / "archive"), images=images, side_px=side_px, seed=3)
    if not Path(config.truth_url).exists():
        write_phantom(config)
    truth = storage.read_table(config.truth_url).to_pylist()
    return [row["uri"] for row in truth if row["kind"] == "radiograph"]


def answer_files(bundle_url: str, paths: list[str], seconds: float) -> tuple[int, float]:
    """Decode, clean and predict for so long in this process; images, and the seconds they took."""
    import cv2
    import torch

    from radray.ensemble import Bundle
    from radray.images.prepare import prepare_image

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    bundle = Bundle.load(bundle_url, device="cpu")
    side = bundle.side_px
    bundle.predict(np.zeros((1, side, side), np.uint8))
    done, place, started = 0, 0, time.monotonic()
    while (now := time.monotonic()) < started + seconds:
        images = []
        for _ in range(BATCH):
            row = prepare_image(Path(paths[place % len(paths)]).read_bytes(), bundle.cleaning)
            place += 1
            if row["status"] == "ok":
                images.append(np.frombuffer(row["image"], np.uint8).reshape(side, side))
        done += len(bundle.predict(np.stack(images), batch=BATCH))
        now = time.monotonic()
    return done, now - started


def measure_bare(bundle_url: str, paths: list[str], seconds: float) -> float:
    """Images a second by one process a core."""
    with ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as pool:
        found = [pool.submit(answer_files, bundle_url, paths[first::CORES], seconds) for first in range(CORES)]
        return sum(each.result()[0] / each.result()[1] for each in found)


async def send_load(url: str, paths: list[str], seconds: float, rate: float | None) -> dict[str, Any]:
    """Requests for so long: `AT_ONCE` at once, or at a fixed rate; counts and latencies."""
    bodies = [Path(path).read_bytes() for path in paths]
    waits: list[float] = []
    statuses: dict[int, int] = {}
    limits = httpx.Limits(max_connections=256)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:

        async def ask(number: int, due: float) -> None:
            try:
                status = (await client.post(f"{url}/v1/region", content=bodies[number % len(bodies)])).status_code
            except httpx.TransportError:
                status = 0
            statuses[status] = statuses.get(status, 0) + 1
            if status == 200:
                waits.append(time.monotonic() - due)

        async def ask_on(first: int, until: float) -> None:
            number = first
            while (due := time.monotonic()) < until:
                await ask(number, due)
                number += AT_ONCE

        started = time.monotonic()
        if rate is None:
            await asyncio.gather(*(ask_on(first, started + seconds) for first in range(AT_ONCE)))
        else:
            tasks = []
            for number in range(int(rate * seconds)):
                due = started + number / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                tasks.append(asyncio.create_task(ask(number, due)))
            await asyncio.gather(*tasks)
        took = time.monotonic() - started
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "per_s": len(waits) / took,
        "p50_s": float(np.percentile(waits, 50)) if waits else float("nan"),
        "p99_s": float(np.percentile(waits, 99)) if waits else float("nan"),
        "statuses": statuses,
        "cpu_share": (usage.ru_utime + usage.ru_stime) / took,
    }


def load(url: str, paths: list[str], seconds: float, rate: float | None = None) -> dict[str, Any]:
    """`send_load` in a process of its own."""
    asked = json.dumps({"url": url, "paths": paths, "seconds": seconds, "rate": rate})
    command = [sys.executable, __file__, "--load"]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"load at {rate or 'saturation'}: {found}", file=sys.stderr)
    return found


def resident_mib() -> float:
    """Memory of the replicas, in MiB."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        if text.startswith("Name:\tray::ServeRepli"):  # the kernel keeps 15 letters
            total += int(text.partition("VmRSS:")[2].split()[0])
    return total / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--side-px", type=int, default=2048)
    parser.add_argument("--seconds", type=float, default=300.0)
    given = parser.parse_args()
    from score import build_bundle

    folder = Path(given.output)
    paths = draw_archive(folder, given.images, given.side_px)
    bundle_url = str(folder / "bundle")
    build_bundle(bundle_url)
    bare = measure_bare(bundle_url, paths, min(given.seconds, 60.0))

    from ray import serve

    from radray import cluster
    from serve.app import app
    from serve.settings import Settings

    cluster.connect()
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    settings = Settings(bundle=bundle_url, max_replicas=max(1, CORES // 2), max_under_way=4 * AT_ONCE,
                        max_under_way_each=4 * AT_ONCE)  # fmt: skip
    serve.run(app(settings), name="radray", route_prefix="/")
    url = f"http://127.0.0.1:{PORT}"
    load(url, paths, min(given.seconds, 20.0))  # replicas come up, codecs are loaded
    before = resident_mib()
    full = load(url, paths, given.seconds)
    calm = load(url, paths, given.seconds, SHARE * full["per_s"])
    after = resident_mib()
    serve.shutdown()
    share = full["per_s"] / bare
    errors = sum(count for each in (full, calm) for status, count in each["statuses"].items() if status != "200")
    print_results(
        "serve",
        ("ray", "fastapi", "torch"),
        {
            "images_per_s": result(full["per_s"], baseline=bare),
            "share_of_bare_pipeline": result(share, goal=0.8 if CORES >= 8 else 0.6),
            "p50_s_at_70_percent": result(calm["p50_s"]),
            "p99_over_p50_at_70_percent": result(calm["p99_s"] / calm["p50_s"], goal=P99_OVER_P50, least=False),
            "answers_that_are_no_200": result(errors, goal=0, least=False),
            "load_generator_cpus": result(full["cpu_share"]),
            "replicas_mib_grown": result(after - before),
        },
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["--load"]:
        asked = json.loads(sys.stdin.read())
        print(json.dumps(asyncio.run(send_load(asked["url"], asked["paths"], asked["seconds"], asked["rate"]))))
    else:
        main()
