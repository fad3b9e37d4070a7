"""Manifest or index rows to prediction rows: header, fetch, decode, clean, predict. No Ray."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import torch

from radray.archive import fetch
from radray.cleaning.config import CleaningConfig
from radray.ensemble import Bundle
from radray.ensemble.bundle import Precision
from radray.ensemble.pose import SUSPECT, is_inverted
from radray.errors import BundleError, ObjectError, Reason, Status
from radray.images.prepare import prepare_image, quarantine
from radray.index.headers import ReadHeaders
from radray.tables import predictions_schema
from radray.version import __version__

_FETCHES = 8
"""Objects fetched at the same time, and the most bodies in memory."""
_DIED = quarantine(Reason.DECODER_CRASHED, "its reader died")
_FETCHED_BYTES = 256 << 20
"""Bytes of the bodies in memory, but for one that is larger by itself."""
_KEPT = ("row_id", "status", "reason", "message", "patient", "station", "label")
PREPARED_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("uri", pa.string()),
        ("etag", pa.string()),
        ("size", pa.int64()),
        ("burned_in_annotation", pa.bool_()),
        ("image", pa.binary()),
        *((name, pa.int64() if name == "row_id" else pa.string()) for name in _KEPT),
    ]
)
"""Between `PrepareRows` and `PredictRows`: an object's facts, and its cleaned image where it gave one."""


class PrepareRows:
    """One worker on CPUs: rows of objects to rows with cleaned images (`PREPARED_SCHEMA`).

    Args:
        cleaning: How images are cleaned: the bundle's way.
        headers: Arguments of `ReadHeaders` where rows are a listing; None where they are an index.
    """

    def __init__(self, *, cleaning: CleaningConfig, headers: dict[str, Any] | None) -> None:
        cv2.setNumThreads(1)
        self._images = CleanedImages(cleaning)
        self._headers = None if headers is None else ReadHeaders(**headers)

    def __call__(self, rows: pa.Table) -> pa.Table:
        """A row for each, in order."""
        facts = (rows if self._headers is None else self._headers(rows)).to_pylist()
        wanted = [row for row in facts if row["status"] == Status.OK.value]
        for row, image in zip(wanted, self._images(wanted), strict=True):
            row |= {name: image[name] for name in ("status", "reason", "message", "image")}
        return pa.Table.from_pylist(facts, schema=PREPARED_SCHEMA)

    def give_up(self, rows: pa.Table) -> pa.Table:
        """Rows for objects that kill the process which reads them."""
        made = []
        for row in rows.to_pylist():
            key = row["key"] if "key" in row else row["uri"]
            if self._headers is not None:
                key = self._headers.key(row["uri"])
            made.append({**row, "key": key, **_DIED})
        return pa.Table.from_pylist(made, schema=PREPARED_SCHEMA)


