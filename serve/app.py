"""The bundle behind HTTP: one DICOM object in, its region out.

RADRAY_BUNDLE=out/probe/bundle serve run serve.app:app
curl --data-binary @image.dcm -H 'Content-Type: application/dicom' http://127.0.0.1:8000/v1/region

The ingress replica reads the body, decodes it (native codecs in a child process) and cleans it; only the small grey
image goes on to the ensemble replica, which computes images of several requests together.
Nothing of a header but the region it names enters an answer, and nothing of it enters a log.
"""

import asyncio
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from ray import serve
from ray.serve.handle import DeploymentHandle

from radray import storage
from radray.cleaning.config import CleaningConfig
from radray.dicom.header import HeaderReader, read_facts
from radray.dicom.identity import Pseudonyms
from radray.ensemble import Bundle
from radray.ensemble.pose import SUSPECT, is_inverted
from radray.errors import ObjectError, Reason, Status
from radray.images.prepare import prepare_image
from radray.regions import RegionSet
from radray.version import __version__
from serve.answers import EnsembleAnswer, Health, Problem, RegionAnswer, ensemble_answers
from serve.review import Review
from serve.settings import Settings

DECODES_AT_ONCE = 2
"""Bodies that an ingress replica decodes and cleans at the same time."""

LARGEST_VERDICT = 16_384
"""Bytes of a request body to the review page."""

STATUS_CODES = {
    Reason.NOT_DICOM: 415,
    Reason.UNSUPPORTED_TRANSFER_SYNTAX: 415,
    Reason.TOO_LARGE: 413,
}
"""HTTP status of a refused object; 422 for the reasons that are not listed."""

PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "content": {"application/problem+json": {}}, "description": text}
    for code, text in (
        (413, "The body is larger than this service takes."),
        (415, "The body is no DICOM object, or its transfer syntax is not supported."),
        (422, "The object is no radiograph, or it cannot be decoded; `reason` says which."),
    )
}

api = FastAPI(
    title="radray",
    version=__version__,
    description="The anatomical region of a radiograph. **Not a medical device.**",
)


@api.exception_handler(ObjectError)
async def refuse_object(request: Request, error: ObjectError) -> JSONResponse:
    """A bad body is an answer with its reason (RFC 9457)."""
    code = STATUS_CODES.get(error.reason, 422)
    title = error.reason.value.replace("_", " ")
    problem = Problem(title=title, status=code, reason=error.reason.value, detail=error.message or title)
    return JSONResponse(problem.model_dump(), status_code=code, media_type="application/problem+json")


def _raise_unless_ok(row: dict[str, Any]) -> None:
    if row["status"] != Status.OK:
        raise ObjectError(Reason(row["reason"]), row["message"] or "")


@serve.deployment
class Ensemble:
    """Holds the bundle and computes batches."""

    def __init__(self, settings: Settings) -> None:
        self.bundle = Bundle.load(settings.bundle)
        side = self.bundle.side_px
        self.bundle.predict(np.zeros((1, side, side), np.uint8))  # the first prediction of a process is slow
        batching: Any = self.predict
        batching.set_max_batch_size(settings.batch_images)
        batching.set_batch_wait_timeout_s(settings.batch_wait_s)

    def model(self) -> tuple[RegionSet, CleaningConfig, str]:
        """What the ingress needs to know: classes, cleaning, digest."""
        return self.bundle.regions, self.bundle.cleaning, self.bundle.digest

    @serve.batch
    async def predict(self, images: list[bytes]) -> list[EnsembleAnswer]:
        """Answers to cleaned images, side × side grey values each."""
        side = self.bundle.side_px
        pixels = np.frombuffer(b"".join(images), np.uint8).reshape(-1, side, side)
        predictions = await asyncio.to_thread(self.bundle.predict, pixels)
        return ensemble_answers(predictions, self.bundle)


