"""From a body to an answer: header, decoding in the child process, cleaning, the ensemble's word."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np

from radray.dicom.correction import Source, source_of
from radray.dicom.header import read_facts
from radray.dicom.parsing import lenient, parse
from radray.dicom.pixels import PixelLimits
from radray.ensemble.pose import SUSPECT, is_inverted
from radray.errors import ObjectError, Reason, Status
from radray.images.prepare import prepare_image, prepare_picture
from radray.regions import Region
from radray.review.thumbnails import data_uri, encode_png
from serve.answers import EnsembleAnswer, RegionAnswer
from serve.bodies import Part
from serve.bundles import INSIST, TRIES, Asked, Draft, KnownBundles, Model, Prepared, Replaced
from serve.metrics import Metrics
from serve.problems import ApiError, ApiReason

READY_S = 5.0
"""Longest wait for the ensemble to say which bundle it holds, in seconds."""
Answer = TypeVar("Answer", EnsembleAnswer, bytes | None)


class RegionService:
    """Answers for one replica.

    Args:
        model: Of the bundle that answers.
        ensemble: Computes.
        limits: Of the decoder.
        answer_s: Longest wait for the ensemble, in seconds.
        metrics: Where answers are counted.
        decodes_at_once: Bodies that are decoded and cleaned at the same time: more than there are processors for take
            longer in all, for they wait for one another's turn in the interpreter.
    """

    def __init__(
        self,
        *,
        model: Model,
        ensemble: Asked,
        limits: PixelLimits,
        answer_s: float,
        metrics: Metrics,
        decodes_at_once: int = 1,
    ) -> None:
        self.bundles, self.metrics = KnownBundles(model), metrics
        self._ensemble, self._limits, self._answer_s = ensemble, limits, answer_s
        self._decoding = asyncio.Semaphore(decodes_at_once)

    @property
    def model(self) -> Model:
        """Of the bundle that answered last."""
        return self.bundles.newest

    async def refresh(self) -> bool:
        """Ask which bundle answers; whether one does."""
        try:
            self.bundles.learn(await asyncio.wait_for(self._ensemble.model(), min(READY_S, self._answer_s)))
        except (TimeoutError, ApiError):
            return False
        return True

    async def answer(self, part: Part, *, pictures: bool = False) -> RegionAnswer:
        """The region of one radiograph, all of it by one bundle.

        Args:
            part: A DICOM object (PS3.10), or a PNG or JPEG file where its media type says so.
            pictures: Whether the cleaned image and its heat map are wanted.

        Raises:
            ObjectError: It cannot be used.
            ApiError: The ensemble does not answer in time, or is busy.
        """
        draft = Draft(part=part, model=self.model)
        for _ in range(TRIES):
            try:
                answer = await self._answer(draft, pictures)
            except Replaced as replaced:
                draft.model = self.bundles.learn(replaced.model)
                continue
            self.metrics.count_answer(answer)
            return answer
        raise ApiError(ApiReason.BUSY, "the bundle is being replaced")

    async def report(self, body: bytes, answer: RegionAnswer) -> bytes:
        """The structured report (TID 1500) of an answer.

        Raises:
            ObjectError: CORRUPT_HEADER where the object's header does not allow for one.
        """
        return await asyncio.to_thread(self._report, body, answer)

    def region(self, answer: EnsembleAnswer) -> Region:
        """The region that an answer names."""
        return self.bundles.model(answer.bundle).region(answer.region)

    async def _answer(self, draft: Draft, pictures: bool) -> RegionAnswer:
        digest = draft.model.digest
        if digest not in draft.prepared:
            draft.prepared[digest] = await self._prepare(draft.part, draft.model)
        answer = await self._predict({bundle: each.image for bundle, each in draft.prepared.items()})
        prepared, inverted = draft.prepared[answer.bundle], False
        if answer.inverted_probability >= SUSPECT and (second := await self._second_look(draft, answer)) is not None:
            prepared, answer = second
            inverted = True
        label = prepared.header_label
        shown: dict[str, Any] = await self._draw(prepared.image, answer) if pictures else {}
        agrees = None if label is None else label == answer.region
        return RegionAnswer(**dict(answer), header_label=label, agrees=agrees, inverted=inverted, **shown)

    async def _prepare(self, part: Part, model: Model, *, inverted: bool = False) -> Prepared:
        async with self._decoding:
            return await asyncio.to_thread(self._decode, part, model, inverted)

    def _decode(self, part: Part, model: Model, inverted: bool) -> Prepared:
        if part.media_type.startswith("image/"):
            row = prepare_picture(part.body, model.cleaning, limits=self._limits, inverted=inverted)
            return Prepared(image=_usable(row)["image"], header_label=None)
        facts = _usable(read_facts(part.body, self.bundles.reader(model.digest), complete=True))
        row = prepare_image(part.body, model.cleaning, limits=self._limits, inverted=inverted)
        return Prepared(image=_usable(row)["image"], header_label=facts["label"])

    async def _predict(self, images: dict[str, bytes]) -> EnsembleAnswer:
        started = time.monotonic()
        found = await self._wait(self._ensemble.predict(images))
        self.metrics.time_ensemble(time.monotonic() - started)
        return found

    async def _insist(self, ask: Callable[[], Awaitable[Answer | Model]]) -> Answer:
        """What a replica of the bundle that answered before says further: another one than was asked may hold it."""
        for _ in range(INSIST):
            with suppress(Replaced):
                return await self._wait(ask())
        return await self._wait(ask())

    async def _wait(self, asked: Awaitable[Answer | Model]) -> Answer:
        """What the ensemble answers within the time there is, if it is of the expected bundle."""
        try:
            found = await asyncio.wait_for(asked, self._answer_s)
        except TimeoutError as error:
            raise ApiError(ApiReason.ENSEMBLE_TIMEOUT, f"no answer within {self._answer_s:g} s") from error
        if isinstance(found, Model):
            raise Replaced(found)
        return found

    async def _second_look(self, draft: Draft, first: EnsembleAnswer) -> tuple[Prepared, EnsembleAnswer] | None:
        """Image and answer with inverted grey values, where that is the right way; by the bundle of the first."""
        if first.bundle not in draft.inverted:
            try:
                other = await self._prepare(draft.part, self.bundles.model(first.bundle), inverted=True)
            except ObjectError:
                other = None
            draft.inverted[first.bundle] = other
        prepared = draft.inverted[first.bundle]
        if prepared is None:
            return None
        image = {first.bundle: prepared.image}
        second = await self._insist(lambda: self._ensemble.predict(image))
        if not is_inverted(first.inverted_probability, second.inverted_probability):
            return None
        return prepared, second.model_copy(update={"inverted_probability": first.inverted_probability})

    async def _draw(self, image: bytes, answer: EnsembleAnswer) -> dict[str, str | None]:
        side = self.bundles.model(answer.bundle).cleaning.side_px
        heat = await self._insist(lambda: self._ensemble.explain(answer.bundle, image, answer.region))
        picture = encode_png(np.frombuffer(image, np.uint8).reshape(side, side))
        return {"picture": data_uri(picture), "heat_map": data_uri(heat) if heat else None}

    def _report(self, body: bytes, answer: RegionAnswer) -> bytes:
        from radray.dicom.documents import RegionFinding, report_region  # a second of imports

        region = self.region(answer)
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
