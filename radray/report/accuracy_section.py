"""How well regions are recognised: methods side by side, label budgets, confusion, figures by region."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from radray.probe.config import SUBGROUP_IMAGES
from radray.report.accuracy_figures import (
    budget_curves,
    confusion_counts,
    draw_budget_curves,
    draw_by_region,
    draw_confusion,
    draw_subgroups,
)
from radray.report.page import Block, Section
from radray.report.sources import ENSEMBLE, Sources, usable
from radray.report.style import method_title
from radray.report.verdict_block import verdict_block


def accuracy_section(sources: Sources) -> Section:
    """Blocks for whatever tables the probe wrote."""
    section = Section(anchor="accuracy", title="How well it recognises regions")
    section.lead = (
        "Measured on the test split against the known truth; no patient of it was seen in training."
        if sources.against == "truth"
        else "Measured on the test split against the archive's own labels, which are partly wrong: a right answer to a "
        "wrong label counts as an error. No patient of it was seen in training."
    )
    if sources.accuracy is not None:
        section.blocks += [_methods(sources, sources.accuracy), _budgets(sources, sources.accuracy)]
    if sources.verdicts is not None and sources.test is not None:
        test = sources.test.select(["uri", "label", "region"]).to_pylist()
        section.blocks.append(verdict_block(test, sources.verdicts, sources.review))
    if sources.confusion is not None and sources.titles:
        counts = confusion_counts(sources.confusion, sources.against, tuple(sources.titles))
        rows_are = "true region" if sources.against == "truth" else "label"
        section.blocks.append(
            Block(
                name="confusion",
                title="What is taken for what",
                text=f"Rows are the {rows_are}, columns the ensemble's answer; numbers are test images.",
                png=draw_confusion(counts, tuple(sources.titles.values()), rows_are),
                rows=[row for row in sources.confusion.to_pylist() if row["method"] == ENSEMBLE],
            )
        )
    if sources.per_region is not None:
        rows = [
            row
            for row in sources.per_region.to_pylist()
            if (row["method"], row["against"]) == (ENSEMBLE, sources.against)
        ]
        section.blocks.append(
            Block(
                name="by_region",
                title="Each region",
                text="Recall: how many images of a region are named so. Precision: how many of those named so are.",
                png=draw_by_region(rows, sources.titles),
                rows=rows,
            )
        )
    if sources.subgroups is not None:
        groups = [row for row in sources.subgroups.to_pylist() if row["against"] == sources.against]
        if groups:
            section.blocks.append(
                Block(
                    name="subgroups",
                    title="Who is recognised less well",
                    text="The ensemble's accuracy by what the headers say of patient and device, with 95 % intervals; "
                    f"groups of {SUBGROUP_IMAGES} test images or more. The line is the accuracy over all of them.",
                    png=draw_subgroups(groups, _accuracy(sources)),
                    rows=groups,
                )
            )
    return section


def _accuracy(sources: Sources) -> float | None:
    """Of the ensemble with all labels."""
    rows = [] if sources.accuracy is None else sources.accuracy.to_pylist()
    wanted = (ENSEMBLE, "all", sources.against)
    found = [row["accuracy"] for row in rows if (row["method"], row["budget"], row["against"]) == wanted]
    return found[0] if found else None


def _methods(sources: Sources, table: pa.Table) -> Block:
    own = [row for row in table.to_pylist() if (row["budget"], row["against"]) == ("all", sources.against)]
    own.sort(key=lambda row: -(row["accuracy"] or 0))
    compared = [] if sources.comparison is None else sources.comparison.to_pylist()
    gains = {
        row["method"]: f"{100 * row['ensemble_less_method']:+.1f} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
        for row in compared
        if row["against"] == sources.against and row["ensemble_less_method"] is not None
    }
    return Block(
        name="methods",
        title="Methods side by side",
        text="All labels. Intervals are 95 %, by resampling patients. The calibration error is debiased: what chance "
        "adds to it is taken away.",
        rows=own,
        shown=[
            {
                "method": method_title(row["method"]),
                "accuracy": f"{100 * row['accuracy']:.1f} %",
                "95 % interval": f"{100 * row['accuracy_low']:.1f} – {100 * row['accuracy_high']:.1f} %",
                "balanced accuracy": f"{100 * row['balanced_accuracy']:.1f} %",
                "macro F1": f"{row['macro_f1']:.3f}",
                "calibration error": f"{row['calibration_error_debiased']:.3f}",
                "ensemble less it": gains.get(row["method"], "–"),
            }
            for row in own
            if row["accuracy"] is not None
        ],
    )


def _budgets(sources: Sources, table: pa.Table) -> Block:
    curves = budget_curves(table, sources.against, _labels_per_region(sources))
    return Block(
        name="label_budgets",
        title="Accuracy over labels",
        text="How many labels each method needs; mean over draws of the labels, band: one standard deviation. "
        "The supervised baseline is dashed and sees the labelled images only. Methods that need no labels may learn "
        "their head from these labels spread over the unlabelled training images too. The figures for all labels are "
        "those of the bundle, which puts turned images right first.",
        png=draw_budget_curves(curves),
        rows=curves,
    )


def _labels_per_region(sources: Sources) -> float:
    """Training labels a region on average; 100 where the images are not at hand."""
    if sources.images is None or not sources.titles:
        return 100.0
    table = usable(sources.images)
    training = table.filter(pc.and_kleene(pc.equal(table["split"], "train"), pc.is_valid(table["label"])))
    return max(1.0, float(training.num_rows) / len(sources.titles))
