"""What is wrong: the queue of suspected labels, where they come from, the map of features, images out of domain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from radray.audit.findings import LABEL_ERROR, OUT_OF_DOMAIN
from radray.probe.embedding import find_members
from radray.report.config import ReportConfig
from radray.report.galleries import draw_cards, finding_cards
from radray.report.headline import likely_wrong
from radray.report.page import Block, Section
from radray.report.sources import ENSEMBLE, Sources, usable
from radray.report.trust_figures import draw_map, lay_out_map

_FEWEST_ON_MAP = 30
_DISAGREEMENTS = 12


def queue_section(sources: Sources, config: ReportConfig) -> Section:
    """Galleries, the disagreement table and the map."""
    section = Section(anchor="queue", title="What is probably wrong")
    if sources.findings is None:
        return section
    section.lead = (
        "Suspicions, not verdicts: a person decides, on the review page. Order and probability come from predictions "
        "for patients the model had not seen, and from the nearest images of other patients."
    )
    section.blocks += _gallery(
        sources, config, LABEL_ERROR, "suspects", "First in the queue", "The label → what the ensemble suggests."
    )
    section.blocks += _disagreement(sources)
    section.blocks += _map(sources, config)
    section.blocks += _gallery(
        sources,
        config,
        OUT_OF_DOMAIN,
        "out_of_domain",
        "Out of domain",
        "The images farthest from anything seen in training, and how many of the validation images are nearer.",
    )
    return section


def _gallery(sources: Sources, config: ReportConfig, issue: str, name: str, title: str, text: str) -> list[Block]:
    if sources.findings is None or not config.images or not config.suspects:
        return []
    own = sources.findings.filter(pc.field("issue") == issue).sort_by("rank")
    if not own.num_rows:
        return []
    cards = finding_cards(own, issue, config.images, sources.titles, config.suspects)
    columns = ["row_id", "rank", "score", "label", "suggested", "confidence"]
    rows = own.select(columns)[: config.suspects].to_pylist()
    more = f" {own.num_rows:,} in all, the first {len(cards)} here."
    return [Block(name=name, title=title, text=text + more, gallery=[("", cards)], png=draw_cards(cards), rows=rows)]


def _disagreement(sources: Sources) -> list[Block]:
    if sources.disagreement is None or not sources.disagreement.num_rows:
        return []
    rows = [row for row in sources.disagreement.to_pylist() if row["fact"] == "station"]
    title = sources.titles
    shown = [
        {
            "station": row["value"],
            "looks like": title.get(row["model_region"], row["model_region"]),
            "header says": title.get(row["header_label"], row["header_label"]),
            "images": f"{row['images']:,} of {row['of']:,}",
            "share": f"{100 * row['share']:.0f} %",
        }
        for row in rows[:_DISAGREEMENTS]
    ]
    text = "Where a station tags one region as another, mending the station mends every image to come."
    return [Block(name="disagreement", title="Header against model, by station", text=text, rows=rows, shown=shown)]


def _map(sources: Sources, config: ReportConfig) -> list[Block]:
    chosen = _features(config, sources)
    if chosen is None or not sources.titles or sources.findings is None:
        return []
    facts, features = chosen
    stars = likely_wrong(sources.findings)["row_id"].combine_chunks()
    suspected = pc.is_in(facts["row_id"], stars).to_numpy(zero_copy_only=False)
    points = lay_out_map(features)
    labels = facts["label"].to_pylist()
    keys = zip(facts["row_id"].to_pylist(), points.tolist(), labels, suspected.tolist(), strict=True)
    rows = [{"row_id": key, "x": x, "y": y, "label": label, "suspected": star} for key, (x, y), label, star in keys]
    return [
        Block(
            name="map",
            title="Test images by similarity",
            text="t-SNE of the frozen features: near means alike; axes mean nothing. Colour is the label; a star in a "
            "foreign cluster is a label to look at.",
            png=draw_map(points, labels, suspected, sources.titles),
            rows=rows,
        )
    ]


def _features(config: ReportConfig, sources: Sources) -> tuple[pa.Table, Any] | None:
    """Facts and normalised features of test images, of a label-free method where there is one."""
    if not config.probe or sources.images is None or not config.map_images:
        return None
    members = find_members(config.probe)
    ranked = sorted(members, key=lambda method: (members[method][1], -_accuracy(sources, method), method))
    table = usable(sources.images)
    table = table.filter(pc.equal(table["split"], "test")).sort_by("row_id")
    if not ranked or table.num_rows < _FEWEST_ON_MAP:
        return None
    if table.num_rows > config.map_images:
        drawn = np.random.default_rng(0).choice(table.num_rows, config.map_images, replace=False)
        table = table.take(np.sort(drawn))
    vectors = members[ranked[0]][0].read(table["row_id"].to_numpy(), gaps=True).astype(np.float32)
    known = vectors.any(axis=1)
    table, features = table.filter(pa.array(known)), vectors[known]
    features = np.sign(features) * np.sqrt(np.abs(features))
    return table, features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _accuracy(sources: Sources, method: str) -> float:
    if sources.accuracy is None or method == ENSEMBLE:
        return 0.0
    rows = [row for row in sources.accuracy.to_pylist() if (row["method"], row["budget"]) == (method, "all")]
    return float(rows[0]["accuracy"] or 0) if rows else 0.0
