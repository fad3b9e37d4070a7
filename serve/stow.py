"""STOW-RS: every part of a request to an item of its answer, while the rest of the body still comes in."""

import asyncio
from collections import deque
from typing import Any

from starlette.requests import Request

from radray.errors import ObjectError, Reason
from serve.bodies import BodyLimits, Part, read_parts
from serve.dicom_json import Item, describe_answer, describe_failure, describe_request
from serve.problems import ApiError, ApiReason
from serve.service import RegionService, read_source

AT_ONCE = 4
"""Objects of one request that are in memory: those being answered while the next ones come in."""


async def store_parts(request: Request, limits: BodyLimits, service: RegionService) -> tuple[int, dict[str, Any]]:
    """HTTP status and DICOM JSON document for the objects of a multipart body.

    Raises:
        ApiError: The body cannot be read, holds something else than DICOM objects or nothing, or the ensemble is busy.
        ObjectError: TOO_LARGE.
    """
    used: list[Item] = []
    failed: list[Item] = []
    under_way: deque[asyncio.Task[tuple[bool, Item]]] = deque()

    async def settle() -> None:
        is_used, item = await under_way.popleft()
        (used if is_used else failed).append(item)

    try:
        async for part in read_parts(request, limits):
            if part.media_type not in ("", "application/dicom", "application/octet-stream"):
                raise ApiError(ApiReason.UNSUPPORTED_MEDIA_TYPE, "a part is not application/dicom")
            under_way.append(asyncio.create_task(_describe(part, service)))
            if len(under_way) >= AT_ONCE:
                await settle()
        while under_way:
            await settle()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
    if not used and not failed:
        raise ApiError(ApiReason.BAD_MULTIPART, "the multipart body has no part")
    return describe_request(used, failed)


async def _describe(part: Part, service: RegionService) -> tuple[bool, Item]:
    source = None
    try:
        source = await asyncio.to_thread(read_source, part.body)
        answer = await service.answer(part)
        return True, describe_answer(source, answer, service.region(answer))
    except ObjectError as error:
        service.metrics.count_refused(error.reason.value)
        return False, describe_failure(source, error.reason)
    except (ValueError, TypeError):  # a header that pydicom gives up on
        return False, describe_failure(source, Reason.CORRUPT_HEADER)
