"""Configuration of the score stage (imports neither Ray nor torch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from radray import storage
from radray.errors import ConfigError, check_ranges
from radray.index.config import IndexConfig


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Give every object of an archive its region, or a reason why it has none: archive and bundle → predictions."""

    archive: str | None = None
    """URL of the archive: a folder or s3://bucket/prefix; it is only read. Give this or --index."""
    index: str | None = None
    """URL of an index as written by jobs/index.py, whose listing, facts and labels are used instead."""
    bundle: str
    """URL of the bundle folder, as written by jobs/probe.py."""
    output: str
    """URL of the folder that gets the predictions, below version=<key>/; a new bundle goes beside the old."""
    labels: str = "header"
    """With --archive, what predictions are compared with: header, path:REGEX or table:URL (see jobs/index.py)."""
    patient_key: str = "env:RADRAY_PATIENT_KEY"
    """With --archive, the secret that turns patient IDs into pseudonyms: env:NAME, file:PATH or none."""
    key: Literal["uri", "hash"] = "uri"
    """With --archive, what predictions call an object: its URL, or a keyed hash of it (see jobs/index.py)."""
    batch: int = 32
    """Images predicted together (1 to 1024)."""
    rows_per_block: int = 64
    """Objects committed together; what a killed run does again at most, for each worker (1 to 4096)."""
    max_workers: int | None = None
    """Most workers; none for half the cluster's logical CPUs."""
    gpus_per_worker: float = 0.0
    """Share of a GPU for each worker (0 to 1)."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: If a value lies outside its range.
        """
        if (self.archive is None) == (self.index is None):
            raise ConfigError("give either --archive or --index, one of the two")
        check_ranges(
            self,
            {
                "batch": (1, 1024),
                "rows_per_block": (1, 4096),
                "gpus_per_worker": (0, 1),
            },
        )
        if self.max_workers is not None and self.max_workers < 1:
            raise ConfigError(f"--max-workers is {self.max_workers}; set it to 1 or more")

    def header_rules(self) -> IndexConfig:
        """The index stage's rules of reading headers, with this configuration's labels and key."""
        return IndexConfig(
            archive=self.archive or "",
            output=self.output,
            labels=self.labels,
            patient_key=self.patient_key,
            key=self.key,
        )

    def check(self) -> None:
        """Look at the URLs before any work.

        Raises:
            ConfigError: Something named is not there, or the output cannot be written.
        """
        storage.check_input(storage.join(self.bundle, "bundle.json"), "--bundle")
        if self.archive is not None:
            self.header_rules().secret()
            storage.check_input(self.archive, "--archive")
            if storage.normalise_url(self.output).startswith(storage.normalise_url(self.archive) + "/"):
                raise ConfigError(f"--output {self.output} lies inside --archive, which is never written to")
        if self.index is not None:
            storage.check_input(self.index, "--index")
            if not storage.list_files(self.index, ".parquet"):
                raise ConfigError(f"--index {self.index}: no Parquet files are there; run jobs/index.py first")
        storage.check_output(self.output, "--output")
