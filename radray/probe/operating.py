"""Operating points: from which confidence on the bundle answers, for a share of images or for a share of errors."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from radray.ensemble import Predictions

FEWEST = 20
"""Validation images named as a region below which the region takes the threshold of all regions together."""
EXPECTED_ERRORS = 3
"""So many errors must be allowed among a region's validation images for them to say anything about the risk."""


def coverage_threshold(found: Predictions, ood_threshold: float, coverage: float) -> float:
    """The largest threshold that still answers the share `coverage` of the images (those too far out are not)."""
    near = torch.from_numpy(found.confidence)[torch.from_numpy(found.ood_score) <= ood_threshold].sort().values
    answered = math.ceil(coverage * len(found))
    return float(near[max(0, len(near) - answered)]) if len(near) else 0.0


def risk_thresholds(
    found: Predictions, labels: npt.NDArray[np.int64], risk: float, ood_threshold: float = 1.0
) -> tuple[float, ...]:
    """For each region the smallest threshold above which at most the share `risk` of the answers is wrong.

    Geifman and El-Yaniv, arXiv 1705.08500, by region. One error is added to those counted, for a threshold chosen on
    the images it is judged by looks better than it is. A region with too few images to tell takes the threshold of all
    regions together. Wrong labels count as errors: the risk is that of disagreeing with the labels.

    Args:
        found: What the ensemble says about n images.
        labels: Int64[n], −1 without label (not counted).
        risk: Share of wrong answers allowed, 0 to 1.
        ood_threshold: Images beyond it are not answered, and not counted.
    """
    judged = (labels >= 0) & (found.ood_score <= ood_threshold)
    confidence, region = found.confidence[judged].astype(np.float64), found.region[judged]
    wrong = region != labels[judged]
    everyone = _threshold(confidence, wrong, risk)
    fewest = max(FEWEST, math.ceil(EXPECTED_ERRORS / risk))
    thresholds = []
    for number in range(found.probabilities.shape[1]):
        own = region == number
        thresholds.append(_threshold(confidence[own], wrong[own], risk) if own.sum() >= fewest else everyone)
    return tuple(thresholds)


def _threshold(confidence: npt.NDArray[np.float64], wrong: npt.NDArray[np.bool_], risk: float) -> float:
    """0 where all may be answered, above 1 where none may."""
    order = np.argsort(-confidence, kind="stable")
    answered = np.arange(1, len(order) + 1)
    allowed = np.flatnonzero(np.cumsum(wrong[order]) + 1 <= risk * answered)
    if not len(allowed):
        return 1.01
    last = int(allowed[-1])
    return 0.0 if last == len(order) - 1 else float(confidence[order[last]])
