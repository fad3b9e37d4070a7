"""Figures of the training: curves of every run, and what the random views make of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from radray.report.style import SOFT, canvas, method_colours, method_title, to_png
from radray.views.augment import draw_views, view_steps
from radray.views.config import ViewConfig
from radray.views.gauge import GaugeLibrary, harvest_gauges, synthetic_gauges

Journals = Mapping[str, Sequence[Mapping[str, float]]]


def draw_curves(journals: Journals) -> bytes:
    """Loss, accuracy of neighbours on validation, and spread of the features over epochs, one line a method."""
    colours = method_colours(list(journals))
    panels = (("loss", "loss"), ("knn_accuracy", "20 neighbours, validation labels"), ("feature_std", "feature spread"))
    with canvas(10.0, 3.2, ncols=len(panels)) as (figure, grid):
        for axes, (name, title) in zip(grid, panels, strict=True):
            for method, lines in journals.items():
                own = [(line["epoch"], line[name]) for line in lines if name in line]
                if own:
                    axes.plot(*zip(*own, strict=True), color=colours[method], label=method_title(method), lw=1.6)
            axes.set_title(title)
            axes.set_xlabel("epoch")
            if name != "loss":
                axes.set_ylim(0, 1.1 if name == "feature_std" else 1.0)
        grid[0].legend(fontsize=8)
        return to_png(figure)


def curve_rows(journals: Journals) -> list[dict[str, Any]]:
    """The numbers of `draw_curves`: one row a method and logged step."""
    names = (
        "epoch",
        "loss",
        "learning_rate",
        "knn_accuracy",
        "linear_accuracy",
        "feature_std",
        "uniformity",
        "alignment",
    )
    return [
        {"method": method, **{name: line.get(name) for name in names}}
        for method, lines in journals.items()
        for line in lines
    ]


def draw_evolution(images: NDArray[np.uint8], views: ViewConfig, side_px: int, seed: int = 1) -> bytes:
    """How a view comes about: each line one image, each column a step, the last one a second view.

    Args:
        images: UInt8[n, side, side], stored images.
        views: How strong the views are.
        side_px: Side of the views.
        seed: Of the draws.
    """
    library = synthetic_gauges(images.shape[-1]).join(GaugeLibrary.of(**harvest_gauges(images)))
    stored = torch.from_numpy(images)
    steps: list[tuple[str, Any]] = [("stored", images / 255)]
    for number in (0, 1):
        draws = draw_views(views, len(images), len(library.grey), (seed, number))
        rendered = [(name, view[:, 0].numpy()) for name, view in view_steps(stored, draws, library, side_px)]
        steps += rendered if number == 0 else [("another view", rendered[-1][1])]
    size = (1.25 * len(steps), 1.32 * len(images))
    with canvas(*size, nrows=len(images), ncols=len(steps), squeeze=False) as (figure, grid):
        for column, (name, pictures) in enumerate(steps):
            for line, picture in enumerate(pictures):
                axes = grid[line][column]
                axes.axis("off")
                axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
            grid[0][column].set_title(
                name.replace(", ", ",\n"), fontsize=7.5, loc="center", color=SOFT, fontweight="normal"
            )
        return to_png(figure)
