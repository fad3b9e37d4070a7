"""What the Serve application is told: by the environment, or by `args` in serve/config.yaml."""

import os

from pydantic import BaseModel, ConfigDict, Field

from radray import storage
from radray.errors import ConfigError


class Settings(BaseModel):
    """Settings of the application; the environment gives the defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: str = Field(default_factory=lambda: os.environ.get("RADRAY_BUNDLE", ""))
    """URL of the bundle that answers (RADRAY_BUNDLE)."""
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

    def check(self) -> None:
        """Look at the bundle's URL before anything is deployed.

        Raises:
            ConfigError: No bundle is named, nothing lies there, or its store does not answer.
        """
        if not self.bundle:
            raise ConfigError("no bundle is named; set RADRAY_BUNDLE to the URL of a bundle folder of jobs/probe.py")
        storage.check_input(self.bundle, "RADRAY_BUNDLE")
