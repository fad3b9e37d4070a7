"""From fitted heads to the bundle: neighbour banks, the outlier scale, and the thresholds of abstention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from radray.cleaning.config import CleaningConfig
from radray.ensemble import Bundle, Member, Predictions
from radray.ensemble.outlier import neighbour_distance
from radray.ensemble.pose import turn_back
from radray.images.reading import load_pictures
from radray.images.split import TRAIN, VALIDATION
from radray.probe.cohort import Cohort
from radray.probe.config import ProbeConfig
from radray.probe.heads import Embedded, FittedHead
from radray.probe.members import FullFit, label_free
from radray.probe.operating import coverage_threshold, risk_thresholds
from radray.probe.posing import embed_here, fit_pose
from radray.regions import RegionSet

_FAR = 0.99
"""Validation images beyond this out-of-domain score are abstained from whatever their confidence."""


def build_bundle(
    cohort: Cohort,
    embedded: Sequence[Embedded],
    fit: FullFit,
    config: ProbeConfig,
    regions: RegionSet,
    cleaning: CleaningConfig,
) -> Bundle:
    """The bundle, without metrics, not saved."""
    validation = cohort.rows(VALIDATION, labelled=False)
    heaviest = max(label_free(embedded), key=lambda each: float(fit.mixture.shares[list(fit.heads).index(each.method)]))
    members = [
        _member(each, fit.heads[each.method], float(share), cohort.rows(TRAIN, labelled=False), validation, config)
        for each, share in zip(embedded, fit.mixture.shares, strict=True)
    ]
    bundle = Bundle(
        regions=regions,
        cleaning=cleaning,
        members=members,
        temperature=fit.mixture.temperature,
        ood_reference=torch.zeros(1),
        confidence_thresholds=(0.0,) * len(regions),
        ood_threshold=1.0,
        pose=fit_pose(cohort, heaviest, cleaning, config) if config.pose else None,
        views=config.views,
    )
    percentiles = torch.stack(
        [member.outlier_percentile(each.features[validation]) for member, each in zip(members, embedded, strict=True)]
    )
    bundle.ood_reference = percentiles.mean(dim=0).sort().values
    found = predict_rows(bundle, embedded, validation, cohort, config)
    bundle.ood_threshold = max(_FAR, config.coverage)
    if config.risk is None:
        threshold = coverage_threshold(found, bundle.ood_threshold, config.coverage)
        bundle.confidence_thresholds = (threshold,) * len(regions)
    else:
        labels = cohort.labels[validation].numpy()
        bundle.confidence_thresholds = risk_thresholds(found, labels, config.risk, bundle.ood_threshold)
    return bundle


def predict_rows(
    bundle: Bundle, embedded: Sequence[Embedded], rows: Tensor, cohort: Cohort, config: ProbeConfig
) -> Predictions:
    """What the bundle says about some images (indices), whose features are there already."""
    pictures: dict[int, npt.NDArray[np.uint8]] = {}

    def turned(some: Tensor, turn: int) -> list[Tensor]:
        keys = cohort.row_ids[rows[some].numpy()].tolist()
        if not pictures:  # One scan of the table for all turns: they are asked about the same images.
            pictures.update(load_pictures(config.images, keys))
        pixels = turn_back(torch.from_numpy(np.stack([pictures[key] for key in keys])), turn)
        return [embed_here(member.backbone, pixels, bundle.views, config.batch) for member in bundle.members]

    return bundle.combine(bundle.look([each.raw[rows] for each in embedded], turned))


def describe(
    cohort: Cohort,
    fit: FullFit,
    config: ProbeConfig,
    metrics: Mapping[str, dict[str, float]],
    data_digest: str,
    began_with: Mapping[str, str | None],
) -> dict[str, Any]:
    """The facts that go into bundle.json and the model card.

    Args:
        cohort: Labels.
        fit: Heads and mixture.
        config: Settings.
        metrics: Method → figure → value, on the test split.
        data_digest: Of the images table.
        began_with: Method → digest of the weights that its network began with; None for random ones.
    """
    counts = torch.bincount(cohort.labels[fit.training], minlength=len(cohort.names)).tolist()
    return {
        "coverage": config.coverage,
        "risk": config.risk,
        "images": {split: len(cohort.rows(split)) for split in ("train", "validation", "test")},
        "training_images": dict(zip(cohort.names, counts, strict=True)),
        "training_labels_left_out": len(fit.left_out),
        "wrong_labels_assumed": round(fit.mixture.wrong_labels, 4),
        "began_with": dict(began_with),
        "balance": config.balance,
        "l2": {method: head.l2 for method, head in fit.probes.items()},
        "own_heads": [method for method, head in fit.heads.items() if head.own],
        "metrics": dict(metrics),
        "data_digest": data_digest,
        "seed": config.seed,
    }


def _member(
    each: Embedded, head: FittedHead, share: float, training: Tensor, validation: Tensor, config: ProbeConfig
) -> Member:
    generator = torch.Generator().manual_seed(config.seed)
    chosen = training[torch.randperm(len(training), generator=generator)[: config.bank_images]]
    # Kept as float16 in the folder: rounded here, so that a loaded bundle gives the same scores.
    bank = torch.nn.functional.normalize(each.features[chosen], dim=1).half().float()
    points = torch.nn.functional.normalize(each.features[validation], dim=1)
    return Member(
        method=each.method,
        backbone=each.run.backbone,
        mean=each.mean,
        scale=each.scale,
        weight=head.weight,
        bias=head.bias,
        own_head=head.own,
        bank=bank,
        distances=neighbour_distance(points, bank).sort().values,
        temperature=head.temperature,
        share=share,
        run_digest=each.run.digest,
    )
