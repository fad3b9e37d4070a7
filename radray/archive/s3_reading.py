"""A range of one S3 object, held against what was asked for: its length, and the version that was listed."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from fsspec.asyn import sync

from radray import storage

SILENCE_S = 10.0
"""Longest wait for a connection or for the next bytes, in seconds."""
LEAST_BYTES_PER_S = 100_000
"""A body that comes more slowly is asked for again."""
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class ChangedError(Exception):
    """The object is another one than was listed."""


class BrokenAnswerError(OSError):
    """Not the bytes that were asked for."""


def read_s3_range(uri: str, start: int, length: int, etag: str | None) -> bytes:
    """Bytes `start` to `start + length`, fewer where the object ends before; one attempt.

    Args:
        uri: s3://bucket/key.
        start: First byte.
        length: Number of bytes, at least 1.
        etag: Version that is wanted (If-Match, RFC 9110 13.1.1); None for any.

    Raises:
        ChangedError: Another version is there.
        BrokenAnswerError: The body ends before it should, or is of another version all the same.
        Exception: Whatever s3fs raises for what the store says.
    """
    place = storage.locate(uri, timeout_s=SILENCE_S)
    bucket, _, key = place.path.partition("/")
    request: dict[str, Any] = {"Bucket": bucket, "Key": key, "Range": f"bytes={start}-{start + length - 1}"}
    if etag:
        request["IfMatch"] = f'"{etag}"'
    try:
        return bytes(sync(place.fs.loop, _read, place.fs, request, start, length, etag))
    except Exception as error:
        response = getattr(error.__cause__, "response", None) or {}
        if response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 412:
            raise ChangedError("changed since it was listed") from error
        raise


async def _read(fs: Any, request: dict[str, Any], start: int, length: int, etag: str | None) -> bytes:
    answer = await fs._call_s3("get_object", **request)
    try:
        if etag and (found := str(answer.get("ETag") or "").strip('"')) and found != etag:
            raise BrokenAnswerError("another version than was listed")
        promised = int(answer["ContentLength"])
        body = bytes(await asyncio.wait_for(answer["Body"].read(), SILENCE_S + promised / LEAST_BYTES_PER_S))
    finally:
        answer["Body"].close()
    span = _RANGE.fullmatch(answer.get("ContentRange") or "")
    if span is None and start:
        raise BrokenAnswerError("the store does not answer by ranges")
    wanted = promised if span is None else min(length, int(span[2]) - start)
    if len(body) != wanted or (span is not None and int(span[1]) != start):
        raise BrokenAnswerError(f"{len(body)} of {wanted} bytes")
    return body[:length]
