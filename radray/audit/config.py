"""Configuration of the audit stage (imports neither Ray nor torch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from radray import storage
from radray.errors import ConfigError, check_ranges
from radray.score.versions import latest_predictions


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """Find what is wrong: predictions, labels and features → a ranked queue and its review page."""

    predictions: str
    """URL of the predictions, as written by jobs/score.py."""
    images: str
    """URL of the images table, as written by jobs/clean.py."""
    probe: str
    """URL of the probe's output (features, out-of-fold probabilities, bundle), as written by jobs/probe.py."""
    output: str
    """URL of the folder that gets findings, disagreement.csv and review.html."""
    truth: str | None = None
    """URL of a .parquet or .csv table with `uri` and `region` (true): for measuring only, nothing else reads it."""
    verdicts: str | None = None
    """URL of verdicts.csv: what was judged leaves the queue, labels put right count, the rest is ranked anew."""
    next_batch: Literal["errors", "learn"] = "errors"
    """What label checks are chosen for: errors, those most probably wrong; learn, also those that would teach the heads
    most, doubtful and unlike one another."""
    controls: int = 100
    """Labels not suspected that are mixed into the review, drawn at random: what is left wrong after the review is
    estimated from them (0 to 5000)."""
    neighbours: int = 20
    """Nearest images of other patients that vote on each label (1 to 200)."""
    min_probability: float = 0.1
    """Labels at least this probably wrong are findings (0 to 1)."""
    far_share: float = 0.01
    """Images further out than all but this share of the trusted ones are out of domain (0 to 0.5)."""
    near_duplicate_bits: int = 4
    """Perceptual hashes of 64 bits that differ in at most so many are near-duplicates (0 to 8)."""
    review_limit: int = 300
    """Findings of each issue on the review page, most suspicious first (1 to 5000)."""
    heat_maps: bool = True
    """Whether the review page shows what the strongest network looked at: a twentieth of a second for each picture."""
    seed: int = 0
    """Draws the controls and the folds."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A value lies outside its range.
        """
        check_ranges(
            self,
            {
                "neighbours": (1, 200),
                "controls": (0, 5000),
                "far_share": (0, 0.5),
                "seed": (0, 2**31 - 1),
                "min_probability": (0, 1),
                "near_duplicate_bits": (0, 8),
                "review_limit": (1, 5000),
            },
        )

    def check(self) -> None:
        """Look at the URLs before any work.

        Raises:
            ConfigError: An input is missing or the output cannot be written.
        """
        storage.check_input(self.predictions, "--predictions")
        latest_predictions(self.predictions)
        storage.check_input(self.images, "--images")
        storage.check_input(self.probe, "--probe")
        for part in ("bundle/bundle.json", "out_of_fold.parquet", "features/members.json"):
            if not storage.exists(storage.join(self.probe, part)):
                raise ConfigError(f"--probe {self.probe}: {part} is missing there; run jobs/probe.py to its end first")
        if self.verdicts is not None:
            storage.check_input(self.verdicts, "--verdicts")
        if self.truth is not None:
            storage.check_input(self.truth, "--truth")
            if not self.truth.endswith((".parquet", ".csv")):
                raise ConfigError(f"--truth {self.truth}: give a .parquet or .csv file")
        storage.check_output(self.output, "--output")
