"""Few labels spread along the shape of the data."""

import torch
from torch import Tensor

from radray.probe.spreading import similarity_graph, spread_labels


def _two_moons(each: int) -> tuple[Tensor, Tensor]:
    """Two interleaved half circles, [2 · each, 2], and the half circle of each point."""
    generator = torch.Generator().manual_seed(0)
    angle = torch.rand(2 * each, generator=generator) * torch.pi
    noise = 0.04 * torch.randn(2 * each, 2, generator=generator)
    upper = torch.stack([angle.cos(), angle.sin()], dim=1)
    lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], dim=1)
    moon = torch.arange(2 * each) % 2
    return torch.where(moon[:, None] == 0, upper, lower) + noise, moon


def _wide(points: Tensor) -> Tensor:
    """Random Fourier features, Float32[n, 200]: a space in which the angle tells near from far."""
    generator = torch.Generator().manual_seed(1)
    return (points @ (4 * torch.randn(2, 200, generator=generator)) + 6.3 * torch.rand(200, generator=generator)).cos()


def test_one_label_a_class_reaches_its_whole_neighbourhood() -> None:
    points, moon = _two_moons(200)
    known = torch.tensor([int((moon == side).nonzero()[0, 0]) for side in (0, 1)])
    spread = spread_labels(similarity_graph(_wide(points)), moon, known)
    nearest = moon[known][torch.cdist(points, points[known]).argmin(dim=1)]
    assert (spread == moon).float().mean() > 0.97
    assert (nearest == moon).float().mean() < 0.9, "the task must not be solvable by distance alone"


def test_labels_that_are_not_known_play_no_part() -> None:
    points, moon = _two_moons(60)
    graph, known = similarity_graph(_wide(points)), torch.tensor([0, 1])
    hidden = torch.where(torch.arange(len(moon)) < 2, moon, 7)
    assert torch.equal(spread_labels(graph, moon, known), spread_labels(graph, hidden, known))


def test_known_labels_stay() -> None:
    points, moon = _two_moons(60)
    known = torch.arange(0, 120, 3)
    wrong = moon.clone()
    wrong[0] = 1 - moon[0]
    assert torch.equal(spread_labels(similarity_graph(_wide(points)), wrong, known)[known], wrong[known])


def test_images_that_no_label_reaches_get_none() -> None:
    near, far = torch.randn(30, 8) * 0.01 + torch.eye(8)[0], torch.randn(30, 8) * 0.01 + torch.eye(8)[3]
    spread = spread_labels(similarity_graph(torch.cat([near, far])), torch.full((60,), 4), torch.tensor([2]))
    assert (spread[:30] == 4).all()
    assert (spread[30:] == -1).all()
