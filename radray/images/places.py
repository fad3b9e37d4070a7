"""Where each image of an images table lies, so that a table too large for this machine can be read in any order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from radray import storage
from radray.errors import ConfigError, Status


@dataclass(frozen=True, kw_only=True)
class Places:
    """The usable images of some splits, by Parquet row group; an image is known by its number, 0 to n − 1."""

    files: tuple[str, ...]
    """URLs of the table's files."""
    groups: NDArray[np.int32]
    """Int32[groups, 2]: file and number in it of every row group that holds such an image."""
    first: NDArray[np.int64]
    """Int64[groups + 1]: the first image of each group; the last entry is n."""
    rows: NDArray[np.int32]
    """Int32[n]: the row of each image in its group."""
    labels: NDArray[np.int64]
    """Int64[n]: place in `regions`, −1 where there is no label."""
    regions: tuple[str, ...]
    """Names that occur, sorted."""
    side_px: int
    """Side of the images."""

    def __len__(self) -> int:
        """Number of images."""
        return int(self.first[-1])

    def read(self, images: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Pixels of some images, in the order asked for: UInt8[images, side, side]. Each row group is read once."""
        pixels = np.empty((len(images), self.side_px, self.side_px), np.uint8)
        for wanted, column in self._read("image", images):
            for place, body in zip(wanted, column, strict=True):
                pixels[place] = np.frombuffer(body.as_buffer(), np.uint8).reshape(self.side_px, self.side_px)
        return pixels

    def uris(self, images: NDArray[np.int64]) -> list[str]:
        """URLs of some images."""
        found = [""] * len(images)
        for wanted, column in self._read("uri", images):
            for place, uri in zip(wanted, column.to_pylist(), strict=True):
                found[place] = uri
        return found

    def take(self, images: NDArray[np.int64]) -> Places:
        """Only some of the images, Int64[images] in rising order."""
        counts = np.diff(np.searchsorted(images, self.first))
        kept = np.flatnonzero(counts)
        return dataclasses.replace(
            self,
            groups=self.groups[kept],
            first=np.concatenate([[0], np.cumsum(counts[kept])]).astype(np.int64),
            rows=self.rows[images],
            labels=self.labels[images],
        )

    def spread(self, images: NDArray[np.int64], most: int, groups: int = 48) -> NDArray[np.int64]:
        """Up to `most` of some images, evenly from up to `groups` row groups over the whole table."""
        group_of = np.searchsorted(self.first, images, side="right") - 1
        near = images[np.isin(group_of, spread_evenly(np.unique(group_of), groups))]
        return spread_evenly(near, most)

    def _read(self, column: str, images: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], pa.Array]]:
        group_of = np.searchsorted(self.first, images, side="right") - 1
        for group in np.unique(group_of):
            file, number = self.groups[group]
            wanted = np.flatnonzero(group_of == group)
            place = storage.locate(self.files[file])
            with parquet.ParquetFile(place.path, filesystem=place.arrow) as table:
                values = table.read_row_group(int(number), columns=[column]).column(column).combine_chunks()
            yield wanted, values.take(pa.array(self.rows[images[wanted]]))


def spread_evenly(numbers: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Up to `most` of some numbers, evenly spread over them."""
    return numbers if len(numbers) <= most else numbers[np.linspace(0, len(numbers) - 1, most).astype(np.int64)]


def find_places(url: str, splits: Sequence[str]) -> Places:
    """Scan the narrow columns of an images table.

    Raises:
        ConfigError: No table or no usable image is there, or images of several sizes.
    """
    files = storage.list_files(url, ".parquet")
    groups: list[tuple[int, int]] = []
    counts: list[int] = []
    rows: list[NDArray[np.int32]] = []
    labels: list[int] = []
    known: dict[str, int] = {}
    sides: set[int] = set()
    for file_number, file in enumerate(files):
        place = storage.locate(file)
        with parquet.ParquetFile(place.path, filesystem=place.arrow) as table:
            for group in range(table.num_row_groups):
                facts = table.read_row_group(group, columns=["status", "split", "label", "side_px"])
                usable = np.array(
                    [
                        status == Status.OK.value and split in splits
                        for status, split in zip(facts["status"].to_pylist(), facts["split"].to_pylist(), strict=True)
                    ]
                )
                found = np.flatnonzero(usable)
                if len(found):
                    groups.append((file_number, group))
                    counts.append(len(found))
                    rows.append(found.astype(np.int32))
                    labels += [
                        known.setdefault(name, len(known)) if name else -1 for name in _taken(facts, "label", found)
                    ]
                    sides |= set(_taken(facts, "side_px", found))
    if not groups:
        raise ConfigError(f"{url}: no usable image of the splits {list(splits)} is there; run jobs/clean.py first")
    if len(sides) != 1:
        raise ConfigError(f"{url}: images of several sizes ({sorted(sides)} pixels) are there; clean into a new folder")
    regions = tuple(sorted(known))
    number = np.array([regions.index(name) for name in known] + [-1], np.int64)  # the last for "no label"
    return Places(
        files=tuple(files),
        groups=np.array(groups, np.int32),
        first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        rows=np.concatenate(rows),
        labels=number[np.array(labels, np.int64)],
        regions=regions,
        side_px=int(sides.pop()),
    )


def _taken(facts: pa.Table, column: str, rows: NDArray[np.int64]) -> list[Any]:
    values: list[Any] = facts[column].take(pa.array(rows)).to_pylist()
    return values
