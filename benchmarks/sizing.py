"""The sizing model held against real runs: its rates measured here, then index and score, then what the model said.

Time is processor time divided by cores, as a machine with nothing else to do would take: with other work beside, wall
time says little (it is printed too). Start, blocks and the check of rows come from runs over rows with nothing to do.
Blocks, listing and the check are wall time; the listing is of a server on loopback that answers ListObjectsV2 late.

python benchmarks/sizing.py --output FOLDER [--archive URL --bundle URL] [--objects 1500] [--side-px 2048]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
from common import print_results, result
from scale import below
from score import CORES, alone, build_bundle, clean_some, predict_some, split

from radray import storage, streaming
from radray.archive import fetch, fetch_range
from radray.dicom.header import HeaderReader, read_facts
from radray.dicom.identity import Pseudonyms
from radray.errors import Status
from radray.index.config import IndexConfig
from radray.index.manifest import ensure_manifest
from radray.phantom.config import PhantomConfig
from radray.phantom.export import write_phantom
from radray.regions import load_regions
from radray.sizing.config import SizingConfig
from radray.sizing.model import estimate
from radray.sizing.stage import describe

CHECKOUT = Path(__file__).resolve().parents[1]
SAMPLE = 128
IDLE_BLOCKS = 100
FOLDERS, PAGES, LATENCY_S = 16, 5, 0.02
WITHIN = 0.3


def run_job(job: str, *options: str) -> dict[str, Any]:
    """A job as its own process; its summary, with wall time and processor time from the command to its end."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, str(CHECKOUT / "jobs" / f"{job}.py"), *options],
        env={**os.environ, "RADRAY_PATIENT_KEY": "0123456789abcdef"},
        stdout=subprocess.PIPE,
        text=True,
    )
    used: dict[int, float] = {}
    while process.poll() is None:
        used |= processor_time(process.pid)
        time.sleep(0.25)
    printed = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"jobs/{job}.py ended with {process.returncode}")
    summary: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return summary | {"seconds": time.monotonic() - started, "processor_s": sum(used.values())}


