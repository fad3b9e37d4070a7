"""What is shown, and in which order: suspected labels with controls mixed in, then the other issues.

No field of the page names a control: suspects, controls and images to learn from are label checks, with the same
fields, and their order is shuffled within short blocks. The model's opinion does tell them apart for most images,
because a control's most probable region is mostly its label: the page hides it until the verdict unless the reviewer
wants to see it, and each verdict says whether it was hidden.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

SUSPECT = "label_error"
CONTROL = "control"
TO_LEARN = "to_learn"
"""A label chosen because a verdict on it teaches most; it says nothing about the archive."""
LABEL_CHECK = "label_check"
BLOCK = 20
"""Length of the stretches of the queue within which the order is random."""

_KINDS = {
    "several_regions": "may show several regions",
    "outside": "looks like none of the regions",
    "exact": "same pixels as the image beside it",
    "features": "looks the same to the networks as the image beside it",
}


def choose_rows(found: pa.Table, limit: int, seed: int) -> list[dict[str, Any]]:
    """The findings to show in the order of the page, `evidence` parsed.

    Args:
        found: The findings and the controls.
        limit: Most rows of each issue; the ranks of controls are random, so fewer of them are as random.
        seed: Of the order of label checks.
    """
    rows = [row for row in found.to_pylist() if row["rank"] <= limit]
    for row in rows:
        row["evidence"] = json.loads(row["evidence"])
    rows.sort(key=lambda row: row["rank"])
    controls = [row for row in rows if row["issue"] == CONTROL]
    # What was chosen to learn from comes before what is only suspected; an image is checked once.
    checks = {row["uri"]: row for kind in (SUSPECT, TO_LEARN) for row in rows if row["issue"] == kind}
    for row in controls:
        checks.pop(row["uri"], None)
    suspects = sorted(checks.values(), key=lambda row: row["issue"] == SUSPECT)
    others = [row for row in rows if page_issue(row["issue"]) != LABEL_CHECK]
    issues = list(dict.fromkeys(found["issue"].to_pylist()))
    others.sort(key=lambda row: issues.index(row["issue"]))
    return [*mix_queue(suspects, controls, seed), *others]


def mix_queue(suspects: list[dict[str, Any]], controls: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Controls at random places among the suspects, whose order stays roughly that of suspicion.

    Each control falls on a place of the whole queue at random, so those of any beginning are a random sample too.
    """
    if not controls:
        return list(suspects)
    rng = np.random.default_rng(seed)
    length = len(suspects) + len(controls)
    of_controls = set(rng.choice(length, len(controls), replace=False).tolist())
    first, second = iter(suspects), iter(controls)
    mixed = [next(second) if place in of_controls else next(first) for place in range(length)]
    order = np.concatenate(
        [start + rng.permutation(min(BLOCK, length - start)) for start in range(0, length, BLOCK)]
    ).tolist()
    return [mixed[place] for place in order]


def item_id(row_id: int) -> str:
    """How the page names an image: its row id as 16 hex digits, which says nothing of its path."""
    return f"{row_id & (1 << 64) - 1:016x}"


def page_issue(issue: str) -> str:
    """How the page names an issue: suspects, controls and images to learn from alike."""
    return LABEL_CHECK if issue in (SUSPECT, CONTROL, TO_LEARN) else issue


def relatives(evidence: dict[str, Any]) -> list[int]:
    """Row ids of the images shown beside one: nearest neighbours, or the image that it looks like."""
    near: list[int] = evidence.get("neighbours") or ([evidence["of"]] if evidence.get("of") is not None else [])
    return near


def pictured(row: dict[str, Any]) -> list[int]:
    """Row ids whose picture shows the image: its own, and that of its twin of equal pixels (a copy is stored once)."""
    return [row["row_id"], row["evidence"]["of"]] if row["evidence"].get("equal_pixels") else [row["row_id"]]


def describe_evidence(row: dict[str, Any]) -> str:
    """A line for people; empty for a label check, which must look like any other."""
    if page_issue(row["issue"]) == LABEL_CHECK:
        return ""
    evidence, parts = row["evidence"], []
    kind = evidence.get("kind")
    if evidence.get("equal_pixels"):
        parts.append(_KINDS["exact"])
    elif "bits" in evidence and kind in (None, "near"):
        parts.append(f"{evidence['bits']} of 64 hash bits differ from the image beside it")
    elif kind:
        parts.append(_KINDS.get(kind, str(kind).replace("_", " ")))
    if evidence.get("across_patients"):
        parts.append("of another patient")
    if evidence.get("ood_score") is not None:
        parts.append(f"farther out than {min(99.9, 100 * evidence['ood_score']):.1f} % of known images")
    return ", ".join(parts)
