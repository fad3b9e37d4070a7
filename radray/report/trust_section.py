"""How far to trust a confidence: reliability and risk over coverage of the ensemble."""

from __future__ import annotations

import numpy as np

from radray.report.page import Block, Section
from radray.report.sources import Sources
from radray.report.trust_figures import draw_reliability, draw_risk_coverage, reliability_bins, risk_coverage

FEWEST = 20
"""Test images below which neither figure says anything."""


def trust_section(sources: Sources) -> Section:
    """Two figures side by side, from the ensemble's test predictions."""
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
    return section
