"""The pose head, fitted on images of which every part tells which way is up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from radray import storage
from radray.ensemble.pose import POSES, TURNS, turn_evidence
from radray.images.reading import load_cleaning, load_images
from radray.pretrain.run import load_run
from radray.probe.cohort import read_cohort
from radray.probe.config import ProbeConfig
from radray.probe.heads import standardise
from radray.probe.posing import embed_here, fit_pose
from radray.regions import load_regions
from tests.probe.drawn_images import SIDE, write_images
from tests.probe.runs import write_run


def waves(rng: np.random.Generator) -> np.ndarray:
    """Stripes that rise slowly and fall at once, from top to bottom."""
    rise = ((np.arange(SIDE) + rng.integers(0, 8)) % 8 / 7) ** 3 * 200
    return np.clip(rise[:, None] + rng.normal(20, 6, (SIDE, SIDE)), 0, 255).astype(np.uint8)


def test_turns_are_told_and_four_looks_agree(tmp_path: Path) -> None:
    write_images(str(tmp_path / "images"))
    table = storage.read_table(str(tmp_path / "images"))
    rng = np.random.default_rng(0)
    place = table.schema.get_field_index("image")
    striped = table.set_column(place, table.schema.field(place), [[waves(rng).tobytes() for _ in range(len(table))]])
    storage.write_table(str(tmp_path / "images" / "part-0.parquet"), striped)
    write_run(str(tmp_path / "runs" / "simclr"), "simclr", seed=0)
    config = ProbeConfig(
        images=str(tmp_path / "images"), runs=(str(tmp_path / "runs"),), output=str(tmp_path / "o"), views=("identity",)
    )
    cohort = read_cohort(config, load_regions("skeletal14"))
    run = load_run(str(tmp_path / "runs" / "simclr"))
    images = torch.from_numpy(load_images(config.images).images)
    raw = embed_here(run.backbone, images, config.views, config.batch)
    each = standardise("simclr", run, raw, torch.arange(len(cohort)))
    pose = fit_pose(cohort, each, load_cleaning(config.images), config)
    assert pose.weight.shape[0] == POSES and pose.method == "simclr"

    fresh = np.stack([waves(rng) for _ in range(30)])
    looks = []
    for turn in range(TURNS):
        turned = torch.from_numpy(np.rot90(fresh, turn, (1, 2)).copy())
        looks.append(pose.log_likelihood(each.standardise(embed_here(run.backbone, turned, config.views, 8))))
        assert (looks[turn][:, :TURNS].argmax(dim=1) == turn).float().mean() >= 0.9
    for turn in range(TURNS):
        backwards = torch.stack([looks[(turn - back) % TURNS] for back in range(TURNS)])
        assert (turn_evidence(backwards).argmax(dim=1) == turn).float().mean() >= 0.9
