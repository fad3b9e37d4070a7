"""Configuration of the review (imports neither Ray nor torch)."""

from __future__ import annotations

from dataclasses import dataclass

from radray import storage
from radray.errors import ConfigError

ITEMS = "review/items.json"


@dataclass(frozen=True, kw_only=True)
class ReviewConfig:
    """Serve the review page on this machine; verdicts go to verdicts.csv as they are given."""

    findings: str
    """URL of the findings, as written by jobs/audit.py."""
    verdicts: str | None = None
    """URL of the CSV file that gets the verdicts: in a folder (one writer at a time) or in S3; default: verdicts.csv
    beside the findings."""
    reviewer: tuple[str, ...] = ()
    """Reviewers to add by name: each gets a token and a URL of their own, which is printed this once."""
    reviewers: str | None = None
    """URL of the CSV file of reviewers (name, token_sha256); default: reviewers.csv beside the verdicts, where it is.
    Without any reviewer there is one URL for all, and the page asks for a name."""
    merge: tuple[str, ...] = ()
    """Verdicts files exported by the page, to be taken into --verdicts by their time; what is there already counts
    once."""
    summary: bool = False
    """Serve nothing; sum up the verdicts, how reviewers agree, and how right labels and model are."""
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
    def verdicts_url(self) -> str:
        """Where verdicts are appended."""
        return storage.normalise_url(self.verdicts or storage.join(self.findings, "verdicts.csv"))

    @property
    def reviewers_url(self) -> str:
        """Where reviewers stand."""
        return self.reviewers or storage.join(storage.parent(self.verdicts_url), "reviewers.csv")

    @property
    def has_reviewers(self) -> bool:
        """Whether reviewers have tokens of their own."""
        return self.reviewers is not None or storage.exists(self.reviewers_url)

    def check(self) -> None:
        """Look for the page and a place for the verdicts.

        Raises:
            ConfigError: No review page there, or the verdicts cannot be written.
        """
        storage.check_input(self.findings, "--findings")
        if not storage.exists(storage.join(self.findings, ITEMS)):
            raise ConfigError(f"--findings {self.findings}: {ITEMS} is missing there; run jobs/audit.py first")
        storage.check_output(storage.parent(self.verdicts_url), "--verdicts")
        for url in self.merge:
            storage.check_input(url, "--merge")
        if self.reviewers is not None and not self.reviewer:
            storage.check_input(self.reviewers, "--reviewers")
