"""Bytes of one object, whole or a range, with a few attempts. Members of zip files and gzip files read as others do."""

from __future__ import annotations

import time
import zipfile
import zlib

from radray import storage
from radray.archive.members import BLOCK, read_member, split_member
from radray.archive.pace import read_in_turn
from radray.errors import ObjectError, Reason

MAX_OBJECT_BYTES = 1 << 30
"""Largest object that is fetched (1 GiB)."""
_PAUSES_S = (0.2, 1.0, 3.0)
"""Waits between the attempts, in seconds."""
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, zipfile.BadZipFile, zlib.error)
"""Errors that another attempt does not mend."""
_GZIP_PART = 1 << 16
"""Bytes of a gzip file read first; then four times as many each time."""
_SURE = 1 << 20
"""A range up to this length is expected to be full."""


def fetch(uri: str, *, max_bytes: int = MAX_OBJECT_BYTES, size: int | None = None) -> bytes:
    """The whole object; `size` is what the listing says, for whoever keeps a pace.

    Raises:
        ObjectError: FETCH_FAILED, or TOO_LARGE above `max_bytes`.
    """
    body = fetch_range(uri, 0, max_bytes + 1, size=size)
    if len(body) > max_bytes:
        raise ObjectError(Reason.TOO_LARGE, f"more than {max_bytes:,} bytes")
    return body


def fetch_range(uri: str, start: int, length: int, *, size: int | None = None) -> bytes:
    """Bytes `start` to `start + length`, fewer where the object ends before.

    Args:
        uri: Of the object; of a member of a zip file (`archive.zip::path`); or of a gzip file (`.gz`), whose
            unpacked bytes count.
        start: First byte.
        length: Number of bytes.
        size: Bytes of the whole object, where known: what a read is expected to bring (see `pace`).

    Raises:
        ObjectError: FETCH_FAILED after the last attempt.
    """
    for pause_s in (*_PAUSES_S, None):
        try:
            return _read(uri, start, length, size)
        except _FINAL as error:
            raise ObjectError(Reason.FETCH_FAILED, type(error).__name__) from error
        except Exception as error:  # every store has errors of its own
            if _is_beyond_end(error):
                return b""
            if pause_s is None:
                raise ObjectError(
                    Reason.FETCH_FAILED, f"{type(error).__name__} after {len(_PAUSES_S) + 1} attempts"
                ) from error
            time.sleep(pause_s)
    raise AssertionError("the last attempt returns or raises")


def _read(uri: str, start: int, length: int, size: int | None) -> bytes:
    if member := split_member(uri):
        expected = _expected(start, length, size)
        requests = 1 + expected // BLOCK
        return read_in_turn(lambda: read_member(*member, start, length), requests=requests, expected=expected)
    if uri[-3:].lower() == ".gz":
        return _read_gzip(uri, start, length)
    return _read_plain(uri, start, length, size)


def _expected(start: int, length: int, size: int | None) -> int:
    """Bytes that a read will probably bring."""
    if size is not None:
        return min(length, max(0, size - start))
    return length if length <= _SURE else 0


def _read_plain(uri: str, start: int, length: int, size: int | None = None) -> bytes:
    return read_in_turn(lambda: _read_now(uri, start, length), expected=_expected(start, length, size))


def _read_now(uri: str, start: int, length: int) -> bytes:
    if "://" not in uri:
        with open(uri, "rb") as stream:
            stream.seek(start)
            return stream.read(length)
    place = storage.locate(uri)
    return bytes(place.fs.cat_file(place.path, start=start, end=start + length))


def _read_gzip(uri: str, start: int, length: int) -> bytes:
    """Unpack no further than asked; a file that only bears the name is read as it is."""
    stream, found, place, ask = zlib.decompressobj(16 + zlib.MAX_WBITS), bytearray(), 0, _GZIP_PART
    while len(found) < start + length and not stream.eof:
        try:
            part = _read_plain(uri, place, ask)
        except Exception as error:
            if not _is_beyond_end(error):
                raise
            part = b""
        if place == 0 and part[:2] != b"\x1f\x8b":
            return _read_plain(uri, start, length)
        if not part:
            break
        place, ask = place + len(part), 4 * ask
        found += stream.decompress(part, start + length - len(found))
    return bytes(found[start:])


def _is_beyond_end(error: Exception) -> bool:
    """A range of an empty object, or one that starts behind the end (HTTP 416)."""
    return any(word in str(error).lower() for word in ("invalidrange", "not satisfiable"))
