"""Configuration of the clean stage (imports neither Ray nor torch)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from radray import storage
from radray.cleaning.config import CleaningConfig
from radray.errors import ConfigError, check_ranges


@dataclass(frozen=True, kw_only=True)
class CleanConfig:
    """Fetch, decode and clean every radiograph of an index: index and archive → images."""

    index: str
    """URL of the index, as written by jobs/index.py."""
    output: str
    """URL of the folder that gets the images table."""
    cleaning: Annotated[CleaningConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=CleaningConfig)
    """The cleaning steps."""
    split: str = "patient"
    """`patient` draws the splits, by patient and stratified by region; `table:URL` takes them from a CSV or Parquet
    table with uri (or path below the table's folder) and split (train, validation, test). Objects that it does not
    name train. Without validation rows in it, validation patients are drawn from train."""
    test_fraction: float = 0.2
    """Share of the patients of each region that go to the test split (0 to 0.9)."""
    validation_fraction: float = 0.2
    """Share of the other patients that go to the validation split (0 to 0.9)."""
    seed: int = 0
    """Seed of the split."""
    frames: Literal["first", "all"] = "first"
    """Of objects with several frames (index them with --frames first): `all` makes every frame a row, the second one
    under the object's URL and `#frame=2` and so on, at most 1,000; later stages score the first."""
    mark_copies: bool = True
    """Set aside exact copies (same pixels); the first by URL stays."""
    near_copy_bits: int = 2
    """Images whose perceptual hashes of 64 bits differ in at most so many get the flag near_copy (0 to 8)."""
    rare_image_types: float = 0.0
    """Set aside radiographs whose ImageType is that of a smaller share of the index, for example 0.001 (0 to 0.5)."""
    rows_per_block: int = 64
    """Radiographs committed together; what a killed run does again at most, for each worker (1 to 4096)."""
    sheet_images: int = 64
    """Images on each contact sheet; 0 writes none (0 to 400)."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: If a value lies outside its range.
        """
        check_ranges(
            self,
            {
                "test_fraction": (0, 0.9),
                "validation_fraction": (0, 0.9),
                "near_copy_bits": (0, 8),
                "rare_image_types": (0, 0.5),
                "rows_per_block": (1, 4096),
                "sheet_images": (0, 400),
            },
        )
        if self.split != "patient" and not self.split.startswith("table:"):
            raise ConfigError(f"--split is {self.split!r}; set patient or table:URL")

    def check(self) -> None:
        """Look at the URLs before any work.

        Raises:
            ConfigError: No index there, or the output cannot be written.
        """
        storage.check_input(self.index, "--index")
        if not storage.list_files(self.index, ".parquet"):
            raise ConfigError(f"--index {self.index}: no Parquet files are there; run jobs/index.py first")
        if self.split != "patient":
            storage.check_input(self.split.removeprefix("table:"), "--split table:")
        storage.check_output(self.output, "--output")
