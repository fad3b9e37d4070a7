"""The objects of an archive, one at a time, in a fixed order: a listing never has to fit into memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from radray import storage
from radray.errors import ConfigError
from radray.tables import row_id

_NOT_OBJECTS = frozenset({"DICOMDIR", "_SUCCESS", "Thumbs.db", "desktop.ini"})
_PAGE = 1000
"""Keys a request to S3 returns at most."""


def list_objects(url: str) -> Iterator[dict[str, Any]]:
    """Rows of `MANIFEST_SCHEMA` for every object below `url`.

    Names that start with a dot (of files and of folders), DICOMDIR and `_SUCCESS` are left out. Links to files are
    followed, links to folders are not (they may run in circles). The order is that of the names, the same every time.

    Args:
        url: A folder, `s3://bucket/prefix`, or any URL that fsspec can walk.

    Raises:
        ConfigError: The archive cannot be listed.
    """
    place = storage.locate(url)
    if place.is_local:
        rows = _folder(place.path)
    elif place.url.startswith(("s3://", "s3a://")):
        rows = _s3(place)
    else:
        rows = _walk(place)
    try:
        yield from rows
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"--archive {url}: cannot be listed ({type(error).__name__})") from error


def _row(uri: str, size: int, etag: str, modified: datetime | None) -> dict[str, Any]:
    return {"uri": uri, "row_id": row_id(uri), "size": size, "etag": etag, "modified": modified}


def _is_object(relative: str) -> bool:
    parts = PurePosixPath(relative).parts
    return bool(parts) and parts[-1] not in _NOT_OBJECTS and not any(part.startswith(".") for part in parts)


def _folder(folder: str) -> Iterator[dict[str, Any]]:
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
            yield _row(entry.path, facts.st_size, f"{facts.st_mtime_ns:x}-{facts.st_size:x}", modified)


def _s3(place: storage.Location) -> Iterator[dict[str, Any]]:
    """Page by page with ListObjectsV2: keys come in the order of their UTF-8 bytes."""
    bucket, _, prefix = place.path.partition("/")
    prefix = f"{prefix.rstrip('/')}/" if prefix else ""
    request: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": _PAGE}
    while True:
        page = place.fs.call_s3("list_objects_v2", **request)
        for entry in page.get("Contents", ()):
            key = entry["Key"]
            if not key.endswith("/") and _is_object(key[len(prefix) :]):
                etag = str(entry.get("ETag", "")).strip('"')
                yield _row(f"s3://{bucket}/{key}", entry["Size"], etag, entry.get("LastModified"))
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]


def _walk(place: storage.Location) -> Iterator[dict[str, Any]]:
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
            yield _row(f"{scheme}://{facts['name']}", int(facts.get("size") or 0), etag, when)
