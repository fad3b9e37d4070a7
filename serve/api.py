"""The HTTP API, version 1. Knows neither Ray nor how an image is computed: `Desk` says what stands behind it."""

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.security import HTTPBearer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from radray.errors import ObjectError
from radray.version import __version__
from serve.access import Admission, check_origin, identify_caller
from serve.answers import Health, ModelCard, RegionAnswer, RegionClass, Relabel, RelabelRequest
from serve.bodies import PICTURE_TYPES, BodyLimits, media_type, read_body, read_object
from serve.dicom_json import MEDIA_TYPE as DICOM_JSON
from serve.keys import Caller, KeyRing, Role
from serve.page import page_file
from serve.problems import ApiError, ApiReason, Problem, declare, install_problems
from serve.relabels import Relabels
from serve.service import RegionService
from serve.stow import store_parts

LARGEST_VERDICT = 16_384
"""Bytes of a request body to the review page."""
LARGEST_JSON = 16_384
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
BEARER = HTTPBearer(auto_error=False, description="A key of serve/keys.py; the OpenAPI's part of `identify_caller`.")
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "string", "format": "binary", "description": "A DICOM object, PNG or JPEG."}},
    }
}
_ONE_OBJECT = {
    "required": True,
    "content": {"application/dicom": _BINARY, **dict.fromkeys(PICTURE_TYPES, _BINARY), "multipart/form-data": _FORM},
}
_ONE_SR = {"content": {"application/dicom": _BINARY}, "description": "With `Accept: application/dicom` a TID 1500 SR."}
_STORED = {"content": {DICOM_JSON: {"schema": {"type": "object"}}}}


class ReviewAnswer(NamedTuple):
    """What the review page answers."""

    status: int
    headers: dict[str, str]
    body: bytes


class Desk(NamedTuple):
    """What stands behind the API in one replica."""

    service: RegionService
    keys: KeyRing
    admission: Admission
    body_limits: BodyLimits
    relabels: Relabels | None
    """None where no URL is allowed."""
    ask_review: Callable[..., Any] | None
    """(method, path, headers, body) → `ReviewAnswer`; None where nothing is reviewed."""


def build_api(desk: Callable[[], Desk]) -> FastAPI:
    """The application; `desk` is asked at each request, so that it may be built before the replica is ready."""
    api = FastAPI(
        title="radray",
        version=__version__,
        description="The anatomical region of a radiograph. **Not a medical device.**",
        dependencies=[Depends(check_origin)],
    )
    install_problems(api)
    api.add_middleware(Watch, desk=desk)
    _declare_openapi(api)
    _add_open_routes(api, desk)
    _add_region_routes(api, desk)
    _add_relabel_routes(api, desk)
    _add_pages(api, desk)
    return api


def _caller(desk: Callable[[], Desk], role: Role) -> Callable[[Request], Awaitable[Caller]]:
    async def known(request: Request, _: Annotated[Any, Depends(BEARER)] = None) -> Caller:
        return identify_caller(request, desk().keys, role)

    return known


def _add_open_routes(api: FastAPI, desk: Callable[[], Desk]) -> None:
    @api.get("/healthz", responses=declare(400))
    async def health() -> Health:
        """Whether the service answers."""
        return Health(status="ok", bundle=desk().service.model.digest)

    @api.get("/readyz", responses=declare(400, 503))
    async def ready() -> Health:
        """Whether the ensemble behind it answers, warm."""
        service = desk().service
        if not await service.refresh():
            raise ApiError(ApiReason.BUSY, "the ensemble does not answer")
        return Health(status="ready", bundle=service.model.digest)


