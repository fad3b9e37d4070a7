"""Every error of the API as application/problem+json (RFC 9457), with a reason from a closed list."""

import logging
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from radray.errors import ConfigError, ObjectError, RadrayError, Reason

MEDIA_TYPE = "application/problem+json"
REQUEST_ID = "x-request-id"


class ApiReason(StrEnum):
    """Why a request was refused, beside the reasons of objects (`radray.errors.Reason`)."""

    BAD_REQUEST = "bad_request"
    BAD_MULTIPART = "bad_multipart"
    UNAUTHORISED = "unauthorised"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    NOT_ACCEPTABLE = "not_acceptable"
    BODY_TIMEOUT = "body_timeout"
    FINISHED = "finished"
    TOO_MANY_PARTS = "too_many_parts"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    INVALID = "invalid"
    TOO_MANY_REQUESTS = "too_many_requests"
    BUSY = "busy"
    ENSEMBLE_TIMEOUT = "ensemble_timeout"
    NO_JOB_SERVER = "no_job_server"
    FAULT = "fault"


API_STATUS = {
    ApiReason.BAD_REQUEST: 400,
    ApiReason.BAD_MULTIPART: 400,
    ApiReason.UNAUTHORISED: 401,
    ApiReason.FORBIDDEN: 403,
    ApiReason.NOT_FOUND: 404,
    ApiReason.METHOD_NOT_ALLOWED: 405,
    ApiReason.NOT_ACCEPTABLE: 406,
    ApiReason.BODY_TIMEOUT: 408,
    ApiReason.FINISHED: 409,
    ApiReason.TOO_MANY_PARTS: 413,
    ApiReason.UNSUPPORTED_MEDIA_TYPE: 415,
    ApiReason.INVALID: 422,
    ApiReason.TOO_MANY_REQUESTS: 429,
    ApiReason.FAULT: 500,
    ApiReason.BUSY: 503,
    ApiReason.ENSEMBLE_TIMEOUT: 503,
    ApiReason.NO_JOB_SERVER: 503,
}
OBJECT_STATUS = {Reason.NOT_DICOM: 415, Reason.UNSUPPORTED_TRANSFER_SYNTAX: 415, Reason.TOO_LARGE: 413}
"""HTTP status of a refused object; 422 for the reasons that are not listed."""
RETRY_AFTER_S = 2
"""What clients are told to wait where the service is busy, in seconds."""

_TEXTS = {
    400: "The request cannot be read.",
    401: "No key, or one that is not known: `Authorization: Bearer KEY`.",
    403: "The key has not the role that this needs, or the request comes from where it is not taken.",
    404: "There is nothing under this name.",
    406: "The answer is not to be had in this media type.",
    408: "The body did not arrive in time.",
    409: "It has ended already.",
    413: "The body, a part of it, or its image is larger than this service takes.",
    415: "The body is no DICOM object or picture, or its transfer syntax is not supported.",
    422: "The object is no radiograph or cannot be decoded, or a value is not allowed; `reason` says which.",
    429: "This key has too many requests under way.",
    503: "The service is busy; ask again after `Retry-After` seconds.",
}


class Problem(BaseModel):
    """An error (RFC 9457, application/problem+json)."""

    type: str = "about:blank"
    title: str
    status: int
    reason: str
    """From the closed lists of `radray.errors.Reason` and `serve.problems.ApiReason`."""
    detail: str
    request_id: str | None = None
    """As in the answer's X-Request-ID."""


class ApiError(RadrayError):
    """A request that is refused.

    Args:
        reason: From the closed list.
        detail: For people; never anything of a header or body that could name a patient.
    """

    def __init__(self, reason: ApiReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def declare(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI says of a route's errors."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    found: dict[int | str, dict[str, Any]] = {
        status: {"content": {MEDIA_TYPE: schema}, "description": _TEXTS[status]} for status in statuses
    }
    for status in {429, 503}.intersection(statuses):
        waits = {"schema": {"type": "integer"}, "description": "Seconds to wait."}
        found[status]["headers"] = {"Retry-After": waits}
    return found


def answer_problem(
    request: Request, status: int, reason: str, detail: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The answer that says what is wrong."""
    problem = Problem(
        title=reason.replace("_", " "),
        status=status,
        reason=reason,
        detail=detail,
        request_id=request.headers.get(REQUEST_ID),
    )
    extra = dict(headers or {})
    if status in (429, 503):
        extra.setdefault("Retry-After", str(RETRY_AFTER_S))
    if status == 401:
        extra["WWW-Authenticate"] = 'Bearer realm="radray"'
    return JSONResponse(problem.model_dump(), status, extra, media_type=MEDIA_TYPE)


def install_problems(api: FastAPI) -> None:
    """Let every error of `api` be a problem."""

    @api.exception_handler(ApiError)
    async def refuse_request(request: Request, error: ApiError) -> JSONResponse:
        return answer_problem(request, API_STATUS[error.reason], error.reason.value, error.detail)

    @api.exception_handler(ObjectError)
    async def refuse_object(request: Request, error: ObjectError) -> JSONResponse:
        reason = error.reason.value
        return answer_problem(request, OBJECT_STATUS.get(error.reason, 422), reason, error.message or reason)

    @api.exception_handler(ConfigError)
    async def refuse_configuration(request: Request, error: ConfigError) -> JSONResponse:
        return answer_problem(request, 422, ApiReason.INVALID.value, str(error))

    @api.exception_handler(RequestValidationError)
    async def refuse_values(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(each) for each in first["loc"])
        return answer_problem(request, 422, ApiReason.INVALID.value, f"{place}: {first['msg']}"[:500])

    @api.exception_handler(HTTPException)
    async def refuse_route(request: Request, error: HTTPException) -> JSONResponse:
        reason = next((each for each, status in API_STATUS.items() if status == error.status_code), None)
        name = reason.value if reason else f"http_{error.status_code}"
        return answer_problem(request, error.status_code, name, str(error.detail), error.headers)

    @api.exception_handler(Exception)
    async def admit_fault(request: Request, error: Exception) -> JSONResponse:
        # The message of an error may quote a header; its kind and place do not.
        frames = []
        place = error.__traceback__
        while place is not None:
            frames.append(f"{place.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{place.tb_lineno}")
            place = place.tb_next
        logging.getLogger("ray.serve").error("fault %s at %s", type(error).__name__, " > ".join(frames[-6:]))
        return answer_problem(request, 500, ApiReason.FAULT.value, "a fault of the service; its log tells more")
