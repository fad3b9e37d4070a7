"""How far to trust a confidence: reliability and risk over coverage of the ensemble."""

from __future__ import annotations

from typing import Any

import numpy as np

from radray import storage
from radray.errors import BundleError
from radray.images.reading import load_pictures
from radray.report.config import ReportConfig
from radray.report.page import Block, Section
from radray.report.sources import Sources
from radray.report.trust_figures import draw_reliability, draw_risk_coverage, reliability_bins, risk_coverage

FEWEST, LOOKED_AT = 20, 12
"""Test images below which neither figure says anything, and most images whose attention is shown."""


def trust_section(sources: Sources, config: ReportConfig) -> Section:
    """Two figures side by side from the ensemble's test predictions, and what it looks at."""
    section = Section(anchor="trust", title="How far to trust it")
    if sources.test is None:
        return section
    references = np.array(sources.test[sources.against].to_pylist(), object)
    judged = np.array([each is not None for each in references])
    if judged.sum() < FEWEST:
        sources.left_out.append(f"fewer than {FEWEST} test images can be judged: calibration is left out")
        return section
    confidence = sources.test["confidence"].to_numpy().astype(np.float64)[judged]
    right = np.array(sources.test["region"].to_pylist(), object)[judged] == references[judged]
    answered = 1 - float(sources.test["abstained"].to_numpy()[judged].mean())
    bins, curve = reliability_bins(confidence, right), risk_coverage(confidence, right)
    section.lead = (
        "An unsure image is better left to a person than named wrongly. Figures hold for this archive; images of other "
        "hospitals can be worse, and confident too."
    )
    section.blocks += [
        Block(
            name="reliability",
            title="Confidence against accuracy",
            text="On the dashed line the ensemble is as often right as it says; below it, it is too sure of itself.",
            png=draw_reliability(bins),
            rows=bins,
            half=True,
        ),
        Block(
            name="risk_coverage",
            title="Risk over coverage",
            text="Errors that remain when only the surest images are answered. The red line: what the bundle answers.",
            png=draw_risk_coverage(curve, answered),
            rows=curve,
            half=True,
        ),
    ]
    section.blocks += attention_blocks(sources, config)
    return section


def attention_blocks(sources: Sources, config: ReportConfig) -> list[Block]:
    """Test images of the regions with what the strongest network looked at, where bundle and images are there.

    With --plain-probe also what a network looks at that learned without cleaning and gauges.
    """
    if sources.test is None or sources.bundle is None or not config.probe or not config.images:
        return []
    rows = sources.test.select(["row_id", "label", "region"]).sort_by("row_id").to_pylist()
    chosen = list({row["label"]: row for row in reversed(rows) if row["label"]}.values())[:LOOKED_AT]
    blocks = _attention_of(
        sources,
        config.probe,
        config.images,
        chosen,
        name="attention",
        title="What it looks at",
        text="Test images and, in colour, what spoke for the region named (guided Grad-CAM of the strongest network). "
        "Bones should glow, not borders or markers. The table tells the share of the attention that lies in a frame of "
        "a tenth of each side, which is 36 % of the area.",
    )
    if config.plain_probe and config.plain_images:
        blocks += _attention_of(
            sources,
            config.plain_probe,
            config.plain_images,
            chosen,
            name="attention_plain",
            title="What a plain network looks at",
            text="The same images as they were, and what a network looks at that learned without cleaning and gauges.",
        )
    return blocks


def _attention_of(
    sources: Sources, probe: str, table: str, chosen: list[dict[str, Any]], *, name: str, title: str, text: str
) -> list[Block]:
    from radray.ensemble import Bundle
    from radray.report.attention import attention, attention_rows, border_share, draw_attention

    pictures = load_pictures(table, [row["row_id"] for row in chosen])
    chosen = [row for row in chosen if row["row_id"] in pictures]
    try:
        bundle = Bundle.load(storage.join(probe, "bundle"), device="cpu")
    except BundleError as error:
        sources.left_out.append(f"what the network looks at is left out: {error}")
        return []
    images = np.stack([pictures[row["row_id"]] for row in chosen]) if chosen else None
    if images is None or images.shape[1] != bundle.side_px:
        return []
    named = bundle.predict(images).region
    maps = attention(bundle, images, named.tolist())
    if maps is None:
        return []
    rows = [{**row, "region": bundle.regions.names[index]} for row, index in zip(chosen, named, strict=True)]
    words = [
        sources.titles.get(row["region"], row["region"]) + ("" if row["region"] == row["label"] else " (label differs)")
        for row in rows
    ]
    share = f" Of all attention {border_share(maps).mean():.0%} lies there."
    return [
        Block(
            name=name,
            title=title,
            text=text + share,
            png=draw_attention(images, maps, words),
            rows=attention_rows(rows, maps),
        )
    ]
