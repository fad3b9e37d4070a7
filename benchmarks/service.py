"""The Serve application at saturation against the bare pipeline in this program, and its latency at 70 % of that.

Draws a phantom export (full-size objects of all transfer syntaxes), builds a bundle as benchmarks/score.py does, and
measures in one run: decoding, cleaning and the ensemble by one process a core without HTTP; the same objects through
`POST /v1/region` with as many requests at once as saturate it; and at 70 % of that rate, sent at fixed times whether or
not the answers before have come. The load generator is a process of its own; its CPU seconds are told, and those of
each process of the service at saturation. The replicas' memory is read all the while: the mean of the last third of the
saturated run is held against that of the first.

python benchmarks/service.py --output FOLDER [--images 200] [--side-px 2048] [--seconds 300] [--haproxy]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from multiprocessing import get_context
from pathlib import Path
from subprocess import PIPE
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from common import print_results, result

CORES = os.cpu_count() or 1
BATCH = 16
AT_ONCE = 6 * CORES
MOST_AT_ONCE = 64
SHARE = 0.7
P99_OVER_P50 = 3.0
GROWN_MIB = 32.0
"""Memory counts as flat where it grows by no more between thirds of a run; all replicas together."""
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


def send_load(url: str, key: str, paths: list[str], seconds: float, rate: float | None) -> dict[str, Any]:
    """Requests for so long: `AT_ONCE` at once, or at a fixed rate; counts and latencies.

    Plain connections in threads: a client library of Python's would cost a third of what the service costs.
    """
    bodies = [Path(path).read_bytes() for path in paths]
    waits: list[float] = []
    statuses: list[int] = []
    place, own = urlsplit(url), threading.local()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/dicom"}

    def ask(number: int, due: float) -> None:
        if not hasattr(own, "connection"):
            own.connection = HTTPConnection(place.hostname or "", place.port, timeout=60)
        try:
            own.connection.request("POST", "/v1/region", bodies[number % len(bodies)], headers)
            answer = own.connection.getresponse()
            answer.read()
            status = answer.status
        except (OSError, HTTPException):
            own.connection.close()
            status = 0
        statuses.append(status)
        if status == 200:
            waits.append(time.monotonic() - due)

    def ask_on(first: int, until: float) -> None:
        number = first
        while (due := time.monotonic()) < until:
            ask(number, due)
            number += AT_ONCE

    started = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE if rate is None else MOST_AT_ONCE) as threads:
        if rate is None:
            asked = [threads.submit(ask_on, first, started + seconds) for first in range(AT_ONCE)]
        else:
            asked = []
            for number in range(int(rate * seconds)):
                due = started + number / rate
                time.sleep(max(0.0, due - time.monotonic()))
                asked.append(threads.submit(ask, number, due))
        for each in asked:
            each.result()
    took = time.monotonic() - started
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "per_s": len(waits) / took,
        "p50_s": float(np.percentile(waits, 50)) if waits else float("nan"),
        "p99_s": float(np.percentile(waits, 99)) if waits else float("nan"),
        "statuses": Counter(statuses),
        "cpu_share": (usage.ru_utime + usage.ru_stime) / took,
    }


def load(url: str, key: str, paths: list[str], seconds: float, rate: float | None = None) -> dict[str, Any]:
    """`send_load` in a process of its own; beside it the service's memory over time and CPU seconds an answer."""
    asked = json.dumps({"url": url, "key": key, "paths": paths, "seconds": seconds, "rate": rate})
    before = cpu_seconds()
    with subprocess.Popen([sys.executable, __file__, "--load"], stdin=PIPE, stdout=PIPE, text=True) as generator:
        assert generator.stdin and generator.stdout
        generator.stdin.write(asked)
        generator.stdin.close()
        resident = []
        while generator.poll() is None:
            resident.append(resident_mib())
            time.sleep(min(1.0, seconds / 30))
        found: dict[str, Any] = json.loads(generator.stdout.read().splitlines()[-1])
    if generator.returncode:
        raise RuntimeError(f"the load generator failed (exit {generator.returncode})")
    answers = max(1, found["statuses"].get("200", 0))
    found["cpu_ms"] = {
        name: round(1000 * (s - before.get(name, 0.0)) / answers, 1) for name, s in cpu_seconds().items()
    }
    found["resident_mib"] = resident
    print(f"load at {rate or 'saturation'}: {found}", file=sys.stderr)
    return found


