"""Bytes of one object, whole or a range, with a few attempts. Members of zip files and gzip files read as others do.

An object that was listed under an ETag is read under it: one that has changed since is no row of the old listing.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib

from radray import outages, storage
from radray.archive.members import BLOCK, read_member, split_member
from radray.archive.pace import read_in_turn
from radray.archive.s3_reading import BrokenAnswerError, ChangedError, read_s3_range
from radray.errors import ConfigError, ObjectError, Reason

MAX_OBJECT_BYTES = 1 << 30
"""Largest object that is fetched (1 GiB)."""
_FINAL = (ChangedError, zipfile.BadZipFile, zlib.error)
"""Errors that another attempt does not mend."""
_FILE_ETAG = re.compile(r"[0-9a-f]{1,16}-[0-9a-f]+")
"""Time of the last change and size, as `radray.archive.listing` makes them for files."""
_GZIP_PART = 1 << 16
"""Bytes of a gzip file read first; then four times as many each time."""
_SURE = 1 << 20
"""A range up to this length is expected to be full."""


def fetch(uri: str, *, etag: str | None = None, max_bytes: int = MAX_OBJECT_BYTES, size: int | None = None) -> bytes:
    """The whole object.

    Args:
        uri: As `fetch_range`.
        etag: As `fetch_range`.
        max_bytes: Most bytes.
        size: As `fetch_range`.

    Raises:
        ObjectError: FETCH_FAILED, or TOO_LARGE above `max_bytes`.
        ConfigError: As `fetch_range`.
    """
    if size is not None and size > max_bytes:
        raise ObjectError(Reason.TOO_LARGE, f"more than {max_bytes:,} bytes")
    body = fetch_range(uri, 0, max_bytes + 1, etag=etag, size=size)
    if len(body) > max_bytes:
        raise ObjectError(Reason.TOO_LARGE, f"more than {max_bytes:,} bytes")
    return body


def fetch_range(uri: str, start: int, length: int, *, etag: str | None = None, size: int | None = None) -> bytes:
    """Bytes `start` to `start + length`, fewer where the object ends before.

    Args:
        uri: Of the object; of a member of a zip file (`archive.zip::path`); or of a gzip file (`.gz`), whose
            unpacked bytes count.
        start: First byte.
        length: Number of bytes.
        etag: What the listing said; None or empty for any version. (A member's checksum is held against its bytes.)
        size: Bytes of the whole object, where known: what a read is expected to bring (see `pace`).

    Raises:
        ObjectError: FETCH_FAILED: it is not there, has changed since it was listed, or the store, which answers
            otherwise, failed with it at every attempt.
        ConfigError: The store refuses the credentials, or is gone (see `radray.outages`).
    """
    try:
        return outages.ask_store(uri, lambda: _read(uri, start, length, etag or None, size), final=_FINAL)
    except ConfigError:
        raise
    except ChangedError as error:
        raise ObjectError(Reason.FETCH_FAILED, "changed since it was listed") from error
    except BrokenAnswerError as error:
        raise ObjectError(Reason.FETCH_FAILED, str(error)) from error
    except Exception as error:
        raise ObjectError(Reason.FETCH_FAILED, type(error).__name__) from error


def _read(uri: str, start: int, length: int, etag: str | None, size: int | None) -> bytes:
    if member := split_member(uri):
        expected = _expected(start, length, size)
        requests = 1 + expected // BLOCK
        return read_in_turn(lambda: read_member(*member, start, length), requests=requests, expected=expected)
    if uri[-3:].lower() == ".gz":
        return _read_gzip(uri, start, length, etag)
    return _read_plain(uri, start, length, etag, size)


def _expected(start: int, length: int, size: int | None) -> int:
    """Bytes that a read will probably bring."""
    if size is not None:
        return min(length, max(0, size - start))
    return length if length <= _SURE else 0


def _read_plain(uri: str, start: int, length: int, etag: str | None, size: int | None = None) -> bytes:
    return read_in_turn(lambda: _read_now(uri, start, length, etag), expected=_expected(start, length, size))


def _read_now(uri: str, start: int, length: int, etag: str | None) -> bytes:
    if "://" not in uri:
        with open(uri, "rb") as stream:
            stream.seek(start)
            body = stream.read(length)
            facts = os.fstat(stream.fileno())
        if etag and _FILE_ETAG.fullmatch(etag) and etag != f"{facts.st_mtime_ns:x}-{facts.st_size:x}":
            raise ChangedError
        return body
    try:
        if uri.startswith(("s3://", "s3a://")):
            return read_s3_range(uri, start, length, etag)
        place = storage.locate(uri)
        return bytes(place.fs.cat_file(place.path, start=start, end=start + length))
    except Exception as error:
        if _is_beyond_end(error):
            return b""
        raise


def _read_gzip(uri: str, start: int, length: int, etag: str | None) -> bytes:
    """Unpack no further than asked; a file that only bears the name is read as it is."""
    stream, found, place, ask = zlib.decompressobj(16 + zlib.MAX_WBITS), bytearray(), 0, _GZIP_PART
    while len(found) < start + length and not stream.eof:
        part = _read_plain(uri, place, ask, etag)
        if place == 0 and part[:2] != b"\x1f\x8b":
            return _read_plain(uri, start, length, etag)
        if not part:
            break
        place, ask = place + len(part), 4 * ask
        found += stream.decompress(part, start + length - len(found))
    return bytes(found[start:])


def _is_beyond_end(error: Exception) -> bool:
    """A range of an empty object, or one that starts behind the end (HTTP 416)."""
    return any(word in str(error).lower() for word in ("invalidrange", "not satisfiable"))
