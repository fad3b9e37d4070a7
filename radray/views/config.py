"""How strongly a view may differ from the stored image (imports no torch)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """Ranges of the random draws; the defaults are those of contrastive pre-training.

    Brightness, contrast, rotation, translation, scale, shear and gauges follow Langer et al., arXiv 2412.15967.
    The steps after them imitate what differs between hospitals (tone curve, vendor processing, sharpness, noise,
    collimation, polarity, framing), so that the label cannot be read from the source.
    """

    gauges: int = 2
    """Most gauges pasted into one view; 0 to this many, each equally likely."""
    brightness: float = 0.5
    """Factor drawn from 1 ± this."""
    contrast: float = 0.75
    """Factor about the image's mean drawn from 1 ± this."""
    rotation_deg: float = 15.0
    """Angle drawn from ± this, degrees."""
    translation: float = 0.1
    """Shift drawn from ± this share of the side."""
    scale: tuple[float, float] = (0.8, 1.5)
    """Magnification drawn from this range."""
    shear_deg: float = 30.0
    """Shear drawn from ± this, degrees."""
    crop_area: tuple[float, float] = (0.3, 1.0)
    """Area of the random resized crop, share of the image."""
    crop_aspect: tuple[float, float] = (0.75, 1.333)
    """Aspect ratio of the random resized crop."""
    flip: float = 0.5
    """Probability of a left-right mirror image: a left hand is as much a hand as a right one."""
    quarter_turn: float = 0.1
    """Probability of a turn by 90, 180 or 270 degrees, as wrongly oriented plates are stored."""
    gamma: float = 0.5
    """Exponent drawn from exp(± this): another tone curve."""
    detail: tuple[float, float] = (-0.8, 1.0)
    """Gain on fine structure (image minus its 5-pixel blur): below 0 blurs, above 0 sharpens."""
    equalisation: tuple[float, float] = (-0.3, 0.8)
    """Gain on what is left when the coarse brightness is taken away: a vendor's latitude compression."""
    window: float = 0.2
    """Share of the grey range clipped away at either end, drawn from 0 to this: a narrow viewing window."""
    noise: float = 0.04
    """Standard deviation of added noise drawn from 0 to this, share of the range."""
    collimation: float = 0.3
    """Probability of a frame of one grey value around the view, each margin up to a quarter of the side."""
    cutout: float = 0.0
    """Probability of one blanked rectangle of up to a third of the side."""
    inversion: float = 0.1
    """Probability of inverted grey values."""


def pretraining_views() -> ViewConfig:
    """Strong views, for the contrastive methods."""
    return ViewConfig()


def crop_views() -> ViewConfig:
    """Crops and mirror images alone, to learn what the other steps are worth."""
    return ViewConfig(
        gauges=0,
        brightness=0.0,
        contrast=0.0,
        rotation_deg=0.0,
        translation=0.0,
        scale=(1.0, 1.0),
        shear_deg=0.0,
        crop_area=(0.6, 1.0),
        quarter_turn=0.0,
        gamma=0.0,
        detail=(0.0, 0.0),
        equalisation=(0.0, 0.0),
        window=0.0,
        noise=0.0,
        collimation=0.0,
        cutout=0.0,
        inversion=0.0,
    )


def probing_views() -> ViewConfig:
    """Light views, for training with labels on top of finished features (same paper)."""
    return ViewConfig(
        brightness=0.1,
        contrast=0.2,
        rotation_deg=5.0,
        translation=0.02,
        scale=(0.95, 1.1),
        shear_deg=10.0,
        crop_area=(0.95, 1.0),
        crop_aspect=(0.95, 1.05),
        gamma=0.2,
        detail=(-0.3, 0.3),
        equalisation=(-0.1, 0.2),
        window=0.05,
        noise=0.02,
        collimation=0.1,
        quarter_turn=0.0,
        inversion=0.0,
    )
