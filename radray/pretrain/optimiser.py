"""Optimisers and the learning rate over a run."""

from __future__ import annotations

import math

import torch
from lightly.utils.lars import LARS
from torch import nn

from radray.pretrain.recipes import Recipe


def build_optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, or LARS for large batches; only matrices and kernels are decayed (no bias, norm, scale or embedding).

    LARS (You et al., arXiv 1708.03888) with momentum 0.9; it scales no layer whose weights are not decayed.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, value in network.named_parameters():
        if value.requires_grad:
            (decayed if value.ndim > 1 and name.endswith("weight") else free).append(value)
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": free, "weight_decay": 0.0}]
    if recipe.optimiser == "lars":
        lars: torch.optim.Optimizer = LARS(groups, lr=recipe.learning_rate, momentum=0.9)
        return lars
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def learning_rate(position: int, end: int, batch: int, recipe: Recipe) -> float:
    """Linear warm-up from 0, then half a cosine down to 0.

    Args:
        position: Samples consumed before this step.
        end: Samples of the whole run.
        batch: Samples of a step.
        recipe: Peak rate and share of warm-up.
    """
    warm = max(batch, int(recipe.warmup * end))
    if position < warm:
        return recipe.learning_rate * min(1.0, (position + batch) / warm)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (position - warm) / max(1, end - warm)))
