"""Configuration of pre-training (imports neither Ray nor torch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from radray import storage
from radray.errors import ConfigError
from radray.images.budgets import parse_budget
from radray.pretrain.recipes import RECIPES, Recipe

MethodName = Literal["simclr", "byol", "supcon", "supervised"]


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
    """Network: resnet10, resnet18, resnet34, resnet50."""
    side_px: int | None = None
    """Side of the views, pixels; at most the side of the stored images."""
    epochs: float | None = None
    """Passes over the training images (greater than 0)."""
    batch_size: int | None = None
    """Global batch, over all workers."""
    learning_rate: float | None = None
    """Peak learning rate of AdamW."""
    budgets: tuple[str, ...] = ()
    """supcon and supervised: also train with fewer labels, images a region (5) or a share (1%)."""
    budget_seeds: int = 3
    """Draws of the labelled images for every budget, each a network of its own (1 to 20)."""
    workers: int | None = None
    """Training processes; default: one a GPU of the cluster, or one on CPUs."""
    threads: int | None = None
    """Torch threads of a process on CPUs; default: the cores shared among the workers."""
    seed: int = 0
    """Seeds the weights, the order and the views."""

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
        for name, low in (("epochs", 0.01), ("batch_size", 2), ("workers", 1), ("threads", 1), ("budget_seeds", 1)):
            given = getattr(self, name)
            if given is not None and given < low:
                raise ConfigError(f"--{name.replace('_', '-')} is {given}; set at least {low}")
        if self.learning_rate is not None and not 0 < self.learning_rate < 10:
            raise ConfigError(f"--learning-rate is {self.learning_rate}; set a number between 0 and 10")
        if self.side_px is not None and not 32 <= self.side_px <= 1024:
            raise ConfigError(f"--side-px is {self.side_px}; set 32 to 1024")

    def check(self) -> None:
        """Look at the URLs before any work.

        Raises:
            ConfigError: No images table there, or the output cannot be written.
        """
        storage.check_input(self.images, "--images")
        if not storage.list_files(self.images, ".parquet"):
            raise ConfigError(f"--images {self.images}: no Parquet files are there; run jobs/clean.py first")
        storage.check_output(self.output, "--output")

    def settings(self) -> Recipe:
        """The recipe with this configuration's overrides."""
        return RECIPES[self.recipe]().override(
            backbone=self.backbone,
            side_px=self.side_px,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )
