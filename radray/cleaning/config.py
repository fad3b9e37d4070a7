"""What cleaning does and how much of it: one frozen dataclass, JSON-able, stored in every bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from radray.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CleaningConfig:
    """Parameters of every cleaning step. Lengths are fractions of the image's longer side unless a unit is named."""

    side_px: int = 128
    """Side of the square that comes out, in pixels (16 to 2048)."""
    working_px: int = 512
    """Longer side at which the steps run, in pixels; larger images are area-averaged to it first (64 to 4096)."""
    low_quantile: float = 0.01
    """Grey values at and below this quantile become black (0 to 0.5)."""
    high_quantile: float = 0.99
    """Grey values at and above this quantile become white (0.5 to 1)."""
    min_contrast: float = 0.01
    """Images whose quantiles lie closer than this (of the full grey range) are blank (0 to 1)."""
    min_shape_px: int = 32
    """Images with a shorter side below this have an odd shape, in pixels (1 to 4096)."""
    max_aspect: float = 6.0
    """Images longer than this many times their width have an odd shape (1 to 100)."""
    crop_borders: bool = True
    """Cut flat letterbox borders and bright strips (unexposed plate edges) from the four sides."""
    crop_field: bool = True
    """Find the exposed (collimated) field and blank what lies outside."""
    min_field_area: float = 0.06
    """A field covers at least this share of the image; smaller finds are ignored (0 to 1)."""
    field_support: float = 0.75
    """Share of each side of a rectangular field that the outline must follow (0.5 to 1)."""
    edge_band: float = 0.008
    """Width of the band blanked along the field's edge, where collimators leave a bright rim (0 to 0.1)."""
    edge_feather: float = 0.008
    """Width over which the image fades in behind that band (0 to 0.1)."""
    rotate_field: bool = True
    """Turn a clearly rectangular field upright."""
    min_rotation_deg: float = 1.5
    """Fields less askew than this stay as they are, in degrees (0 to 45)."""
    mask_text: bool = True
    """Paint over burned-in text with what surrounds it. Off only where no image leaves the machine."""
    mask_markers: bool = False
    """Paint over side markers (L, R, D, S) too; they identify nobody, and training learns to ignore them."""
    crop_anatomy: bool = True
    """Crop to the exposed anatomy where it lies on an empty background, so that framing says less about the source."""
    anatomy_margin: float = 0.04
    """Margin kept around the anatomy (0 to 0.5)."""
    tone: Literal["none", "gamma", "local"] = "gamma"
    """The scanner's look: none; gamma (foreground's median to `tone_median`); local (that and local contrast)."""
    tone_median: float = 0.45
    """Grey value that the foreground's median is moved to by `tone` (0.1 to 0.9)."""
    local_contrast_clip: float = 2.0
    """Clip limit of the contrast-limited histogram equalisation of `tone` local (1 to 40)."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: If a value lies outside its range.
        """
        for name, (low, high) in _RANGES.items():
            given = getattr(self, name)
            if isinstance(given, bool) or not isinstance(given, (int, float)) or not low <= given <= high:
                raise ConfigError(f"cleaning.{name} is {given!r}; set a number from {low:g} to {high:g}")
        if self.tone not in ("none", "gamma", "local"):
            raise ConfigError(f"cleaning.tone is {self.tone!r}; set none, gamma or local")
        if self.working_px < self.side_px:
            raise ConfigError(
                f"cleaning.working_px is {self.working_px}, less than side_px; set it to {self.side_px} or more"
            )


_RANGES: dict[str, tuple[float, float]] = {
    "side_px": (16, 2048),
    "working_px": (64, 4096),
    "low_quantile": (0, 0.5),
    "high_quantile": (0.5, 1),
    "min_contrast": (0, 1),
    "min_shape_px": (1, 4096),
    "max_aspect": (1, 100),
    "min_field_area": (0, 1),
    "field_support": (0.5, 1),
    "edge_band": (0, 0.1),
    "edge_feather": (0, 0.1),
    "min_rotation_deg": (0, 45),
    "anatomy_margin": (0, 0.5),
    "tone_median": (0.1, 0.9),
    "local_contrast_clip": (1, 40),
}
