"""Stored images as PNG data URIs, for pages that open offline."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import numpy.typing as npt


def encode_png(image: npt.NDArray[np.uint8], side_px: int | None = None) -> bytes:
    """A PNG of a grey image, shrunk to `side_px` where it is larger.

    Args:
        image: Uint8 [side, side].
        side_px: Longest side of the PNG; None leaves the size.
    """
    if side_px is not None and image.shape[0] > side_px:
        image = cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_AREA).astype(np.uint8)
    return bytes(cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes())


def data_uri(png: bytes) -> str:
    """`data:image/png;base64,…`."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
