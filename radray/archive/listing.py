"""The objects of an archive, one at a time, in a fixed order: a listing never has to fit into memory."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from radray import storage
from radray.archive.members import SEPARATOR, is_zip, list_members
from radray.archive.s3_listing import bucket_and_prefix, list_keys
from radray.archive.tables import INVENTORY, Listed, is_table, list_inventory, list_table
from radray.errors import ConfigError
from radray.tables import row_id

_NOT_OBJECTS = frozenset({"DICOMDIR", "_SUCCESS", "Thumbs.db", "desktop.ini"})
_NOT_FOLDERS = frozenset({"__MACOSX"})


def list_objects(url: str) -> Iterator[dict[str, Any]]:
    """Rows of `MANIFEST_SCHEMA` for every object of an archive.

    Names that start with a dot (of files and of folders), DICOMDIR and `_SUCCESS` are left out. Links to files are
    followed, links to folders are not (they may run in circles). Zip files are listed by their members, whose URLs
    are `archive.zip::path`. The order is that of the names, the same every time; in a listing of the site's, its own.

    Args:
        url: A folder, `s3://bucket/prefix`, any URL that fsspec can walk, a zip file; or a listing: a .csv or .parquet
            table with uri (or path below the table's folder) and size, etag, modified where known; or the
            manifest.json of an S3 inventory.

    Raises:
        ConfigError: The archive cannot be listed.
    """
    place = storage.locate(url)
    try:
        for uri, size, etag, modified in _listed(place):
            if is_zip(uri):
                yield from _members(uri, size, etag, modified)
            else:
                yield _row(uri, size, etag, modified)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"--archive {url}: cannot be listed ({type(error).__name__})") from error


def _listed(place: storage.Location) -> Iterator[Listed]:
    if is_table(place.url):
        return list_inventory(place.url) if place.url.endswith(f"/{INVENTORY}") else list_table(place.url)
    if is_zip(place.url) and place.fs.isfile(place.path):
        return iter([(place.url, None, "", None)])
    if place.is_local:
        return _folder(place.path)
    if place.url.startswith(("s3://", "s3a://")):
        return _s3(place)
    return _walk(place)


def _row(uri: str, size: int | None, etag: str, modified: datetime | None) -> dict[str, Any]:
    return {"uri": uri, "row_id": row_id(uri, etag), "size": size, "etag": etag, "modified": modified}


def _members(uri: str, size: int | None, etag: str, modified: datetime | None) -> Iterator[dict[str, Any]]:
    """A zip file's members; a damaged zip file is a row of its own, which the index will call not DICOM."""
    try:
        members = list(list_members(uri, etag))
    except (zipfile.BadZipFile, NotImplementedError):
        members = []
    rows = [_row(*member) for member in members if _is_object(member[0][len(uri) + len(SEPARATOR) :])]
    yield from rows or [_row(uri, size, etag, modified)]


def _is_object(relative: str) -> bool:
    parts = PurePosixPath(relative).parts
    hidden = any(part.startswith(".") or part in _NOT_FOLDERS for part in parts)
    return bool(parts) and parts[-1] not in _NOT_OBJECTS and not hidden


def _folder(folder: str) -> Iterator[Listed]:
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if not _is_object(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _folder(entry.path)
        elif entry.is_file():
            facts = entry.stat()
            modified = datetime.fromtimestamp(facts.st_mtime_ns // 1000 / 1e6, UTC)
            yield entry.path, facts.st_size, f"{facts.st_mtime_ns:x}-{facts.st_size:x}", modified


def _s3(place: storage.Location) -> Iterator[Listed]:
    bucket, prefix = bucket_and_prefix(place)
    for entry in list_keys(place):
        key = entry["Key"]
        if not key.endswith("/") and _is_object(key[len(prefix) :]):
            etag = str(entry.get("ETag", "")).strip('"')
            yield f"s3://{bucket}/{key}", entry["Size"], etag, entry.get("LastModified")


def _walk(place: storage.Location) -> Iterator[Listed]:
    """Folder by folder, for every other kind of store."""
    scheme = place.url.split("://", 1)[0]
    for folder, _, files in place.fs.walk(place.path, detail=True):
        for name, facts in sorted(files.items()):
            relative = f"{folder}/{name}"[len(place.path) :].lstrip("/")
            if not _is_object(relative):
                continue
            etag = str(facts.get("etag") or facts.get("ETag") or "").strip('"')
            modified = facts.get("mtime") or facts.get("updated") or facts.get("last_modified")
            when = modified if isinstance(modified, datetime) else None
            yield f"{scheme}://{facts['name']}", int(facts.get("size") or 0), etag, when
