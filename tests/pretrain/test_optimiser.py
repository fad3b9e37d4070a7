"""Which weights are decayed and scaled, and the learning rate over a run."""

from __future__ import annotations

import dataclasses

import torch
from lightly.utils.lars import LARS

from radray.pretrain.backbone import Backbone
from radray.pretrain.optimiser import build_optimiser, learning_rate
from radray.pretrain.recipes import cpu_demo


def test_only_matrices_and_kernels_are_decayed() -> None:
    backbone = Backbone("resnet10", 32)
    transformer = Backbone("vit_s", 32)
    free = build_optimiser(transformer, cpu_demo()).param_groups[1]["params"]
    names = {name for name, value in transformer.named_parameters() if any(value is each for each in free)}
    assert {"network.class_token", "network.encoder.pos_embedding"} <= names
    assert not any("mlp.0.weight" in name for name in names)
    for name, kind in (("adamw", torch.optim.AdamW), ("lars", LARS)):
        optimiser = build_optimiser(backbone, dataclasses.replace(cpu_demo(), optimiser=name))  # type: ignore[arg-type]
        assert isinstance(optimiser, kind)
        decayed, free = optimiser.param_groups
        assert decayed["weight_decay"] > 0 == free["weight_decay"]
        assert {value.ndim for value in decayed["params"]} == {4} and {value.ndim for value in free["params"]} == {1}
        assert len(decayed["params"]) + len(free["params"]) == len(list(backbone.parameters()))


def test_lars_moves_a_layer_by_a_share_of_its_weights_whatever_its_gradient() -> None:
    recipe = dataclasses.replace(cpu_demo(), optimiser="lars", learning_rate=1.0, weight_decay=1e-6)
    for scale in (1e-3, 1e3):
        layer = torch.nn.Linear(8, 8, bias=False)
        before = layer.weight.detach().clone()
        optimiser = build_optimiser(layer, recipe)
        layer.weight.grad = torch.randn(8, 8) * scale
        optimiser.step()
        moved = (layer.weight.detach() - before).norm() / before.norm()
        assert abs(float(moved) - 1e-3) < 1e-5  # the trust coefficient


def test_the_rate_depends_on_position_alone() -> None:
    recipe = cpu_demo()
    coarse = [learning_rate(position, 6400, 64, recipe) for position in range(640, 6400, 64)]
    fine = [learning_rate(position, 6400, 32, recipe) for position in range(640, 6400, 64)]
    assert coarse == fine and max(coarse) == recipe.learning_rate and coarse[-1] < 0.01 * recipe.learning_rate
