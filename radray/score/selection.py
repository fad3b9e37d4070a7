"""Which objects a run scores, and which of them have no row yet.

A selection never changes what a row holds, so it is no part of a version's key: `--limit 1000` today and the whole
archive tomorrow add to one version, and nothing is scored twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from radray import storage
from radray.tables import contains

Ids = np.ndarray[Any, np.dtype[np.int64]]
"""Sorted row_ids."""
_PART = "_selection"
_LOWEST, _SPAN = -(2**63), 2**64


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Objects that meet a condition; of these a share; of these the first so many."""

    where: pc.Expression | None = None
    """Condition on the columns of the source."""
    sample: float = 1.0
    """Share of the objects, above 0 to 1. A row_id is a hash: those below a threshold are a fair, fixed draw."""
    limit: int | None = None
    """Most objects, in the order of the source."""

    @property
    def is_whole(self) -> bool:
        """Whether every object is chosen."""
        return self.where is None and self.sample >= 1 and self.limit is None

    def choose(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The rows chosen of each table; they need `row_id` and what the condition names."""
        left = self.limit
        for table in tables:
            found = table if self.where is None else table.filter(self.where)
            if self.sample < 1:
                below = pa.scalar(_LOWEST + int(self.sample * _SPAN), pa.int64())
                found = found.filter(pc.less(found["row_id"], below))
            if left is not None:
                found = found.slice(0, left)
                left -= found.num_rows
            if found.num_rows:
                yield found
            if left == 0:
                return


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be done for one version."""

    listed: Ids
    """All objects of the source."""
    selected: Ids
    """Those that this run is asked for."""
    made: Ids
    """Rows that are there and committed."""
    is_tidy: bool
    """Whether every commit has its rows and every row its commit."""

    @property
    def todo(self) -> Ids:
        """Objects to score now."""
        return np.setdiff1d(self.selected, self.made, assume_unique=True)

    @property
    def is_done(self) -> bool:
        """Whether nothing is to be made, nor taken away."""
        return self.is_tidy and not len(self.todo) and bool(contains(self.listed, self.made).all())

    @property
    def wanted(self) -> int:
        """Rows that the version will hold: those asked for, and those there of other objects."""
        return len(np.union1d(self.selected, np.intersect1d(self.made, self.listed)))


def read_files(source: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The Parquet files of a folder, one at a time, in the order of their names."""
    for url in storage.list_files(source, ".parquet"):
        yield storage.read_table(url, columns=columns)


def read_ids(source: str) -> Ids:
    """Sorted row_ids of a folder of Parquet files; none where there is no file."""
    return _sorted(read_files(source, ["row_id"]))


def select_ids(source: str, selection: Selection) -> Ids:
    """Sorted row_ids of the objects chosen."""
    return _sorted(selection.choose(read_files(source, None if selection.where is not None else ["row_id"])))


def _sorted(tables: Iterable[pa.Table]) -> Ids:
    parts = [table["row_id"].to_numpy() for table in tables]
    return np.sort(np.concatenate(parts)) if parts else np.empty(0, np.int64)


def write_part(source: str, folder: str, selection: Selection, todo: Ids) -> str:
    """Copy the rows of `todo` out of `source`; return the URL of the copy, which replaces the last run's.

    A run that adds a few objects to many reads these few alone.
    """
    part = storage.join(folder, _PART)
    storage.remove(part)
    number = 0
    for table in selection.choose(read_files(source)):
        found = table.filter(pa.array(contains(todo, table["row_id"].to_numpy())))
        if found.num_rows:
            storage.write_table(storage.join(part, f"part-{number:05d}.parquet"), found)
            number += 1
    if not number:
        first = next(read_files(source))
        storage.write_table(storage.join(part, "part-00000.parquet"), first.slice(0, 0))
    return part
