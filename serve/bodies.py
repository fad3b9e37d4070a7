"""Request bodies within limits: whole ones, and multipart ones part by part (RFC 2046 5.1, RFC 2387)."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from radray.errors import ObjectError, Reason
from serve.problems import ApiError, ApiReason

PLAIN_TYPES = ("", "application/dicom", "application/octet-stream", "application/x-www-form-urlencoded")
"""Media types of a DICOM object; the last two are what programs send that say nothing (curl)."""
PICTURE_TYPES = ("image/png", "image/jpeg")
_LONGEST_BOUNDARY = 200
"""Bytes; RFC 2046 allows 70, Orthanc takes more."""


@dataclass(frozen=True, kw_only=True)
class BodyLimits:
    """What is read of a request."""

    part_bytes: int
    """Of a body or of one part."""
    request_bytes: int
    """Of all parts together."""
    parts: int
    """Number of parts."""
    chunk_s: float
    """Longest wait for the next bytes, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a multipart body, or a body that is one object."""

    media_type: str
    """Lower case, without parameters; empty where it is not stated."""
    body: bytes


def media_type(request: Request) -> tuple[str, dict[str, str]]:
    """Content-Type: the type in lower case, and its parameters."""
    return _parse_type(request.headers.get("content-type", ""))


def _parse_type(value: str) -> tuple[str, dict[str, str]]:
    kind, options = parse_options_header(value)
    named = {name.decode("latin-1").lower(): text.decode("latin-1") for name, text in options.items()}
    return kind.decode("latin-1").strip().lower(), named


async def read_object(request: Request, limits: BodyLimits) -> Part:
    """The one object of a request: its body, or the one part of a multipart body.

    Raises:
        ApiError: UNSUPPORTED_MEDIA_TYPE, BAD_MULTIPART, TOO_MANY_PARTS or BODY_TIMEOUT.
        ObjectError: TOO_LARGE.
    """
    kind, _ = media_type(request)
    if kind in ("multipart/form-data", "multipart/related"):
        found = [part async for part in read_parts(request, _only_one(limits))]
        if not found:
            raise ApiError(ApiReason.BAD_MULTIPART, "the multipart body has no part")
        check_object_type(found[0].media_type)
        return found[0]
    check_object_type(kind)
    return Part(media_type=kind, body=await read_body(request, limits.part_bytes, limits.chunk_s))


def _only_one(limits: BodyLimits) -> BodyLimits:
    return BodyLimits(
        part_bytes=limits.part_bytes, request_bytes=limits.part_bytes + 65_536, parts=1, chunk_s=limits.chunk_s
    )


def check_object_type(kind: str) -> None:
    """Refuse what is neither DICOM nor a picture by its media type.

    Raises:
        ApiError: UNSUPPORTED_MEDIA_TYPE.
    """
    if kind not in (*PLAIN_TYPES, *PICTURE_TYPES):
        raise ApiError(
            ApiReason.UNSUPPORTED_MEDIA_TYPE,
            "send application/dicom, image/png, image/jpeg, or one of them as multipart",
        )


async def read_body(request: Request, most: int, chunk_s: float) -> bytes:
    """The whole body.

    Raises:
        ObjectError: TOO_LARGE; where the length is stated, before anything is read.
        ApiError: BODY_TIMEOUT.
    """
    _check_stated_length(request, most)
    chunks, total = [], 0
    async for chunk in _chunks(request, chunk_s):
        chunks.append(chunk)
        total += len(chunk)
        if total > most:
            raise ObjectError(Reason.TOO_LARGE, f"the body has more than {most} bytes")
    return b"".join(chunks)


async def read_parts(request: Request, limits: BodyLimits) -> AsyncIterator[Part]:
    """The parts of a multipart body, each as soon as it is complete.

    Raises:
        ApiError: BAD_MULTIPART, TOO_MANY_PARTS or BODY_TIMEOUT.
        ObjectError: TOO_LARGE.
    """
    _, options = media_type(request)
    boundary = options.get("boundary", "")
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY or not boundary.isascii():
        raise ApiError(ApiReason.BAD_MULTIPART, "Content-Type names no boundary of 1 to 200 characters")
    _check_stated_length(request, limits.request_bytes)
    collector, total = _Collector(limits), 0
    parser = MultipartParser(boundary.encode(), collector.callbacks())
    try:
        async for chunk in _chunks(request, limits.chunk_s):
            total += len(chunk)
            if total > limits.request_bytes:
                raise ObjectError(Reason.TOO_LARGE, f"the body has more than {limits.request_bytes} bytes")
            parser.write(chunk)
            while collector.complete:
                yield collector.complete.popleft()
        parser.finalize()
    except FormParserError as error:
        raise ApiError(ApiReason.BAD_MULTIPART, "the multipart body cannot be read") from error
    if not collector.ended:
        raise ApiError(ApiReason.BAD_MULTIPART, "the multipart body ends before its last boundary")


class _Collector:
    """Gathers what the parser finds."""

    def __init__(self, limits: BodyLimits) -> None:
        self.complete: deque[Part] = deque()
        self.ended = False
        self._limits, self._count = limits, 0
        self._name, self._value, self._type, self._body = b"", b"", "", bytearray()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_name,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_part_data": self._add_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._count += 1
        if self._count > self._limits.parts:
            raise ApiError(ApiReason.TOO_MANY_PARTS, f"more than {self._limits.parts} parts in one request")
        self._type, self._body = "", bytearray()

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._name.lower() == b"content-type":
            self._type, _ = _parse_type(self._value.decode("latin-1"))
        self._name = self._value = b""

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._body += memoryview(data)[start:end]
        if len(self._body) > self._limits.part_bytes:
            raise ObjectError(Reason.TOO_LARGE, f"a part has more than {self._limits.part_bytes} bytes")

    def _end_part(self) -> None:
        self.complete.append(Part(media_type=self._type, body=bytes(self._body)))
        self._body = bytearray()

    def _end(self) -> None:
        self.ended = True


def _check_stated_length(request: Request, most: int) -> None:
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated[:20]) > most:
        raise ObjectError(Reason.TOO_LARGE, f"the body has more than {most} bytes")


async def _chunks(request: Request, chunk_s: float) -> AsyncIterator[bytes]:
    stream = request.stream()
    try:
        while True:
            async with asyncio.timeout(chunk_s):  # `wait_for` would start a task for each of many small chunks
                chunk = await anext(stream)
            yield chunk
    except StopAsyncIteration:
        return
    except TimeoutError as error:
        raise ApiError(ApiReason.BODY_TIMEOUT, f"no byte of the body for {chunk_s:g} s") from error
    except ClientDisconnect as error:
        raise ApiError(ApiReason.BAD_REQUEST, "the client hung up") from error
