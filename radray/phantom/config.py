"""What the phantom export is made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from radray import storage
from radray.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PhantomConfig:
    """A synthetic PACS export with known truth."""

    output: str
    """URL of the archive prefix; it must be empty, or hold the same phantom."""
    truth: str = ""
    """URL of the Parquet table with the truth, outside the archive; empty means `<output>-truth.parquet`."""
    images: int = 1500
    """Objects to write, bad ones included."""
    seed: int = 0
    """The same seed gives the same bytes, whatever the number of workers."""
    regions: str = "skeletal14"
    """`skeletal14` or `skeletal22`."""
    side_px: int = 1024
    """Greatest long side of an image in pixels; images are 0.75 to 1.0 of it."""
    imbalance: float = 103.0
    """Images of the most frequent region (knee) over those of the rarest (scapula), where `least_per_region` allows."""
    least_per_region: int = 30
    """Fewest radiographs a region, as far as half of all radiographs suffice for it."""
    label_noise: float = 0.05
    """Share of radiographs whose header names another, likely confused region, 0 to 1."""
    missing_labels: float = 0.05
    """Share of radiographs whose header names no region, 0 to 1."""
    mixed_studies: float = 0.06
    """Share of studies that show two regions, as after an accident, 0 to 1."""
    out_of_domain: float = 0.03
    """Share of objects that are something else: CT, photo, document, mammogram, ultrasound, test pattern."""
    broken: float = 0.02
    """Share of objects that cannot be read: truncated, no pixels, not DICOM, unknown transfer syntax."""
    spurious_cue: float = 0.0
    """Share of radiographs with a lead shape that goes with the region in the training part, not in the test part."""
    test_patients: float = 0.2
    """Share of patients in the test part (for the spurious cue)."""
    workers: int = 1
    """Operating system processes that draw; 1 draws in this one, 0 uses one a core."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in (
            "label_noise",
            "missing_labels",
            "mixed_studies",
            "out_of_domain",
            "broken",
            "spurious_cue",
            "test_patients",
        ):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"{name} is {value}; set a share between 0 and 1")
        for one, other in (("label_noise", "missing_labels"), ("out_of_domain", "broken")):
            if getattr(self, one) + getattr(self, other) > 0.9:
                raise ConfigError(f"{one} + {other} is above 0.9; set smaller shares")
        for name, least in (("images", 1), ("side_px", 64), ("seed", 0), ("workers", 0), ("least_per_region", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; set {least} or more")
        if self.side_px > 8192:
            raise ConfigError(f"side_px is {self.side_px}; set 8192 or less")
        if self.imbalance < 1:
            raise ConfigError(f"imbalance is {self.imbalance}; set 1 (balanced) or more")
        if self.regions not in ("skeletal14", "skeletal22"):
            raise ConfigError(f"regions is {self.regions!r}; the phantom draws skeletal14 or skeletal22")
        if not self.output:
            raise ConfigError("output is empty; set the URL of the archive to write")
        archive = storage.normalise_url(self.output) + "/"
        if (self.truth_url + "/").startswith(archive):
            raise ConfigError(f"truth {self.truth} lies in the archive {self.output}; set a URL outside it")

    @property
    def truth_url(self) -> str:
        """Where the truth table goes."""
        return storage.normalise_url(self.truth or storage.normalise_url(self.output) + "-truth.parquet")

    @property
    def recipe_url(self) -> str:
        """Where the configuration goes, beside the truth."""
        return self.truth_url.removesuffix(".parquet") + ".json"

    @property
    def summary_url(self) -> str:
        """Where the job puts its summary: not into the archive, which holds objects only."""
        return self.truth_url.removesuffix(".parquet") + "-summary.json"

    def recipe(self) -> dict[str, Any]:
        """What decides the archive's bytes: every field but the number of workers."""
        return {name: value for name, value in asdict(self).items() if name not in ("workers", "output", "truth")}

    def check(self) -> None:
        """Look at the target before any work.

        Raises:
            ConfigError: It cannot be written to, or holds something else than this very phantom.
        """
        archive = storage.locate(storage.check_output(self.output, "--output"))
        storage.check_output(storage.parent(self.truth_url), "--truth")
        if not archive.fs.exists(archive.path) or not archive.fs.ls(archive.path, detail=False):
            return
        if not storage.exists(self.recipe_url) or storage.read_json(self.recipe_url) != self.recipe():
            raise ConfigError(f"--output {self.output}: something else lies there; choose an empty folder or prefix")
