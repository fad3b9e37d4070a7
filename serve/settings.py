"""What the Serve application is told: by the environment, or by `args` in serve/config.yaml."""

import os

from pydantic import BaseModel, ConfigDict, Field

from radray import storage
from radray.dicom.pixels import PixelLimits
from radray.errors import ConfigError
from radray.review.config import ReviewConfig
from radray.review.reviewers import read_reviewers
from serve.access import check_peers_are_known
from serve.bodies import BodyLimits
from serve.keys import KeyRing, read_keys


def _integer(name: str, otherwise: int) -> int:
    given = os.environ.get(name, "")
    if given and not given.isdigit():
        raise ConfigError(f"{name} is {given!r}; set a whole number")
    return int(given) if given else otherwise


class Settings(BaseModel):
    """Settings of the application; the environment gives the defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    bundle: str = Field(default_factory=lambda: os.environ.get("RADRAY_BUNDLE", ""))
    """URL of the bundle that answers (RADRAY_BUNDLE)."""
    findings: str = Field(default_factory=lambda: os.environ.get("RADRAY_FINDINGS", ""))
    """URL of the audit's output to review under /review; empty for no review (RADRAY_FINDINGS)."""
    verdicts: str = Field(default_factory=lambda: os.environ.get("RADRAY_VERDICTS", ""))
    """URL of the verdicts file; empty for verdicts.csv beside the findings (RADRAY_VERDICTS)."""
    reviewers: str = Field(default_factory=lambda: os.environ.get("RADRAY_REVIEWERS", ""))
    """URL of the reviewers file that `jobs/review.py --reviewer` writes; empty for reviewers.csv beside the verdicts
    (RADRAY_REVIEWERS)."""
    max_body_mib: int = Field(default_factory=lambda: _integer("RADRAY_MAX_BODY_MIB", 128), ge=1, le=2048)
    """Largest request body, in MiB (RADRAY_MAX_BODY_MIB)."""
    api_keys: str = Field(default_factory=lambda: os.environ.get("RADRAY_API_KEYS", ""))
    """URL of the keys file (serve/keys.py), or the entries; without any only this machine is answered
    (RADRAY_API_KEYS)."""
    allowed_urls: str = Field(default_factory=lambda: os.environ.get("RADRAY_ALLOWED_URLS", ""))
    """URLs divided by spaces that archives and outputs of /v1/relabels must lie under; empty for none
    (RADRAY_ALLOWED_URLS)."""
    job_server: str = Field(default_factory=lambda: os.environ.get("RADRAY_JOB_SERVER", ""))
    """Of Ray's job server, http://host:8265; empty for that of the cluster (RADRAY_JOB_SERVER)."""
    max_request_mib: int = Field(default_factory=lambda: _integer("RADRAY_MAX_REQUEST_MIB", 2048), ge=1, le=65_536)
    """Largest body of many objects, in MiB (RADRAY_MAX_REQUEST_MIB)."""
    max_parts: int = Field(default=500, ge=1, le=10_000)
    """Most objects in one request."""
    max_pixels: int = Field(default=200_000_000, ge=1)
    """Rows × columns × frames of an object, checked before anything is allocated."""
    decode_s: float = Field(default=30.0, gt=0.0, le=600.0)
    """Longest time a codec may take for one image, in seconds."""
    body_s: float = Field(default=30.0, gt=0.0, le=600.0)
    """Longest wait for the next bytes of a body, in seconds."""
    answer_s: float = Field(default=30.0, gt=0.0, le=600.0)
    """Longest wait for the ensemble's answer to one image, in seconds."""
    max_under_way: int = Field(default=64, ge=1, le=4096)
    """Requests with a body that an ingress replica has under way; further ones get 503."""
    max_under_way_each: int = Field(default=32, ge=1, le=4096)
    """The same of one key; further ones get 429."""
    batch_images: int = Field(default=16, ge=1, le=512)
    """Images that the ensemble computes together at most."""
    batch_wait_s: float = Field(default=0.1, ge=0.0, le=10.0)
    """How long images wait for others, in seconds, while several come at once; one that comes alone does not wait."""
    ensemble_cpus: float = Field(default=1.0, ge=0.0)
    """Logical CPUs of each ensemble replica."""
    ensemble_gpus: float = Field(default=0.0, ge=0.0)
    """Share of a GPU of each ensemble replica."""
    ingress_cpus: float = Field(default=1.0, ge=0.0)
    """Logical CPUs of each replica that decodes and cleans."""
    max_replicas: int = Field(default=2, ge=1)
    """Upper bound of the replicas of each kind."""
    surge_percent: int = Field(default=100, ge=0, le=100)
    """Replicas of a roll-out that start while those before them go on, in percent of these. The cluster needs room for
    them; 0 needs none: replicas stop before the next ones start, and requests wait meanwhile."""

    @property
    def body_limits(self) -> BodyLimits:
        """What is read of a request."""
        return BodyLimits(
            part_bytes=self.max_body_mib << 20,
            request_bytes=max(self.max_request_mib, self.max_body_mib) << 20,
            parts=self.max_parts,
            chunk_s=self.body_s,
        )

    @property
    def pixel_limits(self) -> PixelLimits:
        """What one object may cost."""
        return PixelLimits(max_pixels=self.max_pixels, timeout_s=self.decode_s)

    @property
    def allowed(self) -> tuple[str, ...]:
        """The allow-list."""
        return tuple(self.allowed_urls.replace(",", " ").split())

    @property
    def review(self) -> ReviewConfig:
        """What is reviewed under /review."""
        return ReviewConfig(
            findings=self.findings, verdicts=self.verdicts or None, reviewers=self.reviewers or None, port=0
        )

    def check(self) -> None:
        """Look at the URLs before anything is deployed.

        Raises:
            ConfigError: No bundle is named, nothing lies there, its store does not answer, the keys cannot be used, all
                there is is allowed, or the review has no page or no reviewers.
        """
        if not self.bundle:
            raise ConfigError("no bundle is named; set RADRAY_BUNDLE to the URL of a bundle folder of jobs/probe.py")
        storage.check_input(self.bundle, "RADRAY_BUNDLE")
        check_peers_are_known(KeyRing(read_keys(self.api_keys)))
        for url in self.allowed:
            if storage.normalise_url(url).count("/") < 2:
                raise ConfigError(
                    f"RADRAY_ALLOWED_URLS holds {url!r}; name a folder or s3://bucket/prefix, not all there is"
                )
        if self.findings:
            self.review.check()
            if not self.review.has_reviewers:
                raise ConfigError(
                    f"RADRAY_FINDINGS is set but {self.review.reviewers_url} is missing; name reviewers with "
                    "jobs/review.py --reviewer, or set RADRAY_REVIEWERS"
                )
            read_reviewers(self.review.reviewers_url)
