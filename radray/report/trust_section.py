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

    With --plain-probe also what its strongest network looks at.
    """
    if sources.test is None or sources.bundle is None or not config.probe or not config.images:
        return []
    rows = sources.test.select(["row_id", "label", "region"]).sort_by("row_id").to_pylist()
    chosen = list({row["label"]: row for row in reversed(rows) if row["label"]}.values())[:LOOKED_AT]
    blocks = _attention_of(sources, config.probe, config.images, chosen, "attention", "What it looks at")
    if config.plain_probe and config.plain_images:
        blocks += _attention_of(
            sources,
            config.plain_probe,
            config.plain_images,
            chosen,
            "attention_plain",
            "What the network of --plain-probe looks at",
        )
    return blocks


def _attention_of(
    sources: Sources, probe: str, table: str, chosen: list[dict[str, Any]], name: str, title: str
) -> list[Block]:
    from radray.ensemble import Bundle
    from radray.ensemble.attention import attention, border_share
    from radray.report.attention import attention_rows, draw_attention

    def left_out(why: str) -> list[Block]:
        sources.left_out.append(f"{title}: left out, {why}")
        return []

    pictures = load_pictures(table, [row["row_id"] for row in chosen])
    chosen = [row for row in chosen if row["row_id"] in pictures]
    if not chosen:
        return left_out(f"{table} has none of the test images")
    try:
        bundle = Bundle.load(storage.join(probe, "bundle"), device="cpu")
    except BundleError as error:
        return left_out(str(error))
    images = np.stack([pictures[row["row_id"]] for row in chosen])
    if images.shape[1] != bundle.side_px:
        return left_out(f"the images of {table} have {images.shape[1]} pixels, the bundle takes {bundle.side_px}")
    named = bundle.predict(images).region
    maps = attention(bundle, images, named.tolist())
    if maps is None:
        return left_out("no member has feature maps")
    rows = [{**row, "region": bundle.regions.names[index]} for row, index in zip(chosen, named, strict=True)]
    words = [
        sources.titles.get(row["region"], row["region"]) + ("" if row["region"] == row["label"] else " (label differs)")
        for row in rows
    ]
    steps = ("crop_borders", "crop_field", "rotate_field", "crop_anatomy", "mask_markers")
    cleaned = [step for step in steps if getattr(bundle.cleaning, step)]
    text = (
        "Test images and, in colour, what spoke for the region named (guided Grad-CAM of the strongest network). "
        f"Cleaning: {', '.join(cleaned).replace('_', ' ') or 'none of its crops'}. Bones should glow, not borders or "
        f"markers: {border_share(maps).mean():.0%} of the attention lies in a frame of a tenth of each side, which is "
        "36 % of the area."
    )
    return [
        Block(
            name=name, title=title, text=text, png=draw_attention(images, maps, words), rows=attention_rows(rows, maps)
        )
    ]
