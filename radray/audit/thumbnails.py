"""Stored images as PNG data URIs, for pages that open offline."""

from __future__ import annotations

import base64
from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.dataset as dataset

from radray import storage


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


def load_pictures(images_url: str, row_ids: Iterable[int]) -> dict[int, npt.NDArray[np.uint8]]:
    """The stored (cleaned, text masked) images of some rows, by row id; rows without image are left out."""
    wanted = sorted(set(row_ids))
    files = [storage.locate(file).path for file in storage.list_files(images_url, ".parquet")]
    if not wanted or not files:
        return {}
    table = dataset.dataset(files, filesystem=storage.locate(images_url).arrow, format="parquet")
    rows = pc.field("row_id").isin(wanted) & pc.field("image").is_valid()
    pictures = {}
    for batch in table.to_batches(columns=["row_id", "image", "side_px"], filter=rows, batch_size=512):
        for row in batch.to_pylist():
            side = row["side_px"]
            pictures[row["row_id"]] = np.frombuffer(row["image"], np.uint8).reshape(side, side)
    return pictures
