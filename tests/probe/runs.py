"""Run folders with random weights."""

from __future__ import annotations

import torch

from radray.pretrain.backbone import Backbone
from radray.pretrain.run import save_run
from radray.regions import load_regions
from tests.probe.drawn_images import SIDE


def write_run(url: str, method: str, *, seed: int, budget: str = "none", side_px: int = SIDE) -> None:
    """A run folder with random weights, and a random head where it saw labels."""
    torch.manual_seed(seed)
    backbone = Backbone("resnet10", side_px)
    names = load_regions("skeletal14").names
    head = None
    if budget != "none":
        head = {"weight": torch.randn(len(names), backbone.dimension), "bias": torch.zeros(len(names))}
    document = {"method": method, "seed": seed, "regions": names, "budget": budget}
    save_run(url, backbone, head, document)