def _add_region_routes(api: FastAPI, desk: Callable[[], Desk]) -> None:
    predict = _caller(desk, Role.PREDICT)

    @api.post(
        "/v1/region",
        response_model=RegionAnswer,
        responses={200: _ONE_SR, **declare(400, 401, 403, 406, 408, 413, 415, 422, 429, 503)},
        openapi_extra={"requestBody": _ONE_OBJECT},
    )
    async def region(
        request: Request, caller: Annotated[Caller, Depends(predict)], pictures: bool = False
    ) -> RegionAnswer | Response:
        """The region of one radiograph: a DICOM object (PS3.10), a PNG or JPEG picture, or one of them as multipart.

        With `Accept: application/dicom` the answer is a structured report (TID 1500) about the DICOM object.
        """
        report = _prefers(request, "application/dicom", "application/json")
        with desk().admission.admit(caller):
            part = await read_object(request, desk().body_limits)
            if report and part.media_type in PICTURE_TYPES:
                raise ApiError(ApiReason.NOT_ACCEPTABLE, "a report refers to a DICOM object; this is a picture")
            answer = await _counted(desk, desk().service.answer(part, pictures=pictures))
            if report:
                return Response(await desk().service.report(part.body, answer), media_type="application/dicom")
            return answer

    @api.post(
        "/v1/studies",
        responses={
            200: {**_STORED, "description": "All objects were used."},
            202: {**_STORED, "description": "Some objects were used."},
            409: {**_STORED, "description": "No object was used."},
            **declare(400, 401, 403, 406, 408, 413, 415, 422, 429, 503),
        },
        response_class=Response,
        openapi_extra={
            "requestBody": {"required": True, "content": {"multipart/related": {"schema": {"type": "string"}}}}
        },
    )
    async def studies(request: Request, caller: Annotated[Caller, Depends(predict)]) -> Response:
        """DICOMweb STOW-RS (PS3.18 10.5): regions of many objects. Nothing is stored."""
        if not _prefers(request, DICOM_JSON, "") and "accept" in request.headers:
            raise ApiError(ApiReason.NOT_ACCEPTABLE, f"the answer is {DICOM_JSON}")
        kind, _ = media_type(request)
        if kind != "multipart/related":
            raise ApiError(ApiReason.UNSUPPORTED_MEDIA_TYPE, 'send multipart/related; type="application/dicom"')
        with desk().admission.admit(caller):
            status, document = await store_parts(request, desk().body_limits, desk().service)
        return JSONResponse(document, status, media_type=DICOM_JSON)

    @api.get("/v1/regions", responses=declare(400, 401, 403), dependencies=[Depends(predict)])
    async def list_regions() -> list[RegionClass]:
        """The regions that the bundle tells apart, in the order of its classes."""
        service = desk().service
        await service.refresh()
        return [
            RegionClass(region=each.name, title=each.title, code=each.snomed_code, paired=each.paired)
            for each in service.model.regions.regions
        ]

    @api.get("/v1/model", responses=declare(400, 401, 403), dependencies=[Depends(predict)])
    async def show_model() -> ModelCard:
        """The bundle that answers, with its card."""
        service = desk().service
        await service.refresh()
        model = service.model
        document, names = model.document, model.regions.names
        return ModelCard(
            bundle=model.digest,
            radray=__version__,
            regions=list(names),
            members=[
                {name: each[name] for name in ("method", "backbone", "share") if name in each}
                for each in document["members"]
            ],
            side_px=document["side_px"],
            ood_threshold=document["ood_threshold"],
            confidence_thresholds=dict(zip(names, document["confidence_thresholds"], strict=True)),
            facts=document["facts"],
            card=document["card"],
        )


def _add_relabel_routes(api: FastAPI, desk: Callable[[], Desk]) -> None:
    relabel = _caller(desk, Role.RELABEL)
    refused = declare(400, 401, 403, 404, 422, 503)

    def jobs() -> Relabels:
        found = desk().relabels
        if found is None:
            raise ApiError(ApiReason.FORBIDDEN, "no archive is allowed here; set RADRAY_ALLOWED_URLS")
        return found

    @api.post(
        "/v1/relabels",
        status_code=202,
        response_model=Relabel,
        responses={**refused, **declare(408, 413, 415)},
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/RelabelRequest"}}},
            }
        },
    )
    async def start_relabel(request: Request, caller: Annotated[Caller, Depends(relabel)]) -> JSONResponse:
        """Start jobs/score.py over an archive; the same request after a stop goes on from what is there."""
        if media_type(request)[0] != "application/json":
            raise ApiError(ApiReason.UNSUPPORTED_MEDIA_TYPE, "send application/json")
        known = jobs()
        body = await read_body(request, LARGEST_JSON, desk().body_limits.chunk_s)
        try:
            asked = RelabelRequest.model_validate_json(body)
        except ValueError as error:
            raise ApiError(ApiReason.INVALID, _first_complaint(error)) from error
        found = await run_in_threadpool(known.start, asked, caller.name)
        return JSONResponse(found.model_dump(), 202, {"Location": f"/v1/relabels/{found.id}"})

    @api.get("/v1/relabels", responses=refused, dependencies=[Depends(relabel)])
    async def list_relabels() -> list[Relabel]:
        """All relabelling jobs of this cluster, the newest first."""
        return await run_in_threadpool(jobs().list)

    @api.get("/v1/relabels/{name}", responses=refused, dependencies=[Depends(relabel)])
    async def show_relabel(name: str) -> Relabel:
        """One job: status, progress, and its summary once it has ended."""
        return await run_in_threadpool(jobs().show, name)

    @api.delete("/v1/relabels/{name}", responses={**refused, **declare(409)}, dependencies=[Depends(relabel)])
    async def stop_relabel(name: str) -> Relabel:
        """Stop a job; what it has written stays."""
        return await run_in_threadpool(jobs().stop, name)


