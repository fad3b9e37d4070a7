"""Which way an image lies and whether its grey values are inverted: read from a member's features, and undone.

A linear head tells five poses apart: upright, turned by one, two or three quarter turns counter-clockwise, inverted. It
learns from the archive's own images, turned and inverted on purpose (Gidaris et al., arXiv 1803.07728, predict
rotations so). Where it is not sure that an image is upright, the image is looked at in all four turns, and the answer
is the mean over turns, each weighted by how probable it is. An inverted image has to be cleaned again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TURNS = 4
INVERTED = 4
"""Number of the pose whose grey values are inverted; 0 to 3 are quarter turns."""
POSES = 5
PRIOR = (0.85, 0.0375, 0.0375, 0.0375, 0.0375)
"""How often each pose is expected before an image was seen."""
SURE = 0.97
"""An image at least this probably upright is not turned for a closer look."""
SUSPECT = 0.05
"""An image at least this probably inverted is cleaned a second time, inverted."""


@dataclass(kw_only=True)
class Pose:
    """The head, on one member's standardised features."""

    method: str
    """Whose features."""
    weight: Tensor
    """Float32[5, d]."""
    bias: Tensor
    """Float32[5]."""
    temperature: float
    """Divides the logits."""
    turn_temperature: float = 1.0
    """Divides the evidence of four looks at one image."""

    def log_likelihood(self, standardised: Tensor) -> Tensor:
        """Float32[n, d] to Float32[n, 5]: log-probabilities if every pose were equally frequent."""
        return torch.log_softmax((standardised @ self.weight.T + self.bias) / self.temperature, dim=1)

    def to(self, device: torch.device) -> None:
        """Move the tensors."""
        self.weight, self.bias = self.weight.to(device), self.bias.to(device)


def posterior(log_likelihood: Tensor) -> Tensor:
    """Probabilities of the poses under `PRIOR`: Float[n, 5] (or [n, 4], turns alone) to the same."""
    prior = torch.tensor(PRIOR[: log_likelihood.shape[1]], device=log_likelihood.device)
    return torch.softmax(log_likelihood + prior.log(), dim=1)


def turn_back(images: Tensor, turn: int) -> Tensor:
    """Undo `turn` quarter turns counter-clockwise: [n, side, side] to the same."""
    return torch.rot90(images, -turn, (1, 2))


def turn_evidence(looks: Tensor) -> Tensor:
    """What four looks at one image say together about its turn.

    Args:
        looks: Float[4, n, 5]: log-likelihoods of the image after `turn_back(…, 0)` to `turn_back(…, 3)`.

    Returns:
        Float[n, 4], logits.
    """
    return torch.stack([looks[back, :, :TURNS].roll(back, dims=1) for back in range(TURNS)]).sum(dim=0)


def is_inverted(first: float, second: float) -> bool:
    """Whether the image cleaned as inverted is the right one.

    Args:
        first: Probability that the image is inverted, read from the image as it came.
        second: The same, read from the image cleaned as inverted.
    """
    prior = PRIOR[INVERTED] / (1 - PRIOR[INVERTED])
    # If the image is inverted, its inverse is upright: both looks are evidence, each against the same prior.
    return first >= SUSPECT and _odds(first) * prior > _odds(second)


def _odds(probability: float) -> float:
    return probability / max(1 - probability, 1e-9)
