"""Losses against slow twins, and on two ranks against the joined batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
import torch.multiprocessing as multiprocessing
from torch import Tensor, nn

from radray.pretrain.backbone import Backbone
from radray.pretrain.byol import BYOL
from radray.pretrain.method import UNLABELLED, Method
from radray.pretrain.simclr import SimCLR
from radray.pretrain.supcon import SupCon, supervised_contrastive_loss
from radray.pretrain.supervised import Supervised

LABELS = torch.tensor([0, 1, 0, UNLABELLED, 2, 1, UNLABELLED, 0])


def slow_contrastive(first: Tensor, second: Tensor, positives: Callable[[int, int], bool], temperature: float) -> float:
    rows = [row / row.norm() for row in torch.cat([first, second])]
    total = 0.0
    for i, anchor in enumerate(rows):
        others = [j for j in range(len(rows)) if j != i]
        denominator = sum(math.exp(float(anchor @ rows[j]) / temperature) for j in others)
        wanted = [j for j in others if positives(i, j)]
        shares = [float(anchor @ rows[j]) / temperature - math.log(denominator) for j in wanted]
        total -= sum(shares) / len(shares)
    return total / len(rows)


def projections(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, 5, generator=generator), torch.randn(8, 5, generator=generator)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_supcon_matches_its_slow_twin(temperature: float) -> None:
    first, second = projections()

    def positive(i: int, j: int) -> bool:
        same_image = i % 8 == j % 8
        return same_image or bool(LABELS[i % 8] == LABELS[j % 8] != UNLABELLED)

    expected = slow_contrastive(first, second, positive, temperature)
    assert float(supervised_contrastive_loss(first, second, LABELS, temperature)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_simclr_and_unlabelled_supcon_are_nt_xent(temperature: float) -> None:
    first, second = projections(1)
    expected = slow_contrastive(first, second, lambda i, j: i % 8 == j % 8, temperature)
    nobody = torch.full((8,), UNLABELLED)
    assert float(supervised_contrastive_loss(first, second, nobody, temperature)) == pytest.approx(expected, rel=1e-5)
    method = SimCLR(Backbone("resnet10", 32), temperature)
    assert float(method.criterion(first, second)) == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
def test_byol_matches_its_slow_twin() -> None:
    torch.manual_seed(0)
    method = BYOL(Backbone("resnet10", 32)).eval()
    views = [torch.rand(4, 1, 32, 32), torch.rand(4, 1, 32, 32)]
    loss = float(method(views, LABELS[:4], 0.0))
    expected = 0.0
    for online, target in ((0, 1), (1, 0)):
        for number in range(4):
            predicted = method.prediction(method.projection(method.backbone(views[online][number : number + 1])))[0]
            wanted = method.target_projection(method.target_backbone(views[target][number : number + 1]))[0]
            expected -= float(predicted @ wanted / predicted.norm() / wanted.norm()) / 8
    assert loss == pytest.approx(expected, abs=1e-4)


def test_byol_target_follows_slowly() -> None:
    method = BYOL(Backbone("resnet10", 32), base_momentum=0.9)
    before = method.target_backbone.network.stem[1].weight.clone()  # type: ignore[operator, union-attr]
    with torch.no_grad():
        method.backbone.network.stem[1].weight.add_(1.0)  # type: ignore[operator, union-attr]
    method.after_step(0.0)
    after = method.target_backbone.network.stem[1].weight  # type: ignore[union-attr]
    assert torch.allclose(after, before + 0.1, atol=1e-5)  # type: ignore[operator, arg-type]
    method.after_step(1.0)
    assert torch.allclose(method.target_backbone.network.stem[1].weight, after)  # type: ignore[union-attr, arg-type]


def test_supervised_ignores_images_without_label() -> None:
    torch.manual_seed(0)
    method = Supervised(Backbone("resnet10", 32), 3).eval()
    images = torch.rand(8, 1, 32, 32)
    known = UNLABELLED != LABELS
    logits = method.classifier(method.backbone(images[known]))
    expected = nn.functional.cross_entropy(logits, LABELS[known])
    assert float(method([images], LABELS, 0.0).detach()) == pytest.approx(float(expected.detach()), rel=1e-4)


class Linear(nn.Module):
    """A backbone without batch statistics, so that a batch may be cut without changing its features."""

    dimension = 6

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 6)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1))  # type: ignore[no-any-return]


def build(name: str) -> Method:
    torch.manual_seed(3)
    backbone: Any = Linear()
    builders = {"simclr": SimCLR, "byol": BYOL, "supcon": SupCon, "supervised": lambda net: Supervised(net, 3)}
    method = builders[name](backbone)
    # Batch normalisation in the heads sees each rank's part only; in evaluation mode it does not depend on the batch.
    return method.eval()


def batch(views: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(9)
    return [torch.rand(8, 1, 4, 4, generator=generator) for _ in range(views)]


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    found = {}
    for name in ("simclr", "byol", "supcon", "supervised"):
        method = build(name)
        network = nn.parallel.DistributedDataParallel(method, find_unused_parameters=True)
        views = [view[rank * 4 : rank * 4 + 4] for view in batch(method.views)]
        loss = network(views, LABELS[rank * 4 : rank * 4 + 4], 0.0)
        loss.backward()
        torch.distributed.all_reduce(loss.detach_())
        gradient = method.backbone.layer.weight.grad  # type: ignore[union-attr]
        found[name] = (loss / 2, gradient)
    if rank == 0:
        torch.save(found, f"{folder}/found.pt")
    torch.distributed.destroy_process_group()


def test_two_ranks_equal_the_joined_batch(tmp_path: Path) -> None:
    multiprocessing.spawn(_rank, args=(str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    found = torch.load(tmp_path / "found.pt")
    for name, (loss, gradient) in found.items():
        method = build(name)
        joined = method(batch(method.views), LABELS, 0.0)
        joined.backward()
        assert torch.allclose(loss, joined.detach(), atol=1e-5), name
        assert torch.allclose(gradient, method.backbone.layer.weight.grad, atol=1e-5), name  # type: ignore[union-attr, arg-type]


def test_label_smoothing_shares_weight_and_ignores_images_without_label() -> None:
    method = Supervised(Backbone("resnet10", 32), 3, smoothing=0.3).eval()
    views, labels = [torch.rand(4, 1, 32, 32)], torch.tensor([0, 2, UNLABELLED, 1])
    with torch.no_grad():
        log_p = torch.log_softmax(method.classifier(method.backbone(views[0])), dim=1)
        wanted = 0.7 * torch.nn.functional.one_hot(labels.clamp_min(0), 3) + 0.1
        expected = -(wanted * log_p).sum(dim=1)[labels >= 0].mean()
        assert torch.allclose(method(views, labels, 0.0), expected, atol=1e-5)
