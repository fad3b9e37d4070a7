"""From a body to an answer: header, decoding in the child process, cleaning, the ensemble's word."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np

from radray.cleaning.config import CleaningConfig
from radray.dicom.correction import Source, source_of
from radray.dicom.header import HeaderReader, read_facts
from radray.dicom.identity import Pseudonyms
from radray.dicom.parsing import lenient, parse
from radray.dicom.pixels import PixelLimits
from radray.ensemble.pose import SUSPECT, is_inverted
from radray.errors import ObjectError, Reason, Status
from radray.images.prepare import prepare_image, prepare_picture
from radray.regions import Region, RegionSet
from radray.review.thumbnails import data_uri, encode_png
from serve.answers import EnsembleAnswer, RegionAnswer
from serve.bodies import Part
from serve.metrics import Metrics
from serve.problems import ApiError, ApiReason

DECODES_AT_ONCE = 2
"""Bodies that a replica decodes and cleans at the same time."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """What the ingress needs to know of the bundle."""

    regions: RegionSet
    cleaning: CleaningConfig
    digest: str
    document: dict[str, Any]
    """The bundle's own description (`bundle.json`), with the card as `card`."""


class Asked(Protocol):
    """The ensemble, as the ingress asks it."""

    async def predict(self, image: bytes) -> EnsembleAnswer:
        """The answer to a cleaned image, side × side grey values."""

    async def explain(self, image: bytes, region: str) -> bytes | None:
        """Where the reasons for a region lie, as a grey PNG; None where no member can say."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An object that can be used."""

    image: bytes
    header_label: str | None


class RegionService:
    """Answers for one replica.

    Args:
        model: Of the bundle that answers.
        ensemble: Computes.
        limits: Of the decoder.
        answer_s: Longest wait for the ensemble, in seconds.
        metrics: Where answers are counted.
    """

    def __init__(
        self, *, model: Model, ensemble: Asked, limits: PixelLimits, answer_s: float, metrics: Metrics
    ) -> None:
        self.model, self.metrics = model, metrics
        self._ensemble, self._limits, self._answer_s = ensemble, limits, answer_s
        self._reader = HeaderReader(regions=model.regions, pseudonyms=Pseudonyms(secret=None))
        self._decoding = asyncio.Semaphore(DECODES_AT_ONCE)

    async def answer(self, part: Part, *, pictures: bool = False) -> RegionAnswer:
        """The region of one radiograph.

        Args:
            part: A DICOM object (PS3.10), or a PNG or JPEG file where its media type says so.
            pictures: Whether the cleaned image and its heat map are wanted.

        Raises:
            ObjectError: It cannot be used.
            ApiError: The ensemble does not answer in time, or is busy.
        """
        async with self._decoding:
            prepared = await asyncio.to_thread(self._prepare, part)
        image, answer = prepared.image, await self._predict(prepared.image)
        inverted = False
        if answer.inverted_probability >= SUSPECT and (second := await self._second_look(part, answer)) is not None:
            image, answer = second
            inverted = True
        label = prepared.header_label
        shown: dict[str, Any] = await self._draw(image, answer.region) if pictures else {}
        self.metrics.count_answer(answer)
        agrees = None if label is None else label == answer.region
        return RegionAnswer(**answer.model_dump(), header_label=label, agrees=agrees, inverted=inverted, **shown)

    async def report(self, body: bytes, answer: RegionAnswer) -> bytes:
        """The structured report (TID 1500) of an answer.

        Raises:
            ObjectError: CORRUPT_HEADER where the object's header does not allow for one.
        """
        return await asyncio.to_thread(self._report, body, answer)

    def region(self, name: str) -> Region:
        """A region of the bundle by its name."""
        return self.model.regions.regions[self.model.regions.names.index(name)]

    def _prepare(self, part: Part, *, inverted: bool = False) -> Prepared:
        cleaning = self.model.cleaning
        if part.media_type.startswith("image/"):
            row = prepare_picture(part.body, cleaning, limits=self._limits, inverted=inverted)
            return Prepared(image=_usable(row)["image"], header_label=None)
        facts = _usable(read_facts(part.body, self._reader, complete=True))
        row = prepare_image(part.body, cleaning, limits=self._limits, inverted=inverted)
        return Prepared(image=_usable(row)["image"], header_label=facts["label"])

    async def _predict(self, image: bytes) -> EnsembleAnswer:
        started = time.monotonic()
        try:
            answer = await asyncio.wait_for(self._ensemble.predict(image), self._answer_s)
        except TimeoutError as error:
            raise ApiError(ApiReason.ENSEMBLE_TIMEOUT, f"no answer within {self._answer_s:g} s") from error
        self.metrics.time_ensemble(time.monotonic() - started)
        return answer

    async def _second_look(self, part: Part, first: EnsembleAnswer) -> tuple[bytes, EnsembleAnswer] | None:
        """Image and answer with inverted grey values, where that is the right way."""
        try:
            async with self._decoding:
                prepared = await asyncio.to_thread(self._prepare, part, inverted=True)
        except ObjectError:
            return None
        second = await self._predict(prepared.image)
        if not is_inverted(first.inverted_probability, second.inverted_probability):
            return None
        return prepared.image, second.model_copy(update={"inverted_probability": first.inverted_probability})

    async def _draw(self, image: bytes, region: str) -> dict[str, str | None]:
        side = self.model.cleaning.side_px
        heat = await asyncio.wait_for(self._ensemble.explain(image, region), self._answer_s)
        picture = encode_png(np.frombuffer(image, np.uint8).reshape(side, side))
        return {"picture": data_uri(picture), "heat_map": data_uri(heat) if heat else None}

    def _report(self, body: bytes, answer: RegionAnswer) -> bytes:
        from radray.dicom.documents import RegionFinding, report_region  # a second of imports

        region = self.region(answer.region)
        finding = RegionFinding(
            code=region.snomed_code,
            meaning=region.snomed_meaning,
            decided=datetime.now(UTC).replace(microsecond=0),
            reviewer=None,
            bundle=answer.bundle,
            confidence=answer.confidence,
        )
        return report_region(read_source(body), finding).body


def read_source(body: bytes) -> Source:
    """UIDs and header of an object.

    Raises:
        ObjectError: NOT_DICOM or CORRUPT_HEADER.
    """
    with lenient():
        return source_of(parse(body), body)


def encode_heat_map(heat: Any) -> bytes:
    """Float32 [height, width] of 0 to 1 as a grey PNG."""
    return encode_png((255 * heat).clip(0, 255).astype(np.uint8))


def _usable(row: dict[str, Any]) -> dict[str, Any]:
    if row["status"] != Status.OK:
        raise ObjectError(Reason(row["reason"]), row["message"] or "")
    return row
