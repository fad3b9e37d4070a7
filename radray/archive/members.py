"""Objects inside zip files: `archive.zip::folder/image.dcm` is the URL of a member.

Only the central directory and the members asked for are read, by ranges where the store is remote. Members are not
looked into further: a zip file inside a zip file is an object that is not DICOM.
"""

from __future__ import annotations

import re
import threading
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache

from radray import storage

SEPARATOR = "::"
_MEMBER = re.compile(r"(.+?\.zip)::(.+)", re.IGNORECASE | re.DOTALL)
_SKIP_PART = 1 << 20
BLOCK = 1 << 20
"""Bytes a request to a remote store asks for at least."""
_OPENING = threading.Lock()


def is_zip(uri: str) -> bool:
    """Whether an object's name says that it is a zip file."""
    return uri[-4:].lower() == ".zip"


def split_member(uri: str) -> tuple[str, str] | None:
    """URL of the zip file and name of the member, None for any other URL."""
    found = _MEMBER.fullmatch(uri)
    return (found[1], found[2]) if found else None


def list_members(uri: str, etag: str) -> Iterator[tuple[str, int, str, datetime | None]]:
    """URL, size in bytes, ETag and time of every member, in the order of the names; folders are left out.

    Args:
        uri: Of the zip file.
        etag: Of the zip file; a member's is made of its checksum, so that an unchanged member of a changed zip file
            counts as unchanged. Where the checksum is missing it is this one.

    Raises:
        zipfile.BadZipFile: It is none, or damaged.
    """
    with _OPENING:
        _open.cache_clear()  # the file may have been replaced since
    for entry in sorted(_opened(uri).infolist(), key=lambda entry: entry.filename):
        if entry.is_dir():
            continue
        check = f"{entry.CRC:08x}-{entry.file_size:x}" if entry.CRC else etag
        yield f"{uri}{SEPARATOR}{entry.filename}", entry.file_size, check, _time(entry)


def read_member(uri: str, name: str, start: int, length: int) -> bytes:
    """Bytes `start` to `start + length` of a member; what lies before is unpacked and thrown away.

    Raises:
        FileNotFoundError: No such member.
        PermissionError: It is encrypted.
        zipfile.BadZipFile: Damaged.
    """
    archive = _opened(uri)
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise FileNotFoundError("no such member") from None
    if entry.flag_bits & 1:
        raise PermissionError("the member is encrypted")
    with archive.open(entry) as stream:
        left = start
        while left > 0:
            part = stream.read(min(left, _SKIP_PART))
            if not part:
                return b""
            left -= len(part)
        return stream.read(length)


def _opened(uri: str) -> zipfile.ZipFile:
    with _OPENING:
        return _open(uri)


@lru_cache(maxsize=4)
def _open(uri: str) -> zipfile.ZipFile:
    place = storage.locate(uri)
    options = {} if place.is_local else {"block_size": BLOCK}
    try:
        return zipfile.ZipFile(place.fs.open(place.path, "rb", **options))
    except ValueError as error:  # fsspec's word for a file shorter than a central directory's end
        raise zipfile.BadZipFile("too short") from error


def _time(entry: zipfile.ZipInfo) -> datetime | None:
    try:
        return datetime(*entry.date_time, tzinfo=UTC)
    except ValueError:
        return None
