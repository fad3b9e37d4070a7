"""Batch normalisation over the global batch, so that a batch shared among ranks is normalised as if it were whole.

Otherwise a contrastive method may tell which images came on the same rank by their statistics (He et al., arXiv
1911.05722, section 3.3), and what is learned depends on the number of ranks.
"""

from __future__ import annotations

from typing import Any

import torch
from lightly.utils import dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _SumOverRanks(torch.autograd.Function):
    """The sum over all ranks; every rank's result depends on every rank's input, so gradients are summed too."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        torch.distributed.all_reduce(total)
        return total


def _sum_over_ranks(values: Tensor) -> Tensor:
    total: Tensor = _SumOverRanks.apply(values)
    return total


class SyncedBatchNorm(_BatchNorm):
    """`torch.nn.SyncBatchNorm` for CPUs, which torch's own refuses: mean and variance over all ranks.

    Every rank gives as many images.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Float[batch, channels, …], normalised; running statistics are moved while training."""
        if not self.training or dist.world_size() == 1:
            return super().forward(features)
        values = features.to(torch.promote_types(features.dtype, torch.float32))
        others = [axis for axis in range(values.ndim) if axis != 1]
        shape = [1, -1] + [1] * (values.ndim - 2)
        count = values.numel() // values.shape[1] * dist.world_size()
        mean = _sum_over_ranks(values.sum(others)) / count
        centred = values - mean.view(shape)
        variance = _sum_over_ranks(centred.square().sum(others)) / count
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked += 1
                self.running_mean.lerp_(mean, self.momentum or 0.1)
                self.running_var.lerp_(variance * (count / max(1, count - 1)), self.momentum or 0.1)
        scaled = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            scaled = scaled * self.weight.view(shape) + self.bias.view(shape)
        normalised: Tensor = scaled.to(features.dtype)
        return normalised

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 (torch's own name)
        if input.ndim < 2:
            raise ValueError(f"{input.ndim} axes where batch and channels are wanted")


def synchronise_batch_norm(module: nn.Module, device: torch.device) -> nn.Module:
    """Replace every batch normalisation of `module` (in place) by one over all ranks; weights and names stay.

    Args:
        module: Network to train.
        device: Where it is trained: GPUs use torch's own.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call, no-any-return]
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm) and not isinstance(child, SyncedBatchNorm):
            synced = SyncedBatchNorm(child.num_features, child.eps, child.momentum, child.affine)
            synced.weight, synced.bias = child.weight, child.bias
            synced.running_mean, synced.running_var = child.running_mean, child.running_var
            synced.num_batches_tracked = child.num_batches_tracked
            synced.train(child.training)
            setattr(module, name, synced)
        else:
            synchronise_batch_norm(child, device)
    return module
