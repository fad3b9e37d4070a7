"""What the Serve application is told: by the environment, or by `args` in serve/config.yaml."""

import os

from pydantic import BaseModel, ConfigDict, Field

from radray import storage
from radray.errors import ConfigError
from radray.review.config import ReviewConfig
from radray.review.reviewers import read_reviewers


class Settings(BaseModel):
    """Settings of the application; the environment gives the defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: str = Field(default_factory=lambda: os.environ.get("RADRAY_BUNDLE", ""))
    """URL of the bundle that answers (RADRAY_BUNDLE)."""
    findings: str = Field(default_factory=lambda: os.environ.get("RADRAY_FINDINGS", ""))
    """URL of the audit's output to review under /review; empty for no review (RADRAY_FINDINGS)."""
    verdicts: str = Field(default_factory=lambda: os.environ.get("RADRAY_VERDICTS", ""))
    """URL of the verdicts file; empty for verdicts.csv beside the findings (RADRAY_VERDICTS)."""
    reviewers: str = Field(default_factory=lambda: os.environ.get("RADRAY_REVIEWERS", ""))
    """URL of the reviewers file that `jobs/review.py --reviewer` writes; empty for reviewers.csv beside the verdicts
    (RADRAY_REVIEWERS)."""
    max_body_mib: int = Field(default_factory=lambda: int(os.environ.get("RADRAY_MAX_BODY_MIB", "128")), ge=1, le=2048)
    """Largest request body, in MiB (RADRAY_MAX_BODY_MIB)."""
    batch_images: int = Field(default=16, ge=1, le=512)
    """Images that the ensemble computes together at most."""
    batch_wait_s: float = Field(default=0.01, ge=0.0, le=10.0)
    """How long an image waits for others, in seconds."""
    ensemble_cpus: float = Field(default=1.0, ge=0.0)
    """Logical CPUs of each ensemble replica."""
    ensemble_gpus: float = Field(default=0.0, ge=0.0)
    """Share of a GPU of each ensemble replica."""
    ingress_cpus: float = Field(default=1.0, ge=0.0)
    """Logical CPUs of each replica that decodes and cleans."""
    max_replicas: int = Field(default=2, ge=1)
    """Upper bound of the replicas of each kind."""

    @property
    def review(self) -> ReviewConfig:
        """What is reviewed under /review."""
        return ReviewConfig(
            findings=self.findings, verdicts=self.verdicts or None, reviewers=self.reviewers or None, port=0
        )

    def check(self) -> None:
        """Look at the URLs before anything is deployed.

        Raises:
            ConfigError: No bundle is named, nothing lies there, its store does not answer, or the review has no page
                or no reviewers.
        """
        if not self.bundle:
            raise ConfigError("no bundle is named; set RADRAY_BUNDLE to the URL of a bundle folder of jobs/probe.py")
        storage.check_input(self.bundle, "RADRAY_BUNDLE")
        if self.findings:
            self.review.check()
            if not self.review.has_reviewers:
                raise ConfigError(
                    f"RADRAY_FINDINGS is set but {self.review.reviewers_url} is missing; name reviewers with "
                    "jobs/review.py --reviewer, or set RADRAY_REVIEWERS"
                )
            read_reviewers(self.review.reviewers_url)
