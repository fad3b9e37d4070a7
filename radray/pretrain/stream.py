"""A training set larger than a machine's disk: row groups are read by Ray Data, in order, while the network trains."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from radray.images.places import Places
from radray.pretrain.order import GroupedOrder
from radray.pretrain.samples import Batch, Pixels, Rows, Samples, Slice, TrainingSet

CHUNK = 4096
"""Samples permuted and read together: 200 MB at 224 pixels."""
IN_MEMORY_BYTES = 1 << 28
"""Pixels of a part of the table that are held in memory rather than streamed."""
STRETCH = 256
"""Chunks of one Ray Data execution; starting one takes about a second."""


class StreamedSet:
    """The train split of an images table, left where it is.

    Each rank runs its own stream over its shares of the batches: Ray Data tasks anywhere in the cluster read the row
    groups of a chunk, two at a time, and blocks come in order (`preserve_order`). The order is a function of seed and
    position (`GroupedOrder`), so a stream can begin anywhere, for any number of ranks.

    Args:
        places: Where its images lie.
        chunk: Samples permuted and read together.
    """

    def __init__(self, places: Places, chunk: int = CHUNK) -> None:
        self.places, self.chunk = places, chunk
        self.side_px, self.labels, self.regions = places.side_px, places.labels, places.regions

    def __len__(self) -> int:
        """Number of images."""
        return len(self.places)

    def names(self, rows: Rows) -> list[str]:
        """URLs of some images."""
        return self.places.uris(rows)

    def read(self, rows: Rows) -> Pixels:
        """Pixels of some images: UInt8[rows, side, side]."""
        return self.places.read(rows)

    def with_labels(self, labels: NDArray[np.int64]) -> StreamedSet:
        """The same images with other labels, Int64[samples]."""
        return StreamedSet(dataclasses.replace(self.places, labels=labels), self.chunk)

    def take(self, rows: Rows) -> Samples:
        """Only some of the images: in memory where they are few, else streamed."""
        if len(rows) * self.side_px**2 > IN_MEMORY_BYTES:
            return StreamedSet(self.places.take(rows), self.chunk)
        return TrainingSet(self.read(rows), self.labels[rows], self.names(rows), self.regions)

    def spread(self, rows: Rows, most: int) -> Rows:
        """Up to `most` of some rows from a few row groups, each of which is read whole."""
        return self.places.spread(rows, most)

    def batches(self, wanted: Slice) -> Iterator[Batch]:
        """One rank's shares of successive batches."""
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        order = GroupedOrder(self.places.first, wanted.seed, self.chunk)
        read_chunk: Any = _read_chunk
        shared = ray.put((self.places, order, wanted))
        first, last = wanted.position // self.chunk, (wanted.end - 1) // self.chunk
        position = wanted.position
        for start in range(first, last + 1, STRETCH):
            chunks = range(start, min(start + STRETCH, last + 1))
            numbers = ray.data.from_items([{"chunk": number} for number in chunks], override_num_blocks=len(chunks))
            read = numbers.map_batches(
                read_chunk, batch_size=1, fn_kwargs={"shared": [shared]}, num_cpus=0, concurrency=2
            )
            coming: Any = read.iter_batches(batch_size=wanted.share, batch_format="numpy", prefetch_batches=2)
            for found in coming:
                rows = found["row"]
                side = self.side_px
                yield Batch(
                    position=position,
                    rows=rows,
                    pixels=found["image"].reshape(len(rows), side, side),
                    labels=self.labels[rows],
                )
                position += wanted.batch


def _read_chunk(task: dict[str, NDArray[Any]], shared: list[Any]) -> dict[str, NDArray[Any]]:
    """One rank's shares of the batches that start in a chunk, one after the other."""
    places, order, wanted = ray.get(shared[0])
    number = int(task["chunk"][0])
    begin = max(wanted.position, number * order.chunk)
    # Batches lie at position + k × batch.
    begin += (wanted.position - begin) % wanted.batch
    end = min(wanted.end, (number + 1) * order.chunk)
    mine = slice(wanted.rank * wanted.share, (wanted.rank + 1) * wanted.share)
    shares = [order.batch(position, wanted.batch)[mine] for position in range(begin, end, wanted.batch)]
    rows = np.concatenate(shares) if shares else np.empty(0, np.int64)
    return {"row": rows, "image": places.read(rows).reshape(len(rows), places.side_px**2)}
