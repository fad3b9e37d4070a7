"""Contact sheets: many small images on one PNG, for a person to look at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt


def contact_sheet(images: Sequence[npt.NDArray[np.uint8]], *, tile_px: int = 112, columns: int = 8) -> bytes:
    """A PNG of square grey images side by side.

    Args:
        images: One or more uint8 [side, side]; cleaned ones, for stored and shown images have text masked.
        tile_px: Side of each on the sheet.
        columns: Images a row.

    Raises:
        ValueError: No images.
    """
    if not images:
        raise ValueError("a contact sheet needs an image")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    step = tile_px + 4
    sheet = np.full((rows * step + 4, columns * step + 4), 64, np.uint8)
    for place, image in enumerate(images):
        top, left = 4 + place // columns * step, 4 + place % columns * step
        sheet[top : top + tile_px, left : left + tile_px] = cv2.resize(
            image, (tile_px, tile_px), interpolation=cv2.INTER_AREA
        )
    return bytes(cv2.imencode(".png", sheet)[1].tobytes())
