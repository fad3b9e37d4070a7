"""Reading the images table for training: one uint8 array and the facts beside it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from radray import storage
from radray.cleaning.config import CleaningConfig
from radray.errors import ConfigError, Status

if TYPE_CHECKING:
    import pyarrow.dataset as dataset

CLEANING_FILE = "cleaning.json"
DIGEST_COLUMNS = ["row_id", "label", "split", "study_instance_uid", "content_hash", "side_px", "perceptual_hash"]
FACT_COLUMNS = ("uri", "row_id", "label", "label_source", "patient", "split", "flags", "perceptual_hash", "station")


class Radiographs(NamedTuple):
    """Images in memory (or on disk) and what is known of them, in the same order."""

    images: npt.NDArray[np.uint8]
    """Uint8 [n, side, side]."""
    facts: pa.Table
    """n rows, sorted by `uri`."""


def load_facts(url: str, columns: Sequence[str] = FACT_COLUMNS) -> pa.Table:
    """What is known of every usable radiograph of an images table, without its pixels, sorted by `uri`.

    Args:
        url: Folder of the images table.
        columns: Facts wanted; `uri` always comes.

    Raises:
        ConfigError: No table there, no usable image in it, images of several sizes, or a column it does not have.
    """
    _, facts, _ = _facts(url, columns, None)
    return facts.take(pc.sort_indices(facts["uri"])).select(list(dict.fromkeys(["uri", *columns]))).combine_chunks()


def load_images(
    url: str,
    columns: Sequence[str] = FACT_COLUMNS,
    splits: Sequence[str] | None = None,
    *,
    memory_map: str | Path | None = None,
) -> Radiographs:
    """Load every usable radiograph of an images table, sorted by `uri`.

    Args:
        url: Folder of the images table.
        columns: Facts to bring along; `uri` always comes.
        splits: Only these (train, validation, test); None for all.
        memory_map: A file to keep the pixels in, for tables larger than memory; None keeps them in memory.

    Raises:
        ConfigError: No table there, no usable image in it, images of several sizes, or a column it does not have.
    """
    table, facts, rows = _facts(url, columns, splits)
    order = pc.sort_indices(facts["uri"]).to_numpy()
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    images = _pixels(table, rows, rank, facts["side_px"][0].as_py(), memory_map)
    return Radiographs(images, facts.take(order).select(list(dict.fromkeys(["uri", *columns]))).combine_chunks())


def _facts(
    url: str, columns: Sequence[str], splits: Sequence[str] | None
) -> tuple[dataset.Dataset, pa.Table, pc.Expression]:
    """The table, the facts of its usable rows in its own order, and what selects those rows."""
    files = storage.list_files(url, ".parquet")
    if not files:
        raise ConfigError(f"{url}: no images table is there; run jobs/clean.py first")
    place = storage.locate(url)
    import pyarrow.dataset as dataset  # imports pandas: seconds

    table = dataset.dataset([storage.locate(file).path for file in files], filesystem=place.arrow, format="parquet")
    if unknown := [column for column in columns if column not in table.schema.names or column == "image"]:
        raise ConfigError(f"{url}: there is no column {unknown[0]!r} among the facts; see radray.tables.IMAGES_SCHEMA")
    rows = pc.field("status") == Status.OK.value
    if splits is not None:
        rows = rows & pc.field("split").isin(list(splits))
    facts = table.to_table(columns=list(dict.fromkeys(["uri", "side_px", *columns])), filter=rows)
    sides = pc.unique(facts["side_px"]).to_pylist()
    if not facts.num_rows:
        raise ConfigError(f"{url}: no usable image {f'in the splits {list(splits)} ' if splits else ''}is there")
    if len(sides) != 1:
        raise ConfigError(f"{url}: images of several sizes ({sides} pixels) are there; clean into a new folder")
    return table, facts, rows


def _pixels(
    table: dataset.Dataset, rows: pc.Expression, rank: npt.NDArray[np.uint64], side: int, memory_map: str | Path | None
) -> npt.NDArray[np.uint8]:
    shape = (len(rank), side, side)
    images: npt.NDArray[np.uint8]
    if memory_map is None:
        images = np.empty(shape, np.uint8)
    else:
        images = np.lib.format.open_memmap(memory_map, mode="w+", dtype=np.uint8, shape=shape)
    start = 0
    # Batches come in the order of the table above: the same files, the same filter.
    for batch in table.to_batches(columns=["image"], filter=rows, batch_size=1024):
        for place, pixels in zip(rank[start : start + batch.num_rows], batch.column(0), strict=True):
            images[place] = np.frombuffer(pixels.as_buffer(), np.uint8).reshape(side, side)
        start += batch.num_rows
    return images


def load_pictures(images_url: str, row_ids: Iterable[int]) -> dict[int, npt.NDArray[np.uint8]]:
    """The stored (cleaned, text masked) images of some rows, by row id; rows without image are left out."""
    return {row_id: image for batch in stream_pictures(images_url, row_ids) for row_id, image in batch.items()}


def stream_pictures(
    images_url: str, row_ids: Iterable[int], *, batch: int = 512
) -> Iterator[dict[int, npt.NDArray[np.uint8]]]:
    """The same a batch at a time, in the order of the table: for more pictures than memory holds."""
    wanted = sorted(set(row_ids))
    files = [storage.locate(file).path for file in storage.list_files(images_url, ".parquet")]
    if not wanted or not files:
        return
    import pyarrow.dataset as dataset  # imports pandas: seconds

    table = dataset.dataset(files, filesystem=storage.locate(images_url).arrow, format="parquet")
    rows = pc.field("row_id").isin(wanted) & pc.field("image").is_valid()
    for part in table.to_batches(columns=["row_id", "image", "side_px"], filter=rows, batch_size=batch):
        yield {
            row["row_id"]: np.frombuffer(row["image"], np.uint8).reshape(row["side_px"], row["side_px"])
            for row in part.to_pylist()
        }


def save_cleaning(url: str, cleaning: CleaningConfig) -> None:
    """Keep the cleaning configuration beside the images it made."""
    storage.write_json(storage.join(url, CLEANING_FILE), dataclasses.asdict(cleaning))


def load_cleaning(url: str) -> CleaningConfig:
    """The cleaning configuration of an images table.

    Raises:
        ConfigError: There is none, or it was written by another version.
    """
    path = storage.join(url, CLEANING_FILE)
    if not storage.exists(path):
        raise ConfigError(f"{url}: {CLEANING_FILE} is missing; run jobs/clean.py to the end")
    try:
        return CleaningConfig(**storage.read_json(path))
    except TypeError as error:
        raise ConfigError(f"{path} does not fit this version of radray ({error}); clean again") from error


def table_digest(images_url: str) -> str:
    """BLAKE2b of what training depends on: rows, labels, splits, studies, pixels and cleaning of an images table.

    Raises:
        ConfigError: No usable image is there.
    """
    table = storage.read_table(images_url, columns=DIGEST_COLUMNS, filter=pc.field("status") == Status.OK.value)
    if not table.num_rows:
        raise ConfigError(f"{images_url}: no usable image is there; look at its summary.json for the reasons")
    table = table.sort_by("row_id")
    # The content hash is that of the stored image: the same image cleaned otherwise is another one.
    place = storage.join(images_url, CLEANING_FILE)
    digest = hashlib.blake2b(storage.read_bytes(place) if storage.exists(place) else b"", digest_size=16)
    for column in DIGEST_COLUMNS:
        digest.update(repr(table.column(column).to_pylist()).encode())
    return digest.hexdigest()
