"""A small queue as the audit leaves it: images, findings with controls, queue.json and the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from radray import storage, tables
from radray.audit.findings import FINDINGS_SCHEMA
from radray.regions import load_regions
from radray.review.page import write_review_page
from radray.review.queue import CONTROL, SUSPECT

REGIONS = load_regions("skeletal14")
TITLES = {region.name: region.title for region in REGIONS.regions}
MARKUP = "<script>document.title='owned'</script>"


def row_of(place: int, issue: str, rank: int, uris: list[str], station: str, **evidence: Any) -> dict[str, Any]:
    names = REGIONS.names
    label, suggested = names[place % 14], names[(place + 3) % 14]
    likely = [label, suggested] if issue == CONTROL else [suggested, label]
    top = [[likely[0], 0.9], [likely[1], 0.08], [names[(place + 5) % 14], 0.02]]
    near = [tables.row_id(uris[(place + step) % len(uris)]) for step in (1, 2, 3, 4)]
    return {
        "uri": uris[place],
        "row_id": tables.row_id(uris[place]),
        "issue": issue,
        "score": 1 / (1 + rank),
        "rank": rank,
        "label": None if issue == "missing_label" else label,
        "suggested": suggested,
        "confidence": 0.9,
        "evidence": json.dumps({"top": top, "neighbours": near, **evidence}),
        "patient": f"p{place}",
        "round": 0,
        "station": station,
    }


def small_findings(
    uris: list[str], suspects: int, controls: int, others: int = 0, station: str = "XR-1"
) -> list[dict[str, Any]]:
    """Suspects, then controls, then so many images without label and so many out of domain."""
    kinds = [SUSPECT] * suspects + [CONTROL] * controls + ["missing_label"] * others + ["out_of_domain"] * others
    first = {kind: kinds.index(kind) for kind in dict.fromkeys(kinds)}
    extra: dict[str, dict[str, Any]] = {"out_of_domain": {"ood_score": 0.98, "kind": "outside"}}
    return [
        row_of(place, kind, place - first[kind] + 1, uris, station if place % 3 else "XR-2", **extra.get(kind, {}))
        for place, kind in enumerate(kinds)
    ]


def write_small_queue(
    folder: Path,
    *,
    suspects: int = 20,
    controls: int = 10,
    others: int = 0,
    station: str = "XR-1",
    side: int = 48,
    limit: int = 10_000,
    bundle_url: str | None = None,
) -> str:
    """Write all of it; return the URL of the findings."""
    count = suspects + controls + 2 * others
    uris = [f"/archive/SMITH^JOHN/{place:05d}.dcm" for place in range(count)]
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 90, side)
    images = []
    for place, uri in enumerate(uris):
        picture = ramp[None, :] + rng.integers(0, 40, (side, side)) + 8 * (place % 14)
        picture[place % side] = 255
        images.append(
            {
                "uri": uri,
                "row_id": tables.row_id(uri),
                "label": REGIONS.names[place % 14],
                "status": "ok",
                "image": picture.clip(0, 255).astype(np.uint8).tobytes(),
                "side_px": side,
            }
        )
    table = str(folder / "images")
    storage.write_table(storage.join(table, "part.parquet"), pa.Table.from_pylist(images, schema=tables.IMAGES_SCHEMA))
    findings = str(folder / "findings")
    found = pa.Table.from_pylist(small_findings(uris, suspects, controls, others, station), schema=FINDINGS_SCHEMA)
    storage.write_table(storage.join(findings, "findings.parquet"), found)
    counts = {"labelled": 50 * count, "suspected": suspects, "controls": controls, "seed": 0, "bundle": "feed"}
    storage.write_json(storage.join(findings, "queue.json"), counts)
    write_review_page(findings, found, table, TITLES, limit, bundle_url=bundle_url)
    return findings
