"""Losses against slow twins, and on two ranks against the joined batch."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed
import torch.multiprocessing as multiprocessing
from torch import Tensor, nn

from radray.pretrain.backbone import Backbone
from radray.pretrain.batch_norm import SyncedBatchNorm, synchronise_batch_norm
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
    loss = float(method(views, LABELS[:4]))
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
    assert float(method([images], LABELS).detach()) == pytest.approx(float(expected.detach()), rel=1e-4)


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


def build_whole(name: str) -> Method:
    """As it is trained: a real backbone, batch normalisation everywhere."""
    torch.manual_seed(3)
    backbone = Backbone("resnet10", 16)
    builders = {"simclr": SimCLR, "byol": BYOL, "supcon": SupCon, "supervised": lambda net: Supervised(net, 3)}
    return builders[name](backbone)


def whole_batch(views: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(9)
    return [torch.rand(8, 1, 16, 16, generator=generator) for _ in range(views)]


NAMES = ("simclr", "byol", "supcon", "supervised")
Found = dict[str, tuple[Tensor, dict[str, Tensor]]]


def gradients(method: Method) -> dict[str, Tensor]:
    return {name: value.grad for name, value in method.named_parameters() if value.grad is not None}


def buffers(method: Method) -> dict[str, Tensor]:
    # Lightly's loss keeps a pointer into a memory bank of size 0, never set.
    return {name: value.clone() for name, value in method.named_buffers() if not name.startswith("criterion.")}


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    found: Found = {}
    whole: dict[str, Any] = {}
    for name in NAMES:
        for builder, images in ((build, batch), (build_whole, whole_batch)):
            method = builder(name)
            synced = synchronise_batch_norm(method, torch.device("cpu")) if builder is build_whole else method
            network = nn.parallel.DistributedDataParallel(synced, find_unused_parameters=True)
            views = [view[rank * 4 : rank * 4 + 4] for view in images(method.views)]
            loss = network(views, LABELS[rank * 4 : rank * 4 + 4])
            loss.backward()
            torch.distributed.all_reduce(loss.detach_())
            if builder is build:
                found[name] = (loss / 2, gradients(method))
            else:
                whole[name] = (loss / 2, gradients(method), buffers(method))
    if rank == 0:
        torch.save((found, whole), f"{folder}/found.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(_rank, args=(str(folder),), nprocs=2)  # type: ignore[no-untyped-call]
    return torch.load(folder / "found.pt")  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", NAMES)
def test_two_ranks_equal_the_joined_batch(name: str, two_ranks: tuple[Found, dict[str, Any]]) -> None:
    loss, found = two_ranks[0][name]
    method = build(name)
    joined = method(batch(method.views), LABELS)
    joined.backward()
    assert torch.allclose(loss, joined.detach(), atol=1e-5)
    expected = gradients(method)
    assert found.keys() == expected.keys() and len(found) > 2
    assert all(torch.allclose(found[part], expected[part], atol=1e-5) for part in expected)


@pytest.mark.parametrize("name", NAMES)
def test_two_ranks_equal_the_joined_batch_with_batch_normalisation(
    name: str, two_ranks: tuple[Found, dict[str, Any]]
) -> None:
    loss, found, moved = two_ranks[1][name]
    method = build_whole(name)
    joined = method(whole_batch(method.views), LABELS)
    joined.backward()
    assert torch.allclose(loss, joined.detach(), atol=1e-5)
    expected = gradients(method)
    assert found.keys() == expected.keys()
    for part, value in expected.items():
        assert torch.allclose(found[part], value, atol=1e-5, rtol=1e-3), part
    for part, value in buffers(method).items():
        assert torch.allclose(moved[part].double(), value.double(), atol=1e-5), part


def test_normalisation_over_one_rank_is_the_usual_one() -> None:
    features = torch.rand(6, 3, 5, 5)
    usual = nn.Sequential(nn.BatchNorm2d(3))
    synced = synchronise_batch_norm(copy.deepcopy(usual), torch.device("cpu"))
    assert isinstance(synced[0], SyncedBatchNorm)  # type: ignore[index]
    assert torch.equal(usual(features), synced(features))
    assert usual.state_dict().keys() == synced.state_dict().keys()


def test_label_smoothing_shares_weight_and_ignores_images_without_label() -> None:
    method = Supervised(Backbone("resnet10", 32), 3, smoothing=0.3).eval()
    views, labels = [torch.rand(4, 1, 32, 32)], torch.tensor([0, 2, UNLABELLED, 1])
    with torch.no_grad():
        log_p = torch.log_softmax(method.classifier(method.backbone(views[0])), dim=1)
        wanted = 0.7 * torch.nn.functional.one_hot(labels.clamp_min(0), 3) + 0.1
        expected = -(wanted * log_p).sum(dim=1)[labels >= 0].mean()
        assert torch.allclose(method(views, labels), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["simclr", "byol", "supcon"])
def test_losses_keep_full_precision_where_networks_do_not(name: str) -> None:
    method = build(name)
    for part in ("backbone", "target_backbone", "projection", "target_projection", "prediction"):
        if hasattr(method, part):
            setattr(method, part, nn.Identity())
    projections = [torch.randn(8, 128), torch.randn(8, 128)]
    with torch.no_grad():
        whole = method(projections, LABELS)
        with torch.autocast("cpu", torch.bfloat16):
            half = method(projections, LABELS)
    assert half.dtype == torch.float32 and torch.equal(half, whole)
