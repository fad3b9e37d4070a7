"""Bytes of one object, whole or a range, with a few attempts."""

from __future__ import annotations

import time

from radray import storage
from radray.errors import ObjectError, Reason

MAX_OBJECT_BYTES = 1 << 30
"""Largest object that is fetched (1 GiB)."""
_PAUSES_S = (0.2, 1.0, 3.0)
"""Waits between the attempts, in seconds."""
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Errors that another attempt does not mend."""


def fetch(uri: str, *, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
    """The whole object.

    Raises:
        ObjectError: FETCH_FAILED, or TOO_LARGE above `max_bytes`.
    """
    body = fetch_range(uri, 0, max_bytes + 1)
    if len(body) > max_bytes:
        raise ObjectError(Reason.TOO_LARGE, f"more than {max_bytes:,} bytes")
    return body


def fetch_range(uri: str, start: int, length: int) -> bytes:
    """Bytes `start` to `start + length`, fewer where the object ends before.

    Raises:
        ObjectError: FETCH_FAILED after the last attempt.
    """
    for pause_s in (*_PAUSES_S, None):
        try:
            return _read(uri, start, length)
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


def _read(uri: str, start: int, length: int) -> bytes:
    if "://" not in uri:
        with open(uri, "rb") as stream:
            stream.seek(start)
            return stream.read(length)
    place = storage.locate(uri)
    return bytes(place.fs.cat_file(place.path, start=start, end=start + length))


def _is_beyond_end(error: Exception) -> bool:
    """A range of an empty object, or one that starts behind the end (HTTP 416)."""
    return any(word in str(error).lower() for word in ("invalidrange", "not satisfiable"))
