"""What the ensemble's strongest network looks at, drawn and tabulated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from radray.ensemble.attention import Maps, Pixels, border_share
from radray.report.style import canvas, to_png


def draw_attention(images: Pixels, maps: Maps, words: Sequence[str], columns: int = 4) -> bytes:
    """Each image beside itself with its attention in colour.

    Args:
        images: UInt8[n, side, side], n ≥ 1.
        maps: Float32[n, any, any].
        words: What stands over each pair.
        columns: Pairs in a row.
    """
    rows = -(-len(images) // columns)
    with canvas(2.5 * columns, 1.5 * rows, nrows=rows, ncols=2 * columns, squeeze=False) as (figure, grid):
        for axes in grid.flat:
            axes.axis("off")
        for place, (image, heat, text) in enumerate(zip(images, maps, words, strict=True)):
            left, right = grid[place // columns][2 * (place % columns) :][:2]
            extent = (0, 1, 1, 0)
            for axes in (left, right):
                axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=extent)
            right.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=np.sqrt(heat), extent=extent)
            left.set_title(text, fontsize=8, loc="left", pad=3)
        return to_png(figure)


def attention_rows(chosen: Sequence[Mapping[str, Any]], maps: Maps) -> list[dict[str, Any]]:
    """Rows of attention.csv: row_id, label, named and the share of the attention at the border."""
    return [
        {"row_id": row["row_id"], "label": row["label"], "named": row["region"], "border_share": float(share)}
        for row, share in zip(chosen, border_share(maps), strict=True)
    ]