def service_processes() -> dict[int, str]:
    """Process ids of the service on this machine, and what each is."""
    kinds = {"Ingress": "ingress", "Ensemble": "ensemble", "ProxyActor": "proxy", "ServeController": "controller"}
    found = {}
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = place.read_text().replace("\0", " ")
        except OSError:
            continue
        if command.startswith("ray::"):
            found |= {int(place.parent.name): kind for name, kind in kinds.items() if name in command}
        elif "radray.dicom.decode_child" in command:
            found[int(place.parent.name)] = "decoder"
        elif "/haproxy " in command:
            found[int(place.parent.name)] = "proxy"
    return found


def cpu_seconds() -> dict[str, float]:
    """CPU seconds of the service's processes so far, by kind."""
    total: dict[str, float] = {}
    for number, kind in service_processes().items():
        try:
            fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        total[kind] = total.get(kind, 0.0) + used
    return total


def resident_mib() -> float:
    """Memory of the replicas and their decoders, in MiB."""
    total = 0
    for number, kind in service_processes().items():
        try:
            text = Path(f"/proc/{number}/status").read_text()
        except OSError:
            continue
        if kind in ("ingress", "ensemble", "decoder") and "VmRSS:" in text:
            total += int(text.partition("VmRSS:")[2].split()[0])
    return total / 1024


def grown_mib(resident: list[float]) -> float:
    """Mean of the last third of the samples less that of the first."""
    third = max(1, len(resident) // 3)
    return float(np.mean(resident[-third:]) - np.mean(resident[:third]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--side-px", type=int, default=2048)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--haproxy", action="store_true", help="Serve's HAProxy in place of its own proxy")
    given = parser.parse_args()
    from score import build_bundle

    folder = Path(given.output)
    paths = draw_archive(folder, given.images, given.side_px)
    bundle_url = str(folder / "bundle")
    build_bundle(bundle_url)
    bare = measure_bare(bundle_url, paths, min(given.seconds, 60.0))
    if given.haproxy:
        os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = "1"  # before Serve is imported

    from ray import serve

    from radray import cluster
    from serve.app import app
    from serve.keys import NewKeyConfig, add_key
    from serve.settings import Settings

    keys = folder / "keys.csv"
    keys.unlink(missing_ok=True)
    key = add_key(NewKeyConfig(keys=str(keys), name="benchmark"))
    cluster.connect()
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    settings = Settings(bundle=bundle_url, max_replicas=CORES, max_under_way=4 * AT_ONCE,
                        max_under_way_each=4 * AT_ONCE, api_keys=str(keys))  # fmt: skip
    serve.run(app(settings), name="radray", route_prefix="/")
    url = f"http://127.0.0.1:{PORT}"
    load(url, key, paths, min(2 * given.seconds, 60.0))  # replicas come up, codecs are loaded
    full = load(url, key, paths, given.seconds)
    calm = load(url, key, paths, given.seconds, SHARE * full["per_s"])
    serve.shutdown()
    share = full["per_s"] / bare
    errors = sum(count for each in (full, calm) for status, count in each["statuses"].items() if status != "200")
    print_results(
        "serve with HAProxy" if given.haproxy else "serve",
        ("ray", "fastapi", "torch"),
        {
            "images_per_s": result(full["per_s"], baseline=bare),
            "share_of_bare_pipeline": result(share, goal=0.8 if CORES >= 8 else 0.6),
            "p50_s_at_70_percent": result(calm["p50_s"]),
            "p99_s_at_70_percent": result(calm["p99_s"]),
            "p99_over_p50_at_70_percent": result(calm["p99_s"] / calm["p50_s"], goal=P99_OVER_P50, least=False),
            "answers_that_are_no_200": result(errors, goal=0, least=False),
            "load_generator_cpus": result(full["cpu_share"]),
            **{f"cpu_ms_an_image_{kind}": result(ms) for kind, ms in sorted(full["cpu_ms"].items())},
            "replicas_mib": result(float(np.mean(full["resident_mib"]))),
            "replicas_mib_grown": result(grown_mib(full["resident_mib"]), goal=GROWN_MIB, least=False),
            "replicas_mib_grown_at_70_percent": result(grown_mib(calm["resident_mib"]), goal=GROWN_MIB, least=False),
        },
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["--load"]:
        print(json.dumps(send_load(**json.loads(sys.stdin.read()))))
    else:
        main()