class PredictRows:
    """One worker that computes: rows of `PREPARED_SCHEMA` to rows of `predictions_schema`.

    Args:
        bundle: URL of the bundle.
        digest: Digest it must have, so that one run has one bundle.
        batch: Images predicted together.
        device: `cpu` or `cuda`.
        precision: Of the networks, `float32` or `bfloat16`.

    Raises:
        BundleError: The bundle is damaged, or another one than the run began with.
    """

    def __init__(
        self, *, bundle: str, digest: str, batch: int = 32, device: str = "cpu", precision: Precision = "float32"
    ) -> None:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        self._bundle = Bundle.load(bundle, device=device, precision=precision)
        if self._bundle.digest != digest:
            raise BundleError(f"--bundle {bundle} changed while the run was under way; start the job again")
        self._images = CleanedImages(self._bundle.cleaning)
        self._batch = batch
        self._schema = predictions_schema(len(self._bundle.regions))

    def __call__(self, rows: pa.Table) -> pa.Table:
        """One prediction row for each row, in order."""
        facts = rows.to_pylist()
        made = [self._base(row) for row in facts]
        first = self._answers(
            {place: row["image"] for place, row in enumerate(facts) if row["status"] == Status.OK.value}
        )
        # What seems inverted is cleaned again the other way round: few objects, and only the networks know which.
        suspects = [place for place, answer in first.items() if answer["inverted"] >= SUSPECT]
        again = self._images([facts[place] for place in suspects], inverted=True)
        second = self._answers(
            {
                place: image["image"]
                for place, image in zip(suspects, again, strict=True)
                if image["status"] == Status.OK.value
            }
        )
        for place, answer in first.items():
            inverted = place in second and is_inverted(answer["inverted"], second[place]["inverted"])
            made[place] |= {**(second[place] if inverted else answer), "inverted": inverted}
            label = made[place]["header_label"]
            made[place]["agrees"] = None if label is None else label == made[place]["region"]
        return pa.Table.from_pylist(made, schema=self._schema)

    def give_up(self, rows: pa.Table) -> pa.Table:
        """Rows for objects that kill the process which predicts them."""
        made = [self._base({**row, **_DIED}) for row in rows.to_pylist()]
        return pa.Table.from_pylist(made, schema=self._schema)

    def _base(self, row: dict[str, Any]) -> dict[str, Any]:
        return {
            **dict.fromkeys(self._schema.names),
            **{name: row[name] for name in _KEPT if name != "label"},
            "uri": row["key"],
            "header_label": row["label"],
            "bundle": self._bundle.digest,
            "radray_version": __version__,
        }

    def _answers(self, images: dict[int, bytes]) -> dict[int, dict[str, Any]]:
        """Place → columns of the prediction; `inverted` is still a probability."""
        if not images:
            return {}
        side = self._bundle.side_px
        pixels = np.frombuffer(b"".join(images.values()), np.uint8).reshape(-1, side, side)
        found = self._bundle.predict(pixels, batch=self._batch)
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


class ScoreRows:
    """One worker that does both, for machines without GPU: rows of objects to rows of `predictions_schema`.

    Args:
        prepare: Keyword arguments of `PrepareRows`.
        predict: Keyword arguments of `PredictRows`.
    """

    def __init__(self, *, prepare: dict[str, Any], predict: dict[str, Any]) -> None:
        self._prepare, self._predict = PrepareRows(**prepare), PredictRows(**predict)

    def __call__(self, rows: pa.Table) -> pa.Table:
        """One prediction row for each row, in order."""
        return self._predict(self._prepare(rows))

    def give_up(self, rows: pa.Table) -> pa.Table:
        """Rows for objects that kill the process."""
        return self._predict(self._prepare.give_up(rows))


class CleanedImages:
    """Fetches, decodes and cleans objects; the next bodies come while one is decoded.

    Args:
        cleaning: What to do.
    """

    def __init__(self, cleaning: CleaningConfig) -> None:
        self._cleaning = cleaning
        self._threads = ThreadPoolExecutor(_FETCHES)

    def __call__(self, rows: list[dict[str, Any]], *, inverted: bool = False) -> Iterator[dict[str, Any]]:
        """Outcome and cleaned image of each row, in order.

        Args:
            rows: With `uri`, `etag`, `size`, `burned_in_annotation`.
            inverted: Whether grey values are turned over first.
        """
        coming: deque[Future[bytes | ObjectError]] = deque()
        for place, row in enumerate(rows):
            while len(coming) < _FETCHES and place + len(coming) < len(rows):
                ahead = rows[place : place + len(coming) + 1]
                if coming and sum(each["size"] or 0 for each in ahead) > _FETCHED_BYTES:
                    break
                coming.append(self._threads.submit(_fetch, ahead[-1]))
            body = coming.popleft().result()
            if isinstance(body, ObjectError):
                yield quarantine(body.reason, body.message)
            else:
                yield prepare_image(body, self._cleaning, burned_in=row["burned_in_annotation"], inverted=inverted)


def _fetch(row: dict[str, Any]) -> bytes | ObjectError:
    try:
        return fetch(row["uri"], etag=row["etag"], size=row["size"])
    except ObjectError as error:
        return error
