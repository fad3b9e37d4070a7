"""The composition of all cleaning steps: one grey image in, one square uint8 image and what was done to it out."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from radray.cleaning.annotations import find_annotations, paint_over
from radray.cleaning.config import CleaningConfig
from radray.cleaning.field import fade_outside, find_exposed_field, whole_image
from radray.cleaning.geometry import (
    Box,
    find_anatomy,
    find_borders,
    find_foreground,
    fit_square,
    shrink,
    turn_and_crop,
)
from radray.cleaning.intensity import (
    Grey,
    clip_unit,
    equalise_locally,
    quantiles,
    stretch,
    tone_exponent,
)
from radray.errors import ObjectError, Reason


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """A cleaned radiograph."""

    image: npt.NDArray[np.uint8]
    """Uint8 [side, side], bone bright, padded with black."""
    crop_box: tuple[float, float, float, float]
    """(left, top, right, bottom) of what was kept, in fractions of the image's columns and rows, upright."""
    angle_deg: float
    """Counter-clockwise turn applied, −45 to 45 degrees."""
    flags: tuple[str, ...]
    """What the steps did or saw, in order."""
    field: npt.NDArray[np.float32]
    """Outline of the exposed field, [points, 2] of (x, y) in fractions of the image's columns and rows."""
    text_boxes: tuple[Box, ...] = ()
    """Lines of burned-in text, in pixels at working size."""
    marker_boxes: tuple[Box, ...] = ()
    """Side markers, in pixels at working size."""


def clean(grey: Grey, config: CleaningConfig, burned_in: bool | None = None) -> Cleaned:
    """Clean one radiograph.

    Args:
        grey: Float32 [rows, columns] in [0, 1], bone bright.
        config: What to do.
        burned_in: BurnedInAnnotation (0028,0301) of the header; True forces the stronger text mask.

    Returns:
        The square image, the crop, the turn and the flags.

    Raises:
        ObjectError: `odd_shape` for images too small or too narrow, `blank_image` for images without contrast.
    """
    rows, columns = _check_shape(grey, config)
    flags: list[str] = []
    work = shrink(clip_unit(np.array(grey, np.float32, order="C")), config.working_px)
    low, high = quantiles(work[::2, ::2], config.low_quantile, config.high_quantile)
    if not high - low >= config.min_contrast:
        raise ObjectError(Reason.BLANK_IMAGE, f"{rows} × {columns} pixels without contrast")
    work = stretch(work, low, high)

    # The affine map from the stored image, in fractions, to the current crop, in pixels.
    to_current = np.array([[work.shape[1], 0, 0], [0, work.shape[0], 0]], np.float64)
    if config.crop_borders:
        box, border_flags = find_borders(work)
        work = np.ascontiguousarray(work[box.top : box.bottom, box.left : box.right])
        to_current[:, 2] -= (box.left, box.top)
        flags += border_flags

    strong = burned_in is True
    found = find_annotations(work, strong=strong)
    if found.text:
        flags.append("text_found")
    if found.markers:
        flags.append("marker_found")
    if config.mask_text or strong:
        work = paint_over(work, found.text)
        flags += ["text_masked"] if found.text else []
    if config.mask_markers or strong:
        work = paint_over(work, found.markers)
        flags += ["marker_masked"] if found.markers else []

    field = whole_image(work)
    angle = 0.0
    if config.crop_field:
        field = find_exposed_field(work, min_area=config.min_field_area, support=config.field_support)
    outline = _to_stored(field.polygon, to_current)
    if field.kind != "whole":
        flags.append(f"field_{field.kind}")
        longer = max(work.shape)
        work = fade_outside(work, field, config.edge_band * longer, config.edge_feather * longer)
        if config.rotate_field and abs(field.angle_deg) >= config.min_rotation_deg:
            angle = field.angle_deg
            flags.append("field_rotated")
        work, moved = turn_and_crop(work, field.polygon, angle)
        to_current = moved @ np.vstack([to_current, [0, 0, 1]])

    if config.crop_anatomy:
        box = find_anatomy(find_foreground(work), work.shape, config.anatomy_margin)
        if box.area < work.size:
            flags.append("anatomy_cropped")
            work = work[box.top : box.bottom, box.left : box.right]
            to_current[:, 2] -= (box.left, box.top)

    work = stretch(
        np.ascontiguousarray(work),
        *quantiles(work[::2, ::2], config.low_quantile, config.high_quantile),
    )
    if config.tone == "local":
        work = equalise_locally(work, config.local_contrast_clip)
    corners = np.array([[0, 0], [work.shape[1], 0], [work.shape[1], work.shape[0]], [0, work.shape[0]]])
    kept = np.clip(_to_stored(corners, to_current), 0, 1)
    square = fit_square(work, config.side_px)
    if config.tone != "none":
        exponent = tone_exponent(work, find_foreground(work), config.tone_median)
        square = np.asarray(cv2.pow(square, exponent), np.float32)
    return Cleaned(
        image=np.round(square * 255).astype(np.uint8),
        crop_box=(
            float(kept[:, 0].min()),
            float(kept[:, 1].min()),
            float(kept[:, 0].max()),
            float(kept[:, 1].max()),
        ),
        angle_deg=angle,
        flags=tuple(flags),
        field=outline.astype(np.float32),
        text_boxes=found.text,
        marker_boxes=found.markers,
    )


def _check_shape(grey: Grey, config: CleaningConfig) -> tuple[int, int]:
    if grey.ndim != 2:
        raise ObjectError(Reason.ODD_SHAPE, f"{grey.ndim} axes where rows and columns are wanted")
    rows, columns = grey.shape
    shorter, longer = min(rows, columns), max(rows, columns)
    if shorter < config.min_shape_px or longer > config.max_aspect * shorter:
        raise ObjectError(Reason.ODD_SHAPE, f"{rows} × {columns} pixels")
    return rows, columns


def _to_stored(points: npt.NDArray[np.floating], to_current: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Points [n, 2] of the current crop in fractions of the stored image."""
    inverse = np.linalg.inv(to_current[:, :2])
    return (np.asarray(points, np.float64) - to_current[:, 2]) @ inverse.T
