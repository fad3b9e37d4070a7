"""Thousands of small radiographs of few distinct bodies, for tests of what happens to many."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from radray import storage
from radray.phantom.config import PhantomConfig
from radray.phantom.export import draw_object
from radray.phantom.plan import plan_archive


def draw_bodies(kinds: int, *, side_px: int = 64, seed: int = 3) -> list[bytes]:
    """So many phantoms, odd ones among them."""
    config = PhantomConfig(output="unused", images=kinds, side_px=side_px, least_per_region=1, seed=seed)
    return [draw_object(one, config)[0] for one in plan_archive(config)][:kinds]


def write_small_archive(url: str, objects: int, *, kinds: int = 40) -> None:
    """`objects` objects below `url`, a thousand a folder."""
    bodies = draw_bodies(kinds)

    def write(number: int) -> None:
        storage.write_bytes(f"{url}/{number // 1000:03d}/{number:06d}.dcm", bodies[number % len(bodies)])

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(write, range(objects)))
