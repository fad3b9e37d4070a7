"""From a DICOM object's bytes to the image columns of the images table: the one way for clean, score and serve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from radray.cleaning.composition import clean
from radray.cleaning.config import CleaningConfig
from radray.dicom.pictures import decode_picture
from radray.dicom.pixels import PixelLimits, Pixels, decode
from radray.errors import ObjectError, Reason, Status
from radray.images.hashing import hash_pixels, perceptual_hash

NO_IMAGE: dict[str, Any] = {
    "content_hash": None,
    "image": None,
    "side_px": None,
    "crop_box": None,
    "angle_deg": None,
    "flags": None,
    "perceptual_hash": None,
}
"""Image columns of a row without image."""


def prepare_image(
    body: bytes,
    cleaning: CleaningConfig,
    *,
    limits: PixelLimits | None = None,
    burned_in: bool | None = None,
    frame: int = 0,
    inverted: bool = False,
) -> dict[str, Any]:
    """Decode and clean one object.

    Args:
        body: The whole DICOM object.
        cleaning: What to do.
        limits: Limits of the decoder; None for its defaults.
        burned_in: True forces the stronger text mask whatever the header says.
        frame: Position of the frame, 0 for the first.
        inverted: Whether the grey values are turned over first, against what the header says.

    Returns:
        `status`, `reason`, `message` and the image columns of `IMAGES_SCHEMA`; `image` is bytes of side × side grey
        values. An object that cannot be used has nulls and a reason; nothing is raised for it.
    """
    limits = limits or PixelLimits()
    return _prepare(
        lambda: decode(body, side_px=cleaning.working_px, limits=limits, frame=frame), cleaning, burned_in, inverted
    )


def prepare_picture(
    body: bytes, cleaning: CleaningConfig, *, limits: PixelLimits | None = None, inverted: bool = False
) -> dict[str, Any]:
    """The same for a PNG or JPEG file, whose text is masked as if it were stated."""
    limits = limits or PixelLimits()
    return _prepare(lambda: decode_picture(body, side_px=cleaning.working_px, limits=limits), cleaning, True, inverted)


def _prepare(
    read: Callable[[], Pixels], cleaning: CleaningConfig, burned_in: bool | None, inverted: bool
) -> dict[str, Any]:
    content_hash = None
    try:
        pixels = read()
        content_hash = hash_pixels(pixels.grey, pixels.source_rows, pixels.source_columns)
        grey = 1 - pixels.grey if inverted else pixels.grey
        cleaned = clean(grey, cleaning, burned_in=True if burned_in else pixels.burned_in)
    except ObjectError as error:
        return {**quarantine(error.reason, error.message), "content_hash": content_hash}
    return {
        "status": Status.OK.value,
        "reason": None,
        "message": None,
        "content_hash": content_hash,
        "image": cleaned.image.tobytes(),
        "side_px": cleaning.side_px,
        "crop_box": list(cleaned.crop_box),
        "angle_deg": cleaned.angle_deg,
        "flags": list(cleaned.flags),
        "perceptual_hash": perceptual_hash(cleaned.image),
    }


def quarantine(reason: Reason, message: str = "") -> dict[str, Any]:
    """The columns of a row without image, and why."""
    return {"status": reason.status.value, "reason": reason.value, "message": message or None, **NO_IMAGE}
