"""An export with 90 % other objects behind 20 ms of latency: radray's index job against the plain recipe.

A small server on loopback serves files with byte ranges, waits before each answer, and counts requests and bytes by
kind of object. The plain recipe fetches every object whole and reads it with pydicom.dcmread, one after the other.

python benchmarks/index.py [--objects 12000] [--latency-ms 20]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
from common import print_results, result
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from radray.phantom.encoding import file_bytes

CHECKOUT = Path(__file__).resolve().parents[1]
KINDS = {"ct": 0.55, "mr": 0.2, "sr": 0.1, "us": 0.05, "radiograph": 0.1}
CLASSES = {
    "ct": ("1.2.840.10008.5.1.4.1.1.2", "CT", 512, 512),
    "mr": ("1.2.840.10008.5.1.4.1.1.4", "MR", 320, 320),
    "us": ("1.2.840.10008.5.1.4.1.1.6.1", "US", 768, 1024),
    "radiograph": ("1.2.840.10008.5.1.4.1.1.1.1", "DX", 2048, 1792),
}
GOAL_BYTES, GOAL_RATIO = 65_536, 5.0


def make_object(kind: str, number: int) -> bytes:
    """One DICOM object; its pixels do not matter here."""
    dataset = Dataset()
    dataset.SOPInstanceUID, dataset.PatientID = f"1.2.3.{number}", f"P{number // 40}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"1.2.{number // 40}", f"1.2.{number // 20}"
    if kind == "sr":
        dataset.SOPClassUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.88.22", "SR"
        dataset.ImageComments = "x" * 8000
    else:
        dataset.SOPClassUID, dataset.Modality, dataset.Rows, dataset.Columns = CLASSES[kind]
        dataset.BodyPartExamined, dataset.SamplesPerPixel = "KNEE", 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.add_new("PixelData", "OW", bytes(2 * dataset.Rows * dataset.Columns))
    return file_bytes(dataset, ExplicitVRLittleEndian)


class FileServer:
    """Serves byte strings by path, late."""

    def __init__(self, bodies: dict[str, bytes], latency_s: float) -> None:
        self._bodies, self._latency_s = bodies, latency_s
        self.requests: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        self._ready.wait()

    def forget(self) -> None:
        """Count from nought."""
        self.requests.clear()
        self.sent.clear()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._answer, "127.0.0.1", 0, backlog=512))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                method, path, _ = line.decode().split(" ", 2)
                headers = {}
                while (header := (await reader.readline()).decode().strip()) != "":
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                await asyncio.sleep(self._latency_s)
                body = self._bodies.get(path.lstrip("/"), b"")
                kind, total, status = path.lstrip("/").split("/")[0], len(body), "200 OK"
                extra = ""
                if (wanted := headers.get("range", "")).startswith("bytes="):
                    first, _, last = wanted[6:].partition("-")
                    start, end = int(first), min(int(last) if last else total - 1, total - 1)
                    body, status = body[start : end + 1], "206 Partial Content"
                    extra = f"Content-Range: bytes {start}-{end}/{total}\r\n"
                head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nAccept-Ranges: bytes\r\n{extra}\r\n"
                self.requests[kind] += 1
                writer.write(head.encode())
                if method != "HEAD":
                    writer.write(body)
                    self.sent[kind] += len(body)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def plain_recipe(urls: list[str]) -> int:
    """Radiographs found by fetching and reading every object whole."""
    found = 0
    for url in urls:
        with urllib.request.urlopen(url) as answer:
            dataset = dcmread(BytesIO(answer.read()))
        found += dataset.Modality in ("CR", "DX", "RG", "RF")
    return found


def main() -> None:
    """Measure, print a table and, last, one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--objects", type=int, default=12000)
    options.add_argument("--latency-ms", type=float, default=20.0)
    given = options.parse_args()
    rng = np.random.default_rng(0)
    kinds = rng.choice(list(KINDS), given.objects, p=list(KINDS.values()))
    samples = {kind: [make_object(kind, number) for number in range(4)] for kind in KINDS}
    bodies = {f"{kind}/{number}.dcm": samples[kind][number % 4] for number, kind in enumerate(kinds)}
    server = FileServer(bodies, given.latency_ms / 1000)
    urls = [f"http://127.0.0.1:{server.port}/{path}" for path in bodies]
    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder) / "objects.csv"
        listing.write_text("uri,size\n" + "".join(f"{url},{len(bodies[url.split('/', 3)[3]])}\n" for url in urls))
        command = [
            sys.executable,
            str(CHECKOUT / "jobs" / "index.py"),
            "--archive",
            str(listing),
            "--output",
            folder + "/index",
        ]
        environment = {**os.environ, "RADRAY_PATIENT_KEY": "0123456789abcdef", "PYTHONPATH": str(CHECKOUT)}
        started = time.perf_counter()
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        ours = time.perf_counter() - started
        summary = json.loads(done.stdout.splitlines()[-1])
    sent, requests = Counter(server.sent), Counter(server.requests)
    server.forget()
    started = time.perf_counter()
    found = plain_recipe(urls)
    plain = time.perf_counter() - started
    if summary["by_status"].get("ok") != found or summary["rows_out"] != given.objects:
        raise SystemExit(f"the plain recipe found {found} radiographs, the index says {summary}")
    unwanted = given.objects - int((kinds == "radiograph").sum())
    each = sum(count for kind, count in sent.items() if kind != "radiograph") / unwanted
    print(
        f"{given.objects:,} objects, {unwanted / given.objects:.0%} of them unwanted, {given.latency_ms:g} ms latency\n"
    )
    print(f"{'':14s} {'seconds':>8s} {'requests':>9s} {'MB fetched':>11s} {'KiB an unwanted object':>23s}")
    print(f"{'radray index':14s} {ours:8.1f} {requests.total():9,d} {sent.total() / 1e6:11,.1f} {each / 1024:23.1f}")
    each_plain = sum(count for kind, count in server.sent.items() if kind != "radiograph") / unwanted
    whole = server.sent.total() / 1e6
    print(f"{'plain recipe':14s} {plain:8.1f} {server.requests.total():9,d} {whole:11,.1f} {each_plain / 1024:23.1f}")
    print(f"\n{plain / ours:.1f} times as fast, start of Ray included ({summary['seconds']:.0f} s in the job itself)")
    results = {
        "bytes_an_unwanted_object": result(round(each), GOAL_BYTES, round(each_plain), least=False),
        "speed_ratio": result(round(plain / ours, 2), GOAL_RATIO, 1.0),
        "requests_an_object": result(round(requests.total() / given.objects, 3), None, 1.0),
    }
    print_results("index", ("ray", "pydicom", "fsspec", "aiohttp"), results)


if __name__ == "__main__":
    main()
