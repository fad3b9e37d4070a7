"""The listing of an archive as Parquet shards beside the index, made once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from radray import storage
from radray.archive import list_objects
from radray.errors import ConfigError
from radray.tables import MANIFEST_SCHEMA

FOLDER = "_manifest"
_DONE = "done.json"
_ROWS_PER_SHARD = 20_000


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A finished listing."""

    url: str
    """Folder of the shards."""
    objects: int
    """Number of rows."""
    digest: str
    """Of all URLs and ETags, in order."""


def ensure_manifest(archive: str, output: str, *, rows_per_shard: int = _ROWS_PER_SHARD) -> Manifest:
    """The listing below `output`, made now unless an earlier run finished it.

    Args:
        archive: URL of the archive.
        output: URL of the index; the shards go to `_manifest` in it.
        rows_per_shard: Rows a Parquet file holds, which is all that is in memory at once.

    Raises:
        ConfigError: The archive is empty or cannot be listed, or the folder holds the listing of another archive.
    """
    archive = storage.normalise_url(archive)
    folder = storage.join(storage.normalise_url(output), FOLDER)
    done = storage.join(folder, _DONE)
    if storage.exists(done):
        facts = storage.read_json(done)
        if facts["archive"] != archive:
            raise ConfigError(f"--output {output} holds the index of {facts['archive']}; choose another folder")
        return Manifest(url=folder, objects=facts["objects"], digest=facts["digest"])
    storage.remove(folder)
    digest, objects = hashlib.blake2b(digest_size=16), 0
    for number, rows in enumerate(_batches(list_objects(archive), rows_per_shard)):
        for row in rows:
            digest.update(f"{row['uri']}\0{row['etag']}\n".encode("utf-8", "surrogateescape"))
        objects += len(rows)
        shard = pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA)
        storage.write_table(storage.join(folder, f"part-{number:05d}.parquet"), shard)
    if not objects:
        raise ConfigError(f"--archive {archive}: no objects are there; give the folder or prefix that holds them")
    facts = {"archive": archive, "objects": objects, "digest": digest.hexdigest()}
    storage.write_json(done, facts)
    return Manifest(url=folder, objects=objects, digest=digest.hexdigest())


def _batches(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    source = iter(rows)
    while batch := list(islice(source, size)):
        yield batch
