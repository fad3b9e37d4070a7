"""One look for all figures: matplotlib's settings, colours, and the way to PNG."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

INK, SOFT, GRID, PAPER = "#1b2430", "#66717f", "#e6eaef", "#ffffff"
ACCENT, WARN = "#1f5fbf", "#c8452f"
METHOD_COLOURS = {
    "ensemble": "#1b2430",
    "simclr": "#1f77b4",
    "byol": "#12908e",
    "supcon": "#8a4fbf",
    "supervised": "#d9822b",
    "imagenet": "#7a6a58",
}
_MORE_COLOURS = ("#b5407a", "#5b7f2a", "#4a8fe0", "#a68a2d")
REGION_COLOURS = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
    *("#393b79", "#637939", "#8c6d31", "#843c39", "#7b4173", "#3182bd", "#e6550d", "#31a354", "#756bb1", "#636363"),
    *("#9c9ede", "#cedb9c"),
)

_SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.edgecolor": "#b9c2cd",
    "axes.labelcolor": SOFT,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
}


@contextmanager
def canvas(width: float, height: float, **options: Any) -> Iterator[tuple[Any, Any]]:
    """A figure of `width` × `height` inches and its axes, in radray's look; closed afterwards.

    Args:
        width: Inches.
        height: Inches.
        options: For `matplotlib.pyplot.subplots`.
    """
    with plt.rc_context(_SETTINGS):
        figure, axes = plt.subplots(figsize=(width, height), layout="constrained", **options)
        try:
            yield figure, axes
        finally:
            plt.close(figure)


def to_png(figure: Any, dpi: int = 150) -> bytes:
    """The figure as PNG, the same bytes for the same figure."""
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=dpi, metadata={"Software": None})
    return sink.getvalue()


def method_colours(methods: Sequence[str]) -> dict[str, str]:
    """A colour for each method; known methods always have the same one."""
    others = iter(_MORE_COLOURS * len(methods))
    return {method: METHOD_COLOURS.get(method) or next(others) for method in methods}


def method_title(method: str) -> str:
    """A method's name as people write it."""
    return {"simclr": "SimCLR", "byol": "BYOL", "supcon": "SupCon", "imagenet": "ImageNet"}.get(method, method)
