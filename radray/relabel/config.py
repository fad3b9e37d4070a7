"""Configuration of the relabel stage (imports neither Ray nor torch)."""

from __future__ import annotations

from dataclasses import dataclass

from radray import storage
from radray.errors import ConfigError
from radray.score.versions import latest_predictions


@dataclass(frozen=True, kw_only=True)
class RelabelConfig:
    """Final labels by policy (reviewer, then a confident model, then the header): predictions and verdicts → labels."""

    predictions: str
    """URL of the predictions, as written by jobs/score.py."""
    output: str
    """URL of the folder that gets the labels table."""
    verdicts: str | None = None
    """URL of verdicts.csv from the review page; without it only model and header speak."""
    min_confidence: float = 0.95
    """A model's region replaces a missing or contradicted header only with at least this confidence (0.5 to 1)."""
    dry_run: bool = False
    """Count what would change; write no labels."""
    undo: bool = False
    """Put every label in --output back to what it was before."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: A value lies outside its range.
        """
        if not 0.5 <= self.min_confidence <= 1:
            raise ConfigError(f"--min-confidence is {self.min_confidence}; set a number from 0.5 to 1")

    def check(self) -> None:
        """Look at the URLs before any work.

        Raises:
            ConfigError: An input is missing, the output cannot be written, or there is nothing to undo.
        """
        storage.check_input(self.predictions, "--predictions")
        latest_predictions(self.predictions)
        if self.verdicts is not None:
            storage.check_input(self.verdicts, "--verdicts")
        storage.check_output(self.output, "--output")
        if self.undo and not storage.list_files(self.output, ".parquet"):
            raise ConfigError(f"--undo: no labels are in --output {self.output}; give the folder that was relabelled")
