"""Named training settings (imports no torch). Choose by the machine; every number was chosen by measurement."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from radray.views.config import ViewConfig, pretraining_views


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything about a training run that is not the data."""

    backbone: str
    """One of `radray.pretrain.backbone.BACKBONES`."""
    side_px: int
    """Side of the views, pixels."""
    epochs: float
    """Passes over the training images, for SimCLR."""
    supcon_epochs: float
    """Passes for SupCon, which labels guide."""
    byol_epochs: float
    """Passes for BYOL, whose steps cost a third more."""
    supervised_epochs: float
    """Passes for the supervised baseline (one view an image and epoch, so an epoch costs half)."""
    budget_steps: int
    """Optimiser steps of a supervised network that sees few labels."""
    batch_size: int
    """Global batch."""
    learning_rate: float
    """Peak learning rate; linear warm-up, then a cosine to 0."""
    optimiser: Literal["adamw", "lars"] = "adamw"
    """lars is for batches of thousands; its learning rates are near 0.3 for every 256 images of the batch."""
    weights: str | None = None
    """What the network starts from, where `--weights` says nothing: imagenet, or random weights."""
    frozen: bool = False
    """Whether the layers that see edges and textures stay as the weights to start from have them."""
    accumulate: int = 1
    """Parts that a batch is trained in, where it does not fit the device; a contrastive loss compares within a part."""
    sync_batch_norm: bool = True
    """Batch normalisation over the images of all workers, not of each."""
    compile: bool = False
    """Whether torch.compile builds the backbone anew: minutes at the start, and only measurement tells if it pays."""
    weight_decay: float = 0.05
    """Of the weights; not of biases and normalisation parameters."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises."""
    clip_norm: float = 3.0
    """Largest norm of the gradient."""
    temperature: float = 0.2
    """Of SimCLR's and SupCon's softmax."""
    byol_momentum: float = 0.98
    """BYOL's target network at the start; lower for runs of few steps."""
    label_smoothing: float = 0.0
    """Of the supervised baseline's cross-entropy."""
    study_mates: float = 0.0
    """simclr and byol: probability that the second view comes from another image of the same study."""
    unlabelled: Literal["negatives", "left_out"] = "negatives"
    """supcon: an image without label is a class of its own (negatives of all others), or it is not trained on."""
    archive_gauges: bool = True
    """Whether markers found in the training images join the synthetic gauges that views get pasted."""
    views: ViewConfig = field(default_factory=pretraining_views)
    """How strongly a view differs from its image."""
    checkpoint_every_s: float = 60.0
    """Seconds between checkpoints."""
    monitor_epochs: float = 5.0
    """Epochs between looks at the features: accuracy of neighbours and of a linear head on validation; 0 for none."""

    def override(self, **given: Any) -> Recipe:
        """A copy with those of `given` that are not None."""
        chosen = {name: value for name, value in given.items() if value is not None}
        if "epochs" in chosen:
            chosen |= dict.fromkeys(("supcon_epochs", "byol_epochs", "supervised_epochs"), chosen["epochs"])
        return dataclasses.replace(self, **chosen)


def cpu_demo() -> Recipe:
    """64 px, ResNet-10: one to four minutes a method for 1,000 images on one core.

    The views are milder than the default ones: a few hundred steps are too few to learn from those.
    """
    return Recipe(
        backbone="resnet10",
        side_px=64,
        epochs=28,
        supcon_epochs=8,
        byol_epochs=6,
        supervised_epochs=50,
        budget_steps=100,
        batch_size=64,
        learning_rate=3e-3,
        byol_momentum=0.9,
        label_smoothing=0.1,
        study_mates=0.5,
        monitor_epochs=14,
        views=ViewConfig(
            brightness=0.3,
            contrast=0.4,
            scale=(0.85, 1.25),
            shear_deg=8.0,
            crop_area=(0.6, 1.0),
            quarter_turn=0.06,
            gamma=0.4,
            detail=(-0.4, 0.4),
            equalisation=(-0.2, 0.3),
            noise=0.03,
            collimation=0.15,
            cutout=0.3,
            inversion=0.0,
        ),
    )


def cpu_small() -> Recipe:
    """128 px, EfficientNet-Lite0 from ImageNet's weights, the first half at rest: what 3,000 images on two cores give.

    Trained from nothing on one archive, a small network tells scanners before it tells bones.
    """
    return dataclasses.replace(
        cpu_demo(),
        backbone="efficientnet_lite0",
        weights="imagenet",
        frozen=True,
        side_px=128,
        epochs=4,
        supcon_epochs=4,
        byol_epochs=3,
        supervised_epochs=8,
        learning_rate=5e-4,
        byol_momentum=0.95,
        monitor_epochs=2,
        study_mates=0.0,
        views=pretraining_views(),
    )


def gpu_paper() -> Recipe:
    """224 px, ResNet-50: the paper's 48,000 images on one 24 GB GPU."""
    return Recipe(
        backbone="resnet50",
        side_px=224,
        epochs=200,
        supcon_epochs=200,
        byol_epochs=200,
        supervised_epochs=100,
        budget_steps=2000,
        batch_size=192,
        learning_rate=1e-3,
        checkpoint_every_s=300.0,
    )


def gpu_multi() -> Recipe:
    """224 px, ResNet-50, eight GPUs: hundreds of thousands of images."""
    return gpu_paper().override(batch_size=2048, learning_rate=3e-3)


RECIPES: dict[str, Callable[[], Recipe]] = {
    "cpu_demo": cpu_demo,
    "cpu_small": cpu_small,
    "gpu_paper": gpu_paper,
    "gpu_multi": gpu_multi,
}
