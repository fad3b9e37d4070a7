"""The training: how each run went, and what its random views look like."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from radray.images.reading import load_pictures
from radray.report.config import ReportConfig
from radray.report.page import Block, Section
from radray.report.sources import Sources, usable
from radray.report.style import method_title
from radray.report.training_figures import curve_rows, draw_curves, draw_evolution
from radray.views.config import ViewConfig

EXAMPLES = 4
"""Images whose views are shown."""


def training_section(sources: Sources, config: ReportConfig) -> Section:
    """A table and curves of the runs; the evolution of some images through the views of the first."""
    section = Section(anchor="training", title="Training")
    if not sources.runs:
        return section
    section.lead = (
        "Accuracy here is that of the archive's own labels on validation patients, wrong labels included: it shows "
        "whether a network learns, not how good the ensemble is."
    )
    journals = {method: run.journal for method, run in sources.runs.items() if run.journal}
    section.blocks.append(
        Block(
            name="runs",
            title="Runs",
            shown=[_row(method, run.document) for method, run in sources.runs.items()],
        )
    )
    if journals:
        section.blocks.append(
            Block(
                name="training",
                title="Curves",
                text="Feature spread near 1: images lie all over the sphere; near 0: one answer to all (collapse).",
                png=draw_curves(journals),
                rows=curve_rows(journals),
            )
        )
    if sources.images is not None and config.images is not None:
        recipe: dict[str, Any] = next(iter(sources.runs.values())).document["recipe"]
        wanted = usable(sources.images).sort_by("row_id")["row_id"][:EXAMPLES].to_pylist()
        pictures = list(load_pictures(config.images, wanted).values())
        if not pictures:
            return section
        section.blocks.append(
            Block(
                name="views",
                title="From an image to its views",
                text="Each view goes through all steps with draws of its own. What differs between hospitals is "
                "made random, so that a network cannot hold on to it.",
                png=draw_evolution(np.stack(pictures), _views(recipe["views"]), recipe["side_px"]),
            )
        )
    return section


def _row(method: str, document: dict[str, Any]) -> dict[str, str]:
    recipe = document["recipe"]

    def share(name: str) -> str:
        return f"{document[name]:.1%}" if name in document else "–"

    return {
        "Method": method_title(method),
        "Network": f"{document['backbone']}, {document['side_px']} px",
        "Images": f"{document['samples']:,}",
        "Labelled": f"{document['labelled']:,}",
        "Steps": f"{document['steps']:,} of {recipe['batch_size']}",
        "Loss": f"{document['loss']:.3f}",
        "kNN": share("knn_accuracy"),
        "Linear": share("linear_accuracy"),
    }


def _views(stored: dict[str, Any]) -> ViewConfig:
    """The view configuration of a run.json, where ranges are lists."""
    known = {field.name for field in dataclasses.fields(ViewConfig)}
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in stored.items() if name in known
    }
    return ViewConfig(**values)