# Ray stores this class as it is at this line: what it calls must be defined above.
@serve.deployment
@serve.ingress(api)
class Ingress:
    """Reads, decodes and cleans what comes in."""

    async def __init__(  # type: ignore[misc]
        self, settings: Settings, ensemble: DeploymentHandle[Any], review: DeploymentHandle[Any] | None = None
    ) -> None:
        self.settings = settings
        self.ensemble = ensemble
        self.review = review
        self.regions, self.cleaning, self.digest = await ensemble.model.remote()
        self.reader = HeaderReader(regions=self.regions, pseudonyms=Pseudonyms(secret=None))
        self.decoding = asyncio.Semaphore(DECODES_AT_ONCE)

    @api.post(
        "/v1/region",
        responses=PROBLEMS,
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/dicom": {"schema": {"type": "string", "format": "binary"}}},
            }
        },
    )
    async def region(self, request: Request) -> RegionAnswer:
        """The region of one radiograph; the body is the DICOM object (PS3.10)."""
        body = await self._read_body(request)
        async with self.decoding:
            label, image = await asyncio.to_thread(self._prepare, body)
        answer: EnsembleAnswer = await self.ensemble.predict.remote(image)
        second = await self._second_look(body, answer) if answer.inverted_probability >= SUSPECT else None
        answer = second or answer
        agrees = None if label is None else label == answer.region
        return RegionAnswer(**answer.model_dump(), header_label=label, agrees=agrees, inverted=second is not None)

    @api.get("/v1/regions")
    async def list_regions(self) -> list[dict[str, Any]]:
        """The regions that the bundle tells apart, in the order of its classes."""
        return [
            {"region": region.name, "title": region.title, "code": region.snomed_code, "paired": region.paired}
            for region in self.regions.regions
        ]

    @api.get("/healthz")
    async def health(self) -> Health:
        """Whether the service answers; it does so only once the bundle is loaded and warm."""
        return Health(status="ok", bundle=self.digest)

    @api.get("/review", include_in_schema=False)
    async def show_review(self) -> Response:
        """The page's URLs are relative to the folder."""
        return RedirectResponse("review/")

    @api.api_route("/review/{path:path}", methods=["GET", "POST"], include_in_schema=False)
    async def pass_on(self, request: Request, path: str) -> Response:
        """The review page, where findings are named (RADRAY_FINDINGS)."""
        if self.review is None:
            raise HTTPException(404, "nothing is reviewed here; set RADRAY_FINDINGS")
        body = await self._read_body(request, LARGEST_VERDICT)
        status, headers, answer = await self.review.ask.remote(request.method, path, dict(request.headers), body)
        return Response(answer, status, headers)

    async def _read_body(self, request: Request, most: int | None = None) -> bytes:
        most = most or self.settings.max_body_mib << 20
        stated = request.headers.get("content-length", "")
        if stated.isdigit() and int(stated) > most:
            raise ObjectError(Reason.TOO_LARGE, f"the body has {stated} bytes; at most {most} are read")
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > most:
                raise ObjectError(Reason.TOO_LARGE, f"the body has more than {most} bytes")
        return bytes(body)

    async def _second_look(self, body: bytes, first: EnsembleAnswer) -> EnsembleAnswer | None:
        """The answer to the same image with inverted grey values, where that is the right one."""
        async with self.decoding:
            prepared = await asyncio.to_thread(prepare_image, body, self.cleaning, inverted=True)
        if prepared["status"] != Status.OK:
            return None
        second: EnsembleAnswer = await self.ensemble.predict.remote(prepared["image"])
        if not is_inverted(first.inverted_probability, second.inverted_probability):
            return None
        return second.model_copy(update={"inverted_probability": first.inverted_probability})

    def _prepare(self, body: bytes) -> tuple[str | None, bytes]:
        """Header label and cleaned image of one object.

        Raises:
            ObjectError: It cannot be used.
        """
        facts = read_facts(body, self.reader, complete=True)
        _raise_unless_ok(facts)
        prepared = prepare_image(body, self.cleaning)
        _raise_unless_ok(prepared)
        return facts["label"], prepared["image"]


def app(settings: Settings) -> serve.Application:
    """Build the application; `serve run` and `serve deploy` call this.

    Raises:
        ConfigError: No bundle is named, or it cannot be read.
    """
    settings.check()
    environment = {"env_vars": storage.environment()}
    scale: dict[str, Any] = {"min_replicas": 1, "max_replicas": settings.max_replicas, "target_ongoing_requests": 4}
    ensemble = Ensemble.options(  # type: ignore[attr-defined]
        ray_actor_options={
            "num_cpus": settings.ensemble_cpus,
            "num_gpus": settings.ensemble_gpus,
            "runtime_env": environment,
        },
        max_ongoing_requests=4 * settings.batch_images,
        autoscaling_config={**scale, "target_ongoing_requests": 2 * settings.batch_images},
    ).bind(settings)
    review = None
    if settings.findings:
        review = Review.options(  # type: ignore[attr-defined]
            num_replicas=1, ray_actor_options={"num_cpus": 0.1, "runtime_env": environment}, max_ongoing_requests=64
        ).bind(settings)
    ingress = Ingress.options(  # type: ignore[attr-defined]
        ray_actor_options={"num_cpus": settings.ingress_cpus, "runtime_env": environment},
        max_ongoing_requests=8,
        max_queued_requests=64,
        autoscaling_config=scale,
    ).bind(settings, ensemble, review)
    application: serve.Application = ingress
    return application
