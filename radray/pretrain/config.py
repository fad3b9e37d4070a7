"""Configuration of pre-training (imports neither Ray nor torch)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from math import inf
from typing import Literal

from radray import storage
from radray.errors import ConfigError
from radray.images.budgets import parse_budget
from radray.pretrain.recipes import RECIPES, Recipe
from radray.views.config import crop_views

MethodName = Literal["simclr", "byol", "supcon", "supervised"]
IMAGENET, RANDOM = "imagenet", "random"
"""What `--weights` takes beside a place."""


_ONLY_FOR: dict[str, tuple[MethodName, ...]] = {
    "study_mates": ("simclr", "byol"),
    "unlabelled": ("supcon",),
    "budget_steps": ("supervised",),
}
"""Options that other methods would not heed."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Train one method on an images table: images → a run folder. Started again, it goes on from its checkpoint."""

    images: str
    """URL of the images table, as written by jobs/clean.py."""
    output: str
    """URL of the run folder, for example runs/simclr."""
    method: MethodName
    """simclr and byol use no labels; supcon and supervised use those of the table's train split."""
    recipe: str = "cpu_small"
    """Named settings: cpu_demo, cpu_small, gpu_paper, gpu_multi. The options below override a recipe's."""
    backbone: str | None = None
    """Network: resnet10, resnet18, resnet34, resnet50, convnext_tiny, vit_s, efficientnet_lite0."""
    weights: str | None = None
    """What to start from: a run folder (networks of few labels start from its own that saw the same, or none); a file
    of weights, a backbone.safetensors or a torch state dict of torchvision's names; imagenet, which is installed, for
    efficientnet_lite0; random. A folder of that name is ./imagenet."""
    frozen: bool | None = None
    """efficientnet_lite0: whether the layers that see edges and textures stay as --weights has them."""
    side_px: int | None = None
    """Side of the views, pixels; at most the side of the stored images."""
    epochs: float | None = None
    """Passes over the training images (greater than 0)."""
    batch_size: int | None = None
    """Global batch, over all workers."""
    learning_rate: float | None = None
    """Peak learning rate."""
    optimiser: Literal["adamw", "lars"] | None = None
    """lars is for batches of thousands."""
    accumulate: int | None = None
    """Parts that a batch is trained in, where it does not fit the device (1 to 1000)."""
    sync_batch_norm: bool | None = None
    """Batch normalisation over the images of all workers, not of each."""
    compile: bool | None = None
    """Whether torch.compile builds the backbone anew: minutes at the start, and only measurement tells if it pays."""
    study_mates: float | None = None
    """simclr and byol: probability that the second view comes from another image of the same study (0 to 1)."""
    unlabelled: Literal["negatives", "left_out"] | None = None
    """supcon: images without label are negatives of all others, or not trained on."""
    monitor_epochs: float | None = None
    """Epochs between looks at the features (accuracy on validation images); 0 for none."""
    checkpoint_every_s: float | None = None
    """Seconds between checkpoints (0 or more)."""
    budgets: tuple[str, ...] = ()
    """supcon and supervised: also train with fewer labels, images a region (5) or a share (1%)."""
    budget_seeds: int = 3
    """Draws of the labelled images for every budget, each a network of its own (1 to 20)."""
    views: Literal["recipe", "crops"] = "recipe"
    """Random views: the recipe's, or crops and mirror images alone, to learn what the others are worth."""
    source: Literal["auto", "cache", "stream"] = "auto"
    """Where training images come from: cache keeps them on the disk of each machine (RADRAY_CACHE), stream reads the
    table in order all the time; auto takes the cache where it fits."""
    budget_steps: int | None = None
    """Optimiser steps of a supervised network that sees few labels (1 or more)."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """auto takes GPUs where the cluster has any; gpu waits for them, as on a cluster that grows."""
    workers: int | None = None
    """Training processes; default: one a GPU of the cluster, or one on CPUs."""
    min_workers: int = 1
    """Fewest workers to start with, and to go on with when machines are lost; others join later (1 to --workers)."""
    cpus_per_worker: float | None = None
    """CPUs of the cluster that Ray reserves for a training process; default: a quarter of all, shared, at most 1."""
    threads: int | None = None
    """Torch threads of a process on CPUs; default: the cores shared among the workers."""
    seed: int = 0
    """Seeds the weights, the order and the views."""
    mlflow: str | None = None
    """URL of an MLflow tracking server that gets the metrics too; needs radray[mlflow]."""

    def __post_init__(self) -> None:
        """Check ranges and names.

        Raises:
            ConfigError: Unknown recipe, bad budget, or a number out of range.
        """
        if self.recipe not in RECIPES:
            raise ConfigError(f"--recipe is {self.recipe!r}; choose one of {', '.join(RECIPES)}")
        for budget in self.budgets:
            parse_budget(budget)
        if self.budgets and self.method not in ("supcon", "supervised"):
            raise ConfigError(f"--budgets is for supcon and supervised; {self.method} uses no labels, leave it away")
        for name, low, high in (
            ("epochs", 0.01, inf),
            ("batch_size", 2, inf),
            ("workers", 1, inf),
            ("min_workers", 1, self.workers or (1 if self.device == "cpu" else inf)),
            ("cpus_per_worker", 0.01, inf),
            ("threads", 1, inf),
            ("budget_seeds", 1, 20),
            ("budget_steps", 1, inf),
            ("seed", 0, 2**31 - 1),
            ("accumulate", 1, 1000),
            ("study_mates", 0, 1),
            ("monitor_epochs", 0, inf),
            ("checkpoint_every_s", 0, inf),
        ):
            given = getattr(self, name)
            if given is not None and not low <= given <= high:
                allowed = f"at least {low}" if high == inf else f"{low} to {high}"
                raise ConfigError(f"--{name.replace('_', '-')} is {given}; set {allowed}")
        for name, methods in _ONLY_FOR.items():
            if getattr(self, name) is not None and self.method not in methods:
                raise ConfigError(f"--{name.replace('_', '-')} is for {' and '.join(methods)}; leave it away")
        if self.start == IMAGENET and self.settings().backbone != "efficientnet_lite0":
            raise ConfigError("--weights imagenet are those of --backbone efficientnet_lite0; set both")
        if self.frozen and (self.settings().backbone != "efficientnet_lite0" or not self.start):
            raise ConfigError("--frozen is for efficientnet_lite0 with weights to start from; set --no-frozen")
        if self.learning_rate is not None and not 0 < self.learning_rate < 10:
            raise ConfigError(f"--learning-rate is {self.learning_rate}; set a number between 0 and 10")
        if self.side_px is not None and not 32 <= self.side_px <= 1024:
            raise ConfigError(f"--side-px is {self.side_px}; set 32 to 1024")

    @property
    def start(self) -> str | None:
        """What the network starts from, `--weights` or the recipe's; None for random weights."""
        return None if self.weights == RANDOM else self.weights or self._own_recipe.weights

    @property
    def _own_recipe(self) -> Recipe:
        """The recipe; what it starts from is its backbone's and void for another."""
        recipe = RECIPES[self.recipe]()
        if self.backbone in (None, recipe.backbone):
            return recipe
        return dataclasses.replace(recipe, weights=None, frozen=False)

    def check(self) -> None:
        """Look at the URLs before any work.

        Raises:
            ConfigError: No images table there, or the output cannot be written.
        """
        storage.check_input(self.images, "--images")
        if not storage.list_files(self.images, ".parquet"):
            raise ConfigError(f"--images {self.images}: no Parquet files are there; run jobs/clean.py first")
        if self.output == IMAGENET:
            raise ConfigError(f"--output {IMAGENET} would be taken for ImageNet's own network; choose another name")
        if self.start and self.start != IMAGENET:
            storage.check_input(self.start, "--weights")
        storage.check_output(self.output, "--output")

    def settings(self) -> Recipe:
        """The recipe with this configuration's overrides."""
        recipe = self._own_recipe
        return recipe.override(
            backbone=self.backbone,
            side_px=self.side_px,
            frozen=recipe.frozen and bool(self.start) if self.frozen is None else self.frozen,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            budget_steps=self.budget_steps,
            optimiser=self.optimiser,
            accumulate=self.accumulate,
            sync_batch_norm=self.sync_batch_norm,
            compile=self.compile,
            study_mates=self.study_mates,
            unlabelled=self.unlabelled,
            monitor_epochs=self.monitor_epochs,
            checkpoint_every_s=self.checkpoint_every_s,
            views=crop_views() if self.views == "crops" else None,
        )
