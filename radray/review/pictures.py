"""The pictures of the page in one file, each found by its number: what is shown large, small, beside, and as heat."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from radray import storage
from radray.images.reading import stream_pictures
from radray.review.thumbnails import encode_png

if TYPE_CHECKING:
    from radray.ensemble import Bundle

PLACES_FILE = "pictures.json"
LARGE_PX = 512
SMALL_PX = 112
HEAT_PX = 128
_IN_MEMORY_BYTES = 64 << 20
_BATCH = 64
_EXPLAINED_TOGETHER = 16  # more take four times as long an image on a CPU
Image = npt.NDArray[np.uint8]


@dataclass(kw_only=True)
class Drawn:
    """Numbers of the pictures."""

    large: dict[int, int] = field(default_factory=dict)
    """Row id → number."""
    small: dict[int, int] = field(default_factory=dict)
    """Row id → number."""
    heat: dict[tuple[int, str], int] = field(default_factory=dict)
    """Row id and region asked about → number."""


class PictureWriter:
    """Puts pictures one behind the other; more than fit into memory wait on the disk."""

    def __init__(self) -> None:
        self._body = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115
        self._ends: list[int] = []
        self._digest = hashlib.blake2b(digest_size=8)

    def add(self, png: bytes) -> int:
        """Take one picture; return its number."""
        self._body.write(png)
        self._digest.update(png)
        self._ends.append(self._body.tell())
        return len(self._ends) - 1

    def close(self, folder: str) -> None:
        """Write both files into `folder`.

        The pictures' file is named by what it holds: a server that knows an older one must find none, not another's.
        """
        name = f"pictures-{self._digest.hexdigest()}.bin"
        place = storage.locate(storage.join(folder, name))
        place.fs.makedirs(storage.locate(folder).path, exist_ok=True)
        self._body.seek(0)
        with place.fs.open(place.path, "wb") as target:
            while part := self._body.read(1 << 22):
                target.write(part)
        self._body.close()
        storage.write_json(storage.join(folder, PLACES_FILE), {"file": name, "ends": self._ends})
        for url in storage.list_files(folder, ".bin"):
            if not url.endswith(name):
                storage.remove(url)


class PictureReader:
    """Finds pictures by their numbers."""

    def __init__(self, folder: str) -> None:
        """Read where each picture ends.

        Args:
            folder: What `PictureWriter.close` wrote into.
        """
        places = storage.read_json(storage.join(folder, PLACES_FILE))
        self._place = storage.locate(storage.join(folder, places["file"]))
        self._ends: list[int] = places["ends"]

    def read(self, number: int) -> bytes:
        """One PNG.

        Raises:
            IndexError: There is no such picture.
            FileNotFoundError: The audit has run again since.
        """
        if not 0 <= number < len(self._ends):
            raise IndexError(number)
        start = self._ends[number - 1] if number else 0
        return bytes(self._place.fs.cat_file(self._place.path, start=start, end=self._ends[number]))


def draw_pictures(
    writer: PictureWriter,
    images_url: str,
    shown: Iterable[int],
    beside: Iterable[int],
    asked: Mapping[int, list[str]],
    bundle: Bundle | None,
) -> Drawn:
    """Draw every picture of the page, in the order of the images table (which tells nothing of an item's kind).

    Args:
        writer: Gets the pictures.
        images_url: The images table.
        shown: Row ids of the items.
        beside: Row ids of their neighbours.
        asked: Row id → regions whose heat map is wanted.
        bundle: Explains itself where it can; None for no heat maps.
    """
    drawn, large = Drawn(), set(shown)
    for batch in stream_pictures(images_url, large | set(beside), batch=_BATCH):
        for row_id, image in batch.items():
            if row_id in large:
                drawn.large[row_id] = writer.add(encode_png(image, LARGE_PX))
            drawn.small[row_id] = writer.add(encode_png(image, SMALL_PX))
        wanted = [(row_id, region) for row_id in batch for region in asked.get(row_id, ())]
        if bundle is not None and wanted:
            for start in range(0, len(wanted), _EXPLAINED_TOGETHER):
                part = wanted[start : start + _EXPLAINED_TOGETHER]
                # None come where the bundle cannot say.
                for key, heat in zip(part, _heat_maps(bundle, batch, part), strict=False):
                    drawn.heat[key] = writer.add(heat)
    return drawn


def _heat_maps(bundle: Bundle, images: Mapping[int, Image], wanted: list[tuple[int, str]]) -> list[bytes]:
    """One grey PNG each, bright where the reasons for the region lie; none where the bundle cannot say."""
    from radray.ensemble.attention import coarse_attention

    pixels = np.stack([images[row_id] for row_id, _ in wanted])
    if pixels.shape[1] != bundle.side_px:
        return []
    names = bundle.regions.names
    maps = coarse_attention(bundle, pixels, [names.index(region) for _, region in wanted])
    if maps is None:
        return []
    shape = (HEAT_PX, HEAT_PX)
    smooth = [cv2.resize(one, shape, interpolation=cv2.INTER_CUBIC).clip(0, 1) for one in maps]
    return [encode_png((255 * one).astype(np.uint8)) for one in smooth]
