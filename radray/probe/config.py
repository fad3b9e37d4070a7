"""Configuration of the probe stage (imports neither Ray nor torch)."""

from __future__ import annotations

from dataclasses import dataclass

from radray import storage
from radray.ensemble.views import check_views
from radray.errors import ConfigError, check_ranges
from radray.images.budgets import parse_budget
from radray.pretrain.config import IMAGENET
from radray.regions import load_regions

SUBGROUP_IMAGES = 20
"""Test images below which the accuracy of a subgroup is not told."""


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """Embed every image once, fit linear heads, measure them, and build the bundle: images and runs → probe."""

    images: str
    """URL of the images table, as written by jobs/clean.py."""
    runs: tuple[str, ...]
    """URLs of run folders (jobs/pretrain.py), or of folders that hold run folders; `imagenet` for a network that saw
    no radiograph, to compare with and to join the ensemble."""
    output: str
    """URL of the folder that gets features, tables and the bundle."""
    regions: str = "skeletal14"
    """Class list: skeletal14, skeletal22, or the path of a JSON file."""
    truth: str | None = None
    """URL of a Parquet or CSV table with uri and region, for measuring only; nothing is fitted to it."""
    budgets: tuple[str, ...] = ("1", "5", "20", "all")
    """Label budgets to measure: images a region (5), a share (1%) or all."""
    seeds: int = 3
    """Draws of labels for each budget below all (1 to 100)."""
    folds: int = 5
    """Folds by patient for out-of-fold probabilities (2 to 20)."""
    balance: float = 0.5
    """Class weighting: a region of n images counts as n to the power of 1 − balance (0 none, 1 fully balanced)."""
    prune: bool = True
    """Leave out training labels that heads trained on other patients contradict."""
    l2: tuple[float, ...] = (0.01, 0.1, 1.0)
    """L2 strengths to choose from on the validation split (above 0)."""
    views: tuple[str, ...] = ("identity", "flip")
    """Views of each image whose features are averaged: identity, flip."""
    pose: bool = True
    """Whether the bundle tells turned and inverted images, and looks at them the right way up."""
    coverage: float = 0.95
    """Share of validation images that the bundle answers rather than abstains from (0.5 to 1)."""
    risk: float | None = None
    """Share of wrong answers allowed, for each region (0.001 to 0.5); instead of --coverage. None for that."""
    bank_images: int = 5000
    """Training images kept for the out-of-domain score (10 to 100000)."""
    batch: int = 64
    """Images embedded together (1 to 4096)."""
    max_workers: int | None = None
    """Most workers that embed; none for half the cluster's logical CPUs."""
    gpus_per_worker: float = 0.0
    """Share of a GPU for each worker that embeds (0 to 1)."""
    seed: int = 0
    """Seed of folds, draws and resampling."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: If a value lies outside its range.
        """
        check_ranges(
            self,
            {
                "seeds": (1, 100),
                "folds": (2, 20),
                "balance": (0, 1),
                "coverage": (0.5, 1),
                "bank_images": (10, 100_000),
                "batch": (1, 4096),
                "gpus_per_worker": (0, 1),
            },
        )
        if self.risk is not None and not 0.001 <= self.risk <= 0.5:
            raise ConfigError(f"--risk is {self.risk}; set a share of wrong answers from 0.001 to 0.5")
        if self.max_workers is not None and self.max_workers < 1:
            raise ConfigError(f"--max-workers is {self.max_workers}; set it to 1 or more")
        if not self.runs:
            raise ConfigError("--runs is empty; give at least one run folder")
        if not self.l2 or min(self.l2) <= 0:
            raise ConfigError(f"--l2 is {list(self.l2)}; set one or more numbers above 0")
        check_views(self.views)
        for budget in self.budgets:
            parse_budget(budget)

    def check(self) -> None:
        """Look at the URLs before any work.

        Raises:
            ConfigError: Something named is not there, or the output cannot be written.
        """
        load_regions(self.regions)
        storage.check_input(self.images, "--images")
        if not storage.list_files(self.images, ".parquet"):
            raise ConfigError(f"--images {self.images}: no images table is there; run jobs/clean.py first")
        for url in self.runs:
            if url != IMAGENET:
                storage.check_input(url, "--runs")
        if self.truth:
            storage.check_input(self.truth, "--truth")
        storage.check_output(self.output, "--output")
