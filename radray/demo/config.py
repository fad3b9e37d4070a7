"""Configuration of the demo (imports neither Ray nor torch)."""

from __future__ import annotations

from dataclasses import dataclass

from radray import storage
from radray.errors import check_ranges


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """A synthetic PACS export through every stage to a report; eight to eleven minutes on two cores."""

    output: str = "demo"
    """Folder or URL that gets the archive, every stage's tables, report.html and summary.json."""
    images: int = 1500
    """Objects in the synthetic archive (200 to 1,000,000)."""
    side_px: int = 64
    """Side of the cleaned images, pixels (32 to 512)."""
    archive_px: int = 384
    """Long side of the synthetic radiographs, pixels (128 to 4096)."""
    epochs: float | None = None
    """Passes over the training images; default: the recipe's."""
    recipe: str = "cpu_demo"
    """Training settings, see jobs/pretrain.py."""
    budgets: tuple[str, ...] = ("1", "5", "20")
    """Labels a region that accuracy is measured with, beside all."""
    seeds: int = 3
    """Draws of the labelled images for every budget (1 to 20)."""
    seed: int = 0
    """Seeds the archive, the splits and the training."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A value lies outside its range.
        """
        check_ranges(
            self,
            {
                "images": (200, 1_000_000),
                "side_px": (32, 512),
                "archive_px": (128, 4096),
                "seeds": (1, 20),
            },
        )

    def check(self) -> None:
        """Look at the output before any work.

        Raises:
            ConfigError: It cannot be written to.
        """
        storage.check_output(self.output, "--output")
