"""Manifest or index rows to prediction rows: header, fetch, decode, clean, predict. No Ray."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from radray.archive import fetch
from radray.ensemble import Bundle
from radray.ensemble.pose import SUSPECT, is_inverted
from radray.errors import BundleError, ObjectError, Reason, Status
from radray.images.prepare import prepare_image
from radray.index.headers import ReadHeaders
from radray.tables import predictions_schema
from radray.version import __version__

Pixels = npt.NDArray[np.uint8]
_FETCHES = 8
"""Objects fetched at the same time, and the most bodies in memory."""


class ScoreRows:
    """One worker: keeps the bundle, turns rows of objects into rows of `predictions_schema`.

    Args:
        bundle: URL of the bundle.
        digest: Digest it must have, so that one run has one bundle.
        headers: Arguments of `ReadHeaders` where rows are a listing; None where they are an index.
        batch: Images predicted together.
        device: `cpu` or `cuda`.

    Raises:
        BundleError: The bundle is damaged, or another one than the run began with.
    """

    def __init__(
        self, *, bundle: str, digest: str, headers: dict[str, Any] | None, batch: int = 32, device: str = "cpu"
    ) -> None:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        self._bundle = Bundle.load(bundle, device=device)
        if self._bundle.digest != digest:
            raise BundleError(f"--bundle {bundle} changed while the run was under way; start the job again")
        self._headers = None if headers is None else ReadHeaders(**headers)
        self._batch = batch
        self._threads = ThreadPoolExecutor(_FETCHES)
        self._schema = predictions_schema(len(self._bundle.regions))

    def __call__(self, rows: pa.Table) -> pa.Table:
        """One prediction row for each row, in order."""
        facts = (rows if self._headers is None else self._headers(rows)).to_pylist()
        made = [self._base(row) for row in facts]
        wanted = [place for place, row in enumerate(facts) if row["status"] == Status.OK.value]
        pixels: dict[int, Pixels] = {}
        for place, image in zip(wanted, self._images([facts[place] for place in wanted]), strict=True):
            made[place] |= {name: image[name] for name in ("status", "reason", "message")}
            if image["status"] == Status.OK.value:
                pixels[place] = self._pixels(image)
        first = self._answers(pixels)
        suspects = [place for place, answer in first.items() if answer["inverted"] >= SUSPECT]
        again = self._images([facts[place] for place in suspects], inverted=True)
        found = {
            place: self._pixels(image)
            for place, image in zip(suspects, again, strict=True)
            if image["status"] == Status.OK.value
        }
        second = self._answers(found)
        for place, answer in first.items():
            inverted = place in second and is_inverted(answer["inverted"], second[place]["inverted"])
            made[place] |= {**(second[place] if inverted else answer), "inverted": inverted}
            label = made[place]["header_label"]
            made[place]["agrees"] = None if label is None else label == made[place]["region"]
        return pa.Table.from_pylist(made, schema=self._schema)

    def give_up(self, rows: pa.Table) -> pa.Table:
        """Rows for objects that kill the process which reads them."""
        made = []
        for row in rows.to_pylist():
            own = {name: row.get(name) for name in ("patient", "station", "label")}
            key = row["key"] if "key" in row else row["uri"]
            if self._headers is not None:
                key = self._headers.key(row["uri"])
            reason = Reason.DECODER_CRASHED
            outcome = {
                "status": reason.status.value,
                "reason": reason.value,
                "message": "its reader died",
            }
            made.append(self._base({**row, **own, "key": key, **outcome}))
        return pa.Table.from_pylist(made, schema=self._schema)

    def _base(self, row: dict[str, Any]) -> dict[str, Any]:
        kept = ("row_id", "status", "reason", "message", "patient", "station")
        return {
            **dict.fromkeys(self._schema.names),
            **{name: row[name] for name in kept},
            "uri": row["key"],
            "header_label": row["label"],
            "bundle": self._bundle.digest,
            "radray_version": __version__,
        }

    def _pixels(self, image: dict[str, Any]) -> Pixels:
        side = self._bundle.side_px
        return np.frombuffer(image["image"], np.uint8).reshape(side, side)

    def _images(self, rows: list[dict[str, Any]], *, inverted: bool = False) -> Iterator[dict[str, Any]]:
        """Outcome and cleaned image of each row; bodies are held for a few rows at a time."""
        for start in range(0, len(rows), _FETCHES):
            some = rows[start : start + _FETCHES]
            for row, body in zip(some, self._threads.map(_fetch, some), strict=True):
                if isinstance(body, ObjectError):
                    reason = body.reason
                    yield {"status": reason.status.value, "reason": reason.value, "message": body.message or None}
                else:
                    stated = row["burned_in_annotation"]
                    yield prepare_image(body, self._bundle.cleaning, burned_in=stated, inverted=inverted)

    def _answers(self, images: dict[int, Pixels]) -> dict[int, dict[str, Any]]:
        """Place → columns of the prediction; `inverted` is still a probability."""
        if not images:
            return {}
        found = self._bundle.predict(np.stack(list(images.values())), batch=self._batch)
        regions = self._bundle.regions
        members = {method: own.argmax(axis=1) for method, own in found.member_probabilities.items()}
        answers = {}
        for index, place in enumerate(images):
            region = regions.regions[found.region[index]]
            answers[place] = {
                "region": region.name,
                "code": region.snomed_code,
                "confidence": float(found.confidence[index]),
                "abstained": bool(found.abstained[index]),
                "ood_score": float(found.ood_score[index]),
                "turned_deg": 90 * int(found.turned[index]),
                "inverted": float(found.inverted[index]),
                "probabilities": found.probabilities[index].tolist(),
                "member_regions": [(method, regions.names[own[index]]) for method, own in members.items()],
            }
        return answers


def _fetch(row: dict[str, Any]) -> bytes | ObjectError:
    try:
        return fetch(row["uri"], etag=row["etag"], size=row["size"])
    except ObjectError as error:
        return error