def _add_pages(api: FastAPI, desk: Callable[[], Desk]) -> None:
    review = _caller(desk, Role.REVIEW)

    @api.get("/", include_in_schema=False)
    async def show_page() -> Response:
        return page_file("index.html")

    @api.get("/page/{name}", include_in_schema=False)
    async def show_part(name: str) -> Response:
        return page_file(name)

    @api.get("/review", include_in_schema=False)
    async def show_review() -> Response:
        """The page's URLs are relative to the folder."""
        return RedirectResponse("review/")

    @api.api_route("/review/{path:path}", methods=["GET", "POST"], include_in_schema=False)
    async def pass_on(request: Request, path: str) -> Response:
        """The review page, where findings are named (RADRAY_FINDINGS); its data need a reviewer's token."""
        ask = desk().ask_review
        if ask is None:
            raise ApiError(ApiReason.NOT_FOUND, "nothing is reviewed here; set RADRAY_FINDINGS")
        if "authorization" in request.headers:
            await review(request)
        body = await read_body(request, LARGEST_VERDICT, desk().body_limits.chunk_s)
        status, headers, answer = await ask(request.method, path, dict(request.headers), body)
        return Response(answer, status, headers)


async def _counted(desk: Callable[[], Desk], answering: Any) -> RegionAnswer:
    try:
        found: RegionAnswer = await answering
    except ObjectError as error:
        desk().service.metrics.count_refused(error.reason.value)
        raise
    return found


def _prefers(request: Request, first: str, second: str) -> bool:
    """Whether `first` stands in Accept and `second` does not stand before it; any type counts as `second`."""
    accepted = [each.split(";")[0].strip().lower() for each in request.headers.get("accept", "*/*").split(",")]
    for each in accepted:
        if each == first:
            return True
        if second and each in (second, "*/*", "application/*"):
            return False
        if not second and each in ("*/*", "application/*", "application/json"):
            return True
    return False


def _first_complaint(error: ValueError) -> str:
    errors: list[Any] = getattr(error, "errors", list)()
    if not errors:
        return "the JSON cannot be read"
    place = ".".join(str(each) for each in errors[0]["loc"])
    return f"{place}: {errors[0]['msg']}"[:500] if place else str(errors[0]["msg"])[:500]


def _declare_openapi(api: FastAPI) -> None:
    """Add the schemas that routes name without a model of their own."""

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            document = get_openapi(title=api.title, version=api.version, description=api.description, routes=api.routes)
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for model in (Problem, RelabelRequest):
                schemas[model.__name__] = model.model_json_schema(ref_template="#/components/schemas/{model}")
            api.openapi_schema = document
        return api.openapi_schema

    api.openapi = openapi  # type: ignore[method-assign]


class Watch:
    """Counts and times requests, and adds the headers that every answer has. No CORS header is ever sent."""

    def __init__(self, app: ASGIApp, desk: Callable[[], Desk]) -> None:
        self._app, self._desk = app, desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 500

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                known = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.lower().encode(), value.encode())
                        for name, value in SECURITY_HEADERS.items()
                        if name.lower().encode() not in known
                    ),
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_guarded)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self._desk().service.metrics.count_request(path, scope["method"], status, time.monotonic() - started)