def processor_time(root: int) -> dict[int, float]:
    """Process → seconds that it has used so far, of `root` and everything below it."""
    found = {}
    for pid, _ in below(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def timed(pool: ProcessPoolExecutor, work: Callable[[Any], Any], parts: Sequence[Any]) -> tuple[list[Any], float]:
    """Results of all parts, and the processor time that the pool and its decoders took once every process was warm."""
    list(pool.map(work, [parts[0][:4]] * (2 * CORES)))
    before = sum(processor_time(os.getpid()).values())
    found = list(pool.map(work, parts))
    return found, sum(processor_time(os.getpid()).values()) - before


def read_headers(uris: list[str]) -> int:
    """First bytes and facts of each object, as index reads them."""
    config = IndexConfig(archive="", output="", patient_key="none")
    reader = HeaderReader(regions=load_regions("skeletal14"), pseudonyms=Pseudonyms(b"0" * 16), rule=config.rule())
    for uri in uris:
        read_facts(fetch_range(uri, 0, 1 << 24), reader, complete=True)
    return len(uris)


def measure_rates(pool: ProcessPoolExecutor, uris: list[str], bundle: str) -> dict[str, float]:
    """Objects and images in a second of processor time."""
    _, headers_s = timed(pool, read_headers, split(uris))
    cleaned, clean_s = timed(pool, clean_some, split(uris))
    images = [image for part in cleaned for image in part]
    _, forward_s = timed(pool, partial(predict_some, bundle), split(images))
    return {
        "headers_per_core_s": len(uris) / headers_s,
        "images_per_core_s": len(images) / clean_s,
        "forward_per_core_s": len(images) / forward_s,
    }


class Listing(BaseHTTPRequestHandler):
    """ListObjectsV2 of one bucket with folders of a fixed number of pages."""

    def do_GET(self) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        time.sleep(LATENCY_S)
        if "delimiter" in asked:
            body = "".join(
                f"<CommonPrefixes><Prefix>archive/{folder:02d}/</Prefix></CommonPrefixes>" for folder in range(FOLDERS)
            )
            body = f"<IsTruncated>false</IsTruncated>{body}"
        elif asked.get("max-keys") == "1":
            body = "<IsTruncated>true</IsTruncated>" + self._page(0, 0, 1)
        else:
            place = asked.get("continuation-token") or asked.get("start-after", "00")
            found = re.search(r"(\d\d)/?(?::(\d+))?$", place)
            folder, page = int(found[1]), int(found[2] or 0)
            last = folder == FOLDERS - 1 and page == PAGES - 1
            after = f"{folder:02d}:{page + 1}" if page + 1 < PAGES else f"{folder + 1:02d}:0"
            body = f"<IsTruncated>{'false' if last else 'true'}</IsTruncated>" + self._page(folder, page, 1000)
            body += "" if last else f"<NextContinuationToken>{after}</NextContinuationToken>"
        answer = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>bucket</Name>{body}</ListBucketResult>"
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    @staticmethod
    def _page(folder: int, page: int, keys: int) -> str:
        rest = (
            "<LastModified>2025-01-01T00:00:00.000Z</LastModified><ETag>&quot;0123456789abcdef0123456789abcdef&quot;"
            "</ETag><Size>8000000</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )
        start = page * 1000
        return "".join(
            f"<Contents><Key>archive/{folder:02d}/{number:06d}.dcm</Key>{rest}" for number in range(start, start + keys)
        )

    def log_message(self, *_: object) -> None:
        """Nothing is printed for a request."""


def serve_listing(answer: Any) -> None:
    """Serve pages in a process of its own, whose port goes into `answer`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Listing)
    answer.put(server.server_address[1])
    server.serve_forever()


def measure_listing(folder: Path) -> float:
    """Objects a second into a manifest."""
    context = get_context("spawn")
    answer = context.Queue()
    server = context.Process(target=serve_listing, args=(answer,), daemon=True)
    server.start()
    keep = dict(os.environ)
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{answer.get()}",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_REGION": "us-east-1",
    }
    storage.forget_filesystems()
    started = time.monotonic()
    manifest = ensure_manifest("s3://bucket/archive", str(folder / "listed"))
    seconds = time.monotonic() - started
    server.terminate()
    os.environ.clear()
    os.environ |= keep
    storage.forget_filesystems()
    if manifest.objects != FOLDERS * PAGES * 1000:
        raise SystemExit(f"{manifest.objects:,} objects were listed, {FOLDERS * PAGES * 1000:,} are there")
    return manifest.objects / seconds


def measure_idle(folder: Path, index: str, bundle: str) -> tuple[float, float, float]:
    """Seconds until score works, blocks and result files a second: two runs over rows that want no work."""
    rows = storage.read_table(index)
    rows = rows.set_column(
        rows.schema.get_field_index("status"),
        rows.schema.field("status"),
        pa.array([Status.SET_ASIDE.value] * rows.num_rows, rows.schema.field("status").type),
    )
    runs = {}
    for blocks in (1, IDLE_BLOCKS):
        count = 64 * blocks
        taken = pa.concat_tables([rows] * -(-count // rows.num_rows)).slice(0, count)
        place = taken.schema.get_field_index("row_id")
        taken = taken.set_column(place, taken.schema.field(place), pa.array(range(count), pa.int64()))
        source = folder / f"idle-{blocks}"
        for start in range(0, count, 5000):
            storage.write_table(str(source / f"part-{start:06d}.parquet"), taken.slice(start, 5000))
        runs[blocks] = run_job(
            "score", "--index", str(source), "--bundle", bundle, "--output", str(folder / f"idle-predictions-{blocks}")
        )
    checkpoints = next((folder / f"idle-predictions-{IDLE_BLOCKS}").rglob("_checkpoint"))
    place = storage.locate(str(next(checkpoints.iterdir())))
    started = time.monotonic()
    ids, _ = streaming.committed_ids(str(Path(place.path).parents[1]), Path(place.path).name)
    read_s = time.monotonic() - started
    if len(ids) != 64 * IDLE_BLOCKS:
        raise SystemExit(f"{len(ids):,} rows were committed, {64 * IDLE_BLOCKS:,} were there")
    files = len(list(Path(place.path).glob("*.parquet")))
    longer_s = max(0.1, runs[IDLE_BLOCKS]["seconds"] - runs[1]["seconds"])
    return runs[1]["processor_s"] / CORES, (IDLE_BLOCKS - 1) / longer_s, files / read_s


def main() -> None:
    """Measure, print tables and, last, one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--output", type=Path, required=True)
    options.add_argument("--archive")
    options.add_argument("--bundle")
    options.add_argument("--objects", type=int, default=1500)
    options.add_argument("--side-px", type=int, default=2048)
    given = options.parse_args()
    folder = given.output / f"sizing-{time.time_ns()}"
    folder.mkdir(parents=True)
    archive, bundle = given.archive, given.bundle or str(folder / "bundle")
    if archive is None:
        archive = str(folder / "archive")
        write_phantom(PhantomConfig(output=archive, images=given.objects, side_px=given.side_px, seed=5, workers=0))
    if given.bundle is None:
        build_bundle(bundle)
    listed_per_s = measure_listing(folder)
    ensure_manifest(archive, str(folder / "all"))
    uris = storage.read_table(str(folder / "all" / "_manifest" / "0000"), columns=["uri"])["uri"].to_pylist()
    uris = uris[:: max(1, len(uris) // given.objects)][: given.objects]
    listing = folder / "listing.csv"
    listing.write_text("\n".join(["uri", *uris]) + "\n")
    first = folder / "first.csv"
    first.write_text("\n".join(["uri", *uris[:64]]) + "\n")

    first_index = run_job("index", "--archive", str(first), "--output", str(folder / "index-64"))
    start_s, blocks_per_s, files_per_s = measure_idle(folder, str(folder / "index-64"), bundle)
    with ProcessPoolExecutor(CORES, get_context("spawn"), initializer=alone) as pool:
        sample = uris[:: max(1, len(uris) // SAMPLE)]
        rates = measure_rates(pool, sample, bundle)
    print(rates, flush=True)
    index = run_job("index", "--archive", str(listing), "--output", str(folder / "index"))
    score = run_job(
        "score", "--index", str(folder / "index"), "--bundle", bundle, "--output", str(folder / "predictions")
    )
    usable = score["by_status"].get(Status.OK.value, 0)
    with ThreadPoolExecutor(8) as threads:
        mib = sum(threads.map(lambda uri: len(fetch(uri)), sample)) / len(sample) / 2**20
    config = SizingConfig(
        objects=len(uris),
        radiographs=usable / len(uris),
        object_mib=mib,
        nodes=1,
        cores=CORES,
        listed_per_s=listed_per_s,
        blocks_per_s=blocks_per_s,
        files_per_s=files_per_s,
        start_s=(first_index["processor_s"] / CORES + start_s) / 2,
        latency_ms=0,
        **rates,
    )
    said = estimate(config)
    print(config)
    print(describe(said))
    took = (index["processor_s"] + score["processor_s"]) / CORES
    for name, summary in (("index", index), ("score", score)):
        print(f"{name}: said {said.job_seconds[name]:.1f} s, took {summary['processor_s'] / CORES:.1f} s of "
              f"{CORES} cores, {summary['seconds']:.1f} s by the clock")  # fmt: skip
    off = said.seconds / took - 1
    results = {
        "seconds_said_over_measured": result(round(said.seconds / took, 3), None, round(took, 1)),
        "error": result(round(abs(off), 3), WITHIN, least=False),
    } | {
        name: result(round(value, 1))
        for name, value in {
            **rates, "listed_per_s": listed_per_s, "blocks_per_s": blocks_per_s, "files_per_s": files_per_s,
            "start_s": config.start_s, "object_mib": mib,
        }.items()
    }  # fmt: skip
    print_results("sizing", ("torch", "ray", "pydicom", "pyarrow"), results)


if __name__ == "__main__":
    main()
