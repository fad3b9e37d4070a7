"""The listing of an archive as Parquet shards beside the index: made once for a run, made again for the next.

_manifest/0000/part-00000.parquet … done.json     the listing that the index was made from
_manifest/0001/ …                                 a newer one, of which an unfinished run is a part
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import numpy as np
import pyarrow as pa

from radray import storage
from radray.archive import list_objects
from radray.errors import ConfigError
from radray.tables import MANIFEST_SCHEMA, row_id

FOLDER = "_manifest"
_DONE = "done.json"
_ROWS_PER_SHARD, _ROWS_PER_BATCH = 5_000, 1_000

Key = Callable[[str], str]
"""An object's URL to what tables beyond the index call it."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A finished listing."""

    url: str
    """Folder of the shards."""
    objects: int
    """Number of rows."""
    digest: str
    """Of all URLs and ETags, in order."""


def ensure_manifest(
    archive: str, output: str, *, key: Key | None = None, rows_per_shard: int = _ROWS_PER_SHARD
) -> Manifest:
    """The newest listing below `output`, made now where there is none.

    Args:
        archive: URL of the archive.
        output: URL of the index; the shards go to `_manifest` in it.
        key: Gives the text that `row_id` is made of; None for the URL itself.
        rows_per_shard: Rows a Parquet file holds; no more are in memory at once.

    Raises:
        ConfigError: The archive is empty or cannot be listed, or the folder holds the listing of another archive.
    """
    archive, folder = storage.normalise_url(archive), _folder(output)
    finished = _finished(folder)
    if not finished:
        return _make(archive, storage.join(folder, "0000"), key, rows_per_shard)
    facts = storage.read_json(storage.join(finished[-1], _DONE))
    if facts["archive"] != archive:
        raise ConfigError(f"--output {output} holds the index of {facts['archive']}; choose another folder")
    return Manifest(url=finished[-1], objects=facts["objects"], digest=facts["digest"])


def listed_archive(output: str) -> str | None:
    """URL of the archive whose newest listing lies below `output`, None where no listing is there."""
    finished = _finished(_folder(output))
    return str(storage.read_json(storage.join(finished[-1], _DONE))["archive"]) if finished else None


def renew_manifest(
    archive: str, output: str, old: Manifest, *, key: Key | None = None, rows_per_shard: int = _ROWS_PER_SHARD
) -> Manifest:
    """List the archive again; the listing there is where nothing has changed, else a newer one, which replaces it.

    Args:
        archive: As `ensure_manifest`.
        output: As `ensure_manifest`.
        old: The newest listing there is.
        key: As `ensure_manifest`.
        rows_per_shard: As `ensure_manifest`.

    Raises:
        ConfigError: The archive is empty or cannot be listed.
    """
    number = int(old.url.rsplit("/", 1)[-1]) + 1
    fresh = storage.join(_folder(output), f"{number:04d}")
    new = _make(storage.normalise_url(archive), fresh, key, rows_per_shard)
    if new.digest == old.digest:
        storage.remove(fresh)
        return old
    storage.remove(old.url)
    return new


def _folder(output: str) -> str:
    return storage.join(storage.normalise_url(output), FOLDER)


def _finished(folder: str) -> list[str]:
    return [place for place in storage.list_files(folder) if storage.exists(storage.join(place, _DONE))]


def _make(archive: str, folder: str, key: Key | None, rows_per_shard: int) -> Manifest:
    storage.remove(folder)
    digest, objects = hashlib.blake2b(digest_size=16), 0
    ids: list[np.ndarray[Any, np.dtype[np.int64]]] = []
    listed = list_objects(archive)
    for number in count():
        batches: list[pa.RecordBatch] = []
        for rows in _batches(islice(listed, rows_per_shard), _ROWS_PER_BATCH):
            for row in rows:
                digest.update(f"{row['uri']}\0{row['etag']}\n".encode("utf-8", "surrogateescape"))
                if key is not None:
                    row["row_id"] = row_id(key(row["uri"]), row["etag"])
            objects += len(rows)
            ids.append(np.array([row["row_id"] for row in rows], np.int64))
            batches.append(pa.RecordBatch.from_pylist(rows, schema=MANIFEST_SCHEMA))
        if not batches:
            break
        storage.write_table(storage.join(folder, f"part-{number:05d}.parquet"), pa.Table.from_batches(batches))
    if not objects:
        raise ConfigError(f"--archive {archive}: no objects are there; give the folder or prefix that holds them")
    if twice := objects - len(np.unique(np.concatenate(ids))):
        storage.remove(folder)
        raise ConfigError(f"--archive {archive}: {twice} of its {objects} objects are listed twice; name each once")
    facts = {"archive": archive, "objects": objects, "digest": digest.hexdigest()}
    storage.write_json(storage.join(folder, _DONE), facts)
    return Manifest(url=folder, objects=objects, digest=digest.hexdigest())


def _batches(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    source = iter(rows)
    while batch := list(islice(source, size)):
        yield batch
