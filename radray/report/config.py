"""Configuration of the report (imports neither Ray, torch nor matplotlib)."""

from __future__ import annotations

from dataclasses import dataclass

from radray import storage
from radray.errors import ConfigError, check_ranges
from radray.images.reading import CLEANING_FILE, load_cleaning

STAGES = ("index", "images", "probe", "predictions", "findings")


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """One HTML page that opens offline, with figures and their numbers beside it; any stage may be missing."""

    output: str
    """URL of the folder that gets report.html, figures/ and tables/."""
    index: str | None = None
    """URL of the index: what the archive holds and what was set aside."""
    images: str | None = None
    """URL of the images table: cleaned examples, and the pictures of all sections."""
    runs: tuple[str, ...] = ()
    """URLs of run folders (jobs/pretrain.py), or of folders that hold run folders: how the training went."""
    probe: str | None = None
    """URL of the probe's output: accuracy, confusion, calibration."""
    predictions: str | None = None
    """URL of the predictions: what the archive was found to show."""
    findings: str | None = None
    """URL of the audit's findings: suspected labels, out of domain, near-duplicates."""
    verdicts: str | None = None
    """URL of verdicts.csv from the review page: accuracy once wrong labels no longer count as errors."""
    plain_probe: str | None = None
    """URL of another probe's output, of networks that learned from images with less cleaning: what they look at is
    drawn beside what these do. Wants --plain-images."""
    plain_images: str | None = None
    """URL of the images table that --plain-probe was made of."""
    title: str = "Radiographs by region"
    """Title of the page."""
    suspects: int = 24
    """Suspected labels shown with their pictures (0 to 200)."""
    map_images: int = 1500
    """Test images on the map of features, drawn at random where there are more; 0 for no map (0 to 5000)."""

    def __post_init__(self) -> None:
        """Check the ranges, and that there is something to report.

        Raises:
            ConfigError: A value lies outside its range, or no stage is given.
        """
        check_ranges(
            self,
            {
                "suspects": (0, 200),
                "map_images": (0, 5000),
            },
        )
        if all(getattr(self, stage) is None for stage in STAGES) and not self.runs:
            names = ", ".join(f"--{stage}" for stage in (*STAGES, "runs"))
            raise ConfigError(f"nothing to report; give one or more of {names}")

        if (self.plain_probe is None) != (self.plain_images is None):
            raise ConfigError("--plain-probe and --plain-images belong together; give both or neither")
        if self.plain_probe and not (self.probe and self.images):
            raise ConfigError("--plain-probe is drawn beside the networks of --probe; give --probe and --images too")

    def check(self) -> None:
        """Look at the URLs before any work.

        Raises:
            ConfigError: A stage named is not there, or the output cannot be written.
        """
        for stage in STAGES:
            if (url := getattr(self, stage)) is not None:
                storage.check_input(url, f"--{stage}")
        for name in ("verdicts", "plain_probe", "plain_images"):
            if (url := getattr(self, name)) is not None:
                storage.check_input(url, f"--{name.replace('_', '-')}")
        for name in ("images", "plain_images"):
            url = getattr(self, name)
            if (
                url is not None
                and storage.exists(storage.join(url, CLEANING_FILE))
                and not load_cleaning(url).mask_text
            ):
                raise ConfigError(
                    f"--{name.replace('_', '-')} {url}: its images may show burned-in names (--no-mask-text); a report "
                    "leaves the machine, clean with --mask-text"
                )
        for url in self.runs:
            storage.check_input(url, "--runs")
        storage.check_output(self.output, "--output")
