"""The sentence and the numbers on top of the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from radray.audit.findings import LABEL_ERROR, MISSING_LABEL, NEAR_DUPLICATE, OUT_OF_DOMAIN
from radray.report.page import KeyNumber
from radray.report.sources import ENSEMBLE, Sources, usable

LIKELY = 0.5
"""Labels at least this probably wrong are counted on top."""


def headline(sources: Sources) -> str:
    """One or two sentences that say what was found."""
    parts = []
    images, best = _images(sources), ensemble_accuracy(sources)
    if images is not None:
        known = f" of {len(sources.titles)} regions" if sources.titles else ""
        parts.append(f"{images:,} radiographs{known} were read")
    if best is not None:
        parts.append(f"the ensemble names {_percent(best['accuracy'])} of the test images {_rightly(sources)}")
    wrong = _likely_wrong(sources)
    if wrong is not None:
        parts.append(f"{wrong:,} {'label is' if wrong == 1 else 'labels are'} probably wrong and wait for a verdict")
    sentence = ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1] if parts else "Nothing was found"
    return sentence[0].upper() + sentence[1:] + "."


def _rightly(sources: Sources) -> str:
    return "rightly" if sources.against == "truth" else "as their label does"


def ensemble_accuracy(sources: Sources) -> dict[str, Any] | None:
    """The ensemble's row of accuracy.csv with all labels."""
    if sources.accuracy is None:
        return None
    wanted = {"method": ENSEMBLE, "budget": "all", "against": sources.against}
    rows = [row for row in sources.accuracy.to_pylist() if all(row[key] == value for key, value in wanted.items())]
    return rows[0] if rows and rows[0]["accuracy"] is not None else None


def key_numbers(sources: Sources) -> list[KeyNumber]:
    """The numbers on top, those that are known."""
    return list(_numbers(sources))


def _numbers(sources: Sources) -> Iterator[KeyNumber]:
    images = _images(sources)
    if sources.index is not None:
        yield KeyNumber(value=f"{sources.index.num_rows:,}", name="objects in the archive")
    if images is not None:
        aside = "" if sources.index is None else f"{sources.index.num_rows - images:,} set aside with a reason"
        yield KeyNumber(value=f"{images:,}", name="radiographs used", note=aside)
    if (best := ensemble_accuracy(sources)) is not None:
        interval = f"95 % interval {_percent(best['accuracy_low'])} to {_percent(best['accuracy_high'])}"
        name = "accuracy of the ensemble" if sources.against == "truth" else "agreement with the labels"
        yield KeyNumber(value=_percent(best["accuracy"]), name=name, note=f"{best['images']:,} test images, {interval}")
    if sources.findings is None:
        return
    for issue, name, note in (
        (LABEL_ERROR, "labels to look at", f"{_likely_wrong(sources):,} of them probably wrong"),
        (MISSING_LABEL, "missing labels", "each with a suggestion"),
        (OUT_OF_DOMAIN, "out of domain", "beyond the operating point"),
        (NEAR_DUPLICATE, "near-duplicates", ""),
    ):
        yield KeyNumber(value=f"{_count(sources, issue):,}", name=name, note=note)


def likely_wrong(findings: pa.Table) -> pa.Table:
    """Findings of labels that are wrong with a probability of `LIKELY` or more."""
    return findings.filter((pc.field("issue") == LABEL_ERROR) & (pc.field("score") >= LIKELY))


def _images(sources: Sources) -> int | None:
    return None if sources.images is None else int(usable(sources.images).num_rows)


def _count(sources: Sources, issue: str) -> int:
    return int(pc.sum(pc.equal(sources.findings["issue"], issue)).as_py() or 0) if sources.findings is not None else 0


def _likely_wrong(sources: Sources) -> int | None:
    if sources.findings is None:
        return None
    return int(likely_wrong(sources.findings).num_rows)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
