"""Thousands of small radiographs of few distinct bodies, for tests of what happens to many."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pydicom
from pydicom.errors import InvalidDicomError

from radray import storage
from radray.phantom.config import PhantomConfig
from radray.phantom.export import draw_object
from radray.phantom.plan import plan_archive


def draw_bodies(kinds: int, *, side_px: int = 64, seed: int = 3) -> list[bytes]:
    """So many phantoms, odd ones among them."""
    config = PhantomConfig(output="unused", images=kinds, side_px=side_px, least_per_region=1, seed=seed)
    return [draw_object(one, config)[0] for one in plan_archive(config)][:kinds]


def identities(bodies: list[bytes]) -> set[str]:
    """What must stand nowhere but in the objects: names, patients' numbers, accession numbers, birth dates."""
    found = set()
    for body in bodies:
        try:
            header = pydicom.dcmread(BytesIO(body), stop_before_pixels=True)
        except InvalidDicomError:
            continue
        for keyword in ("PatientName", "PatientID", "AccessionNumber", "PatientBirthDate"):
            found |= {part for part in str(header.get(keyword) or "").split("^") if len(part) > 3}
    return found


def write_small_archive(url: str, objects: int, *, kinds: int = 40) -> None:
    """`objects` objects below `url`, a thousand a folder."""
    bodies = draw_bodies(kinds)

    def write(number: int) -> None:
        storage.write_bytes(f"{url}/{number // 1000:03d}/{number:06d}.dcm", bodies[number % len(bodies)])

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(write, range(objects)))
