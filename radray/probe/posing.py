"""Fitting the head that tells turned and inverted images, on images of the archive turned and inverted on purpose."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from radray.cleaning.composition import clean
from radray.cleaning.config import CleaningConfig
from radray.ensemble.features import embed, fold_batch_norm
from radray.ensemble.pose import POSES, TURNS, Pose, turn_evidence
from radray.errors import ObjectError
from radray.images.reading import load_pictures
from radray.images.split import TRAIN, VALIDATION
from radray.pretrain.backbone import Backbone
from radray.probe.calibration import fit_temperature
from radray.probe.cohort import Cohort
from radray.probe.config import ProbeConfig
from radray.probe.heads import Embedded
from radray.probe.logistic import fit_heads

IMAGES = {TRAIN: 1200, VALIDATION: 300}
"""Most images of a split, drawn at random."""
L2 = 1e-3
Pixels = npt.NDArray[np.uint8]


def fit_pose(cohort: Cohort, each: Embedded, cleaning: CleaningConfig, config: ProbeConfig) -> Pose:
    """The head on one method's features; its temperature is fitted on validation images.

    Args:
        cohort: Which images there are.
        each: The method.
        cleaning: How images were cleaned.
        config: Gives images, views, batch and seed.
    """
    features, poses = {}, {}
    for split, most in IMAGES.items():
        rows = cohort.rows(split, labelled=False).numpy()
        chosen = np.random.default_rng([config.seed, most]).permutation(rows)[:most]
        pictures = load_pictures(config.images, cohort.row_ids[chosen].tolist())
        images = np.stack([pictures[key] for key in sorted(pictures)])
        posed = [np.rot90(images, turn, (1, 2)) for turn in range(TURNS)]
        posed.append(np.stack([invert(image, cleaning) for image in images]))
        features[split] = torch.cat(
            [
                each.standardise(
                    embed_here(each.run.backbone, torch.from_numpy(some.copy()), config.views, config.batch)
                )
                for some in posed
            ]
        )
        poses[split] = torch.arange(POSES).repeat_interleave(len(images))
    known = poses[TRAIN]
    head = fit_heads(features[TRAIN], known, torch.ones(1, len(known)), torch.tensor([L2]), POSES)
    logits = head.logits(features[VALIDATION])[0]
    pose = Pose(
        method=each.method,
        weight=head.weight[0],
        bias=head.bias[0],
        temperature=fit_temperature(logits, poses[VALIDATION]),
    )
    # An image turned by t and then turned back by b quarter turns is the image turned by t − b.
    turns = pose.log_likelihood(features[VALIDATION]).view(POSES, -1, POSES)[:TURNS]
    evidence = torch.cat([turn_evidence(turns.flip(0).roll(turn + 1, dims=0)) for turn in range(TURNS)])
    pose.turn_temperature = fit_temperature(evidence, torch.arange(TURNS).repeat_interleave(turns.shape[1]))
    return pose


def invert(image: Pixels, cleaning: CleaningConfig) -> Pixels:
    """What becomes of a cleaned image whose grey values are inverted: cleaned once more, as an object would be.

    Args:
        image: UInt8[side, side].
        cleaning: Of the archive.
    """
    again = dataclasses.replace(cleaning, working_px=max(64, cleaning.side_px))
    try:
        return clean(1 - image.astype(np.float32) / np.float32(255), again).image
    except ObjectError:
        return 255 - image


def embed_here(backbone: Backbone, images: Tensor, views: tuple[str, ...], batch: int) -> Tensor:
    """Features of some images, computed in this process, on its GPU where there is one.

    Args:
        backbone: On the CPU.
        images: UInt8[n, side, side].
        views: See `radray.ensemble.views`.
        batch: Images computed together.

    Returns:
        Float32[n, d], rounded as stored features are.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    folded = fold_batch_norm(backbone).to(device)
    parts = [
        embed(folded, images[start : start + batch].contiguous().to(device), views).half().float().cpu()
        for start in range(0, len(images), batch)
    ]
    return torch.cat(parts)
