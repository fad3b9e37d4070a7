"""Manifest or index rows to prediction rows: header, fetch, decode, clean, predict. No Ray."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import torch

from radray.archive import fetch
from radray.ensemble import Bundle
from radray.errors import BundleError, ObjectError, Status
from radray.images.prepare import prepare_image
from radray.index.headers import ReadHeaders
from radray.tables import predictions_schema
from radray.version import __version__

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
        pixels: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
        places: list[int] = []
        for place, image in zip(wanted, self._images([facts[place] for place in wanted]), strict=True):
            made[place] |= {name: image[name] for name in ("status", "reason", "message")}
            if image["status"] == Status.OK.value:
                side = self._bundle.side_px
                pixels.append(np.frombuffer(image["image"], np.uint8).reshape(side, side))
                places.append(place)
        if pixels:
            for place, answer in zip(places, self._answers(np.stack(pixels)), strict=True):
                made[place] |= answer
                label = made[place]["header_label"]
                made[place]["agrees"] = None if label is None else label == answer["region"]
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

    def _images(self, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Outcome and cleaned image of each row; bodies are held for a few rows at a time."""
        for start in range(0, len(rows), _FETCHES):
            some = rows[start : start + _FETCHES]
            for row, body in zip(some, self._threads.map(_fetch, (row["uri"] for row in some)), strict=True):
                if isinstance(body, ObjectError):
                    reason = body.reason
                    yield {"status": reason.status.value, "reason": reason.value, "message": body.message or None}
                else:
                    yield prepare_image(body, self._bundle.cleaning, burned_in=row["burned_in_annotation"])

    def _answers(self, images: np.ndarray[Any, np.dtype[np.uint8]]) -> Iterator[dict[str, Any]]:
        found = self._bundle.predict(images, batch=self._batch)
        regions = self._bundle.regions
        members = {method: own.argmax(axis=1) for method, own in found.member_probabilities.items()}
        for index in range(len(found)):
            region = regions.regions[found.region[index]]
            yield {
                "region": region.name,
                "code": region.snomed_code,
                "confidence": float(found.confidence[index]),
                "abstained": bool(found.abstained[index]),
                "ood_score": float(found.ood_score[index]),
                "probabilities": found.probabilities[index].tolist(),
                "member_regions": [(method, regions.names[own[index]]) for method, own in members.items()],
            }


def _fetch(uri: str) -> bytes | ObjectError:
    try:
        return fetch(uri)
    except ObjectError as error:
        return error
