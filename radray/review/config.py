"""Configuration of the review (imports neither Ray nor torch)."""

from __future__ import annotations

from dataclasses import dataclass

from radray import storage
from radray.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ReviewConfig:
    """Serve the review page on this machine; verdicts go to verdicts.csv as they are given."""

    findings: str
    """URL of the findings, as written by jobs/audit.py."""
    verdicts: str | None = None
    """Path of the CSV file on this machine that verdicts are appended to; default: verdicts.csv beside the findings."""
    port: int = 8765
    """Port on 127.0.0.1 (0 for any free one, up to 65535)."""

    def __post_init__(self) -> None:
        """Check the port.

        Raises:
            ConfigError: No port number.
        """
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"--port is {self.port}; set a number from 0 to 65535")

    @property
    def verdicts_path(self) -> str:
        """Where verdicts are appended."""
        return storage.locate(self.verdicts or storage.join(self.findings, "verdicts.csv")).path

    def check(self) -> None:
        """Look for the page and a place on this machine for the verdicts.

        Raises:
            ConfigError: No review page there, or the verdicts would lie in an object store, which cannot append.
        """
        storage.check_input(self.findings, "--findings")
        if not storage.exists(storage.join(self.findings, "review.html")):
            raise ConfigError(f"--findings {self.findings}: review.html is missing there; run jobs/audit.py first")
        place = storage.locate(self.verdicts or storage.join(self.findings, "verdicts.csv"))
        if not place.is_local:
            raise ConfigError(f"verdicts cannot be appended in {place.url}; set --verdicts to a file on this machine")
        storage.check_output(storage.parent(place.url), "--verdicts")
