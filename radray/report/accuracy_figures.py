"""Figures of how well regions are recognised: label budgets, confusion, precision and recall by region."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from radray.images.budgets import parse_budget
from radray.report.style import ACCENT, GRID, INK, PAPER, SOFT, canvas, method_colours, method_title, to_png

ENSEMBLE = "ensemble"


def budget_curves(accuracy: pa.Table, against: str, labels_per_region: float) -> list[dict[str, Any]]:
    """Mean and standard deviation of the accuracy over the seeds, for each method and budget.

    Args:
        accuracy: The probe's accuracy.csv.
        against: `truth` or `label`.
        labels_per_region: Training labels a region, on average: where the budget `all` stands.

    Returns:
        Rows of method, budget, labels_per_region, accuracy, sd, seeds; by method, then by labels.
    """
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in accuracy.to_pylist():
        if row["against"] == against and row["accuracy"] is not None:
            values[row["method"], row["budget"]].append(row["accuracy"])
    rows = [
        {
            "method": method,
            "budget": budget,
            "labels_per_region": _labels(budget, labels_per_region),
            "accuracy": float(np.mean(found)),
            "sd": float(np.std(found)),
            "seeds": len(found),
        }
        for (method, budget), found in values.items()
    ]
    return sorted(rows, key=lambda row: (row["method"], row["labels_per_region"]))


def _labels(budget: str, everything: float) -> float:
    kind, size = parse_budget(budget)
    return min(size, everything) if kind == "count" else max(size * everything, 1.0)


def draw_budget_curves(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Accuracy over labels a region (log x), one line a method, a band of one standard deviation over the seeds."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    colours = method_colours(methods)
    with canvas(7.4, 4.4) as (figure, axes):
        for method in sorted(methods, key=lambda name: name == ENSEMBLE):
            own = [row for row in rows if row["method"] == method]
            x, y, sd = (np.array([row[name] for row in own]) for name in ("labels_per_region", "accuracy", "sd"))
            main = method == ENSEMBLE
            axes.fill_between(x, 100 * (y - sd), 100 * (y + sd), color=colours[method], alpha=0.1, lw=0)
            style = {"ls": "--" if method == "supervised" else "-", "marker": "o", "ms": 5}
            axes.plot(x, 100 * y, color=colours[method], lw=2.8 if main else 1.7, label=method_title(method), **style)
        axes.set_xscale("log")
        ticks = {row["labels_per_region"]: row["budget"] for row in rows}
        axes.set_xticks(list(ticks), [_tick(budget, x) for x, budget in ticks.items()])
        axes.minorticks_off()
        axes.set(xlabel="labels a region", ylabel="accuracy on the test split, %")
        axes.set_ylim(top=101)
        handles, names = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], names[::-1], loc="lower right")
        return to_png(figure)


def _tick(budget: str, labels: float) -> str:
    return f"all (≈ {labels:.0f})" if budget == "all" else budget


def confusion_counts(confusion: pa.Table, against: str, names: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Int64 [classes, classes] of the ensemble: row the label (or truth), column the prediction."""
    counts = np.zeros((len(names), len(names)), np.int64)
    place = {name: index for index, name in enumerate(names)}
    for row in confusion.to_pylist():
        if row["method"] == ENSEMBLE and row["against"] == against:
            counts[place[row["label"]], place[row["predicted"]]] += row["images"]
    return counts


def draw_confusion(counts: np.ndarray[Any, np.dtype[np.int64]], titles: Sequence[str], rows_are: str) -> bytes:
    """The confusion matrix: colour is the share of its row, numbers are images.

    Args:
        counts: Int64 [classes, classes].
        titles: Of the classes.
        rows_are: What the rows are, `true region` or `label`.
    """
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 1.9 + 0.44 * len(titles)
    with canvas(size + 0.6, size) as (figure, axes):
        axes.grid(False)
        picture = axes.imshow(100 * share, cmap="Blues", vmin=0, vmax=100)
        for row, column in zip(*np.nonzero(counts), strict=True):
            dark = share[row, column] > 0.55
            number = f"{counts[row, column]}"
            axes.text(column, row, number, ha="center", va="center", fontsize=8, color=PAPER if dark else INK)
        axes.set_xticks(range(len(titles)), titles, rotation=50, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(titles)), titles)
        axes.set(xlabel="predicted by the ensemble", ylabel=rows_are)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(picture, ax=axes, shrink=0.6, pad=0.02)
        bar.set_label("% of the row")
        bar.outline.set_visible(False)
        return to_png(figure)


def draw_by_region(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> bytes:
    """Recall and precision of the ensemble, one line a region, with the number of test images.

    Args:
        rows: region, images, recall, precision; None or NaN where there is nothing to measure.
        titles: Region → title.
    """
    shown = sorted((row for row in rows if row["images"]), key=lambda row: row["recall"] or 0.0)
    with canvas(7.4, 1.1 + 0.3 * max(len(shown), 1)) as (figure, axes):
        lowest = 1.0
        for height, row in enumerate(shown):
            recall, precision = (100 * _number(row[name]) for name in ("recall", "precision"))
            lowest = min(lowest, np.nanmin([recall, precision]) / 100)
            axes.plot([recall, precision], [height, height], color=GRID, lw=4, zorder=1, solid_capstyle="round")
            names = ("recall", "precision") if height == 0 else (None, None)
            axes.scatter(recall, height, color=ACCENT, s=46, zorder=3, label=names[0])
            axes.scatter(precision, height, s=46, zorder=2, facecolor=PAPER, edgecolor=INK, label=names[1])
        ticks = [f"{titles.get(row['region'], row['region'])}  ({row['images']})" for row in shown]
        axes.set_yticks(range(len(shown)), ticks)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_xlim(max(0, 100 * lowest - 4), 101)
        axes.set_xlabel("%  (test images of the region in brackets)", color=SOFT)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.legend(loc="upper left", bbox_to_anchor=(0, 1.0 + 0.5 / max(len(shown), 1)), ncols=2)
        return to_png(figure)


def draw_subgroups(rows: Sequence[Mapping[str, Any]], overall: float | None) -> bytes:
    """Accuracy and its interval, one line a subgroup, grouped by fact.

    Args:
        rows: fact, value, images, accuracy, accuracy_low, accuracy_high.
        overall: Accuracy over all test images, None where unknown.
    """
    facts = list(dict.fromkeys(row["fact"] for row in rows))
    gaps = {fact: number for number, fact in enumerate(facts)}
    with canvas(7.4, 0.9 + 0.26 * (len(rows) + len(facts))) as (figure, axes):
        heights = [-(number + gaps[row["fact"]]) for number, row in enumerate(rows)]
        if overall is not None:
            axes.axvline(100 * overall, color=SOFT, lw=1, ls="--")
        for height, row in zip(heights, rows, strict=True):
            low, middle, high = (100 * row[name] for name in ("accuracy_low", "accuracy", "accuracy_high"))
            axes.plot([low, high], [height, height], color=GRID, lw=4, solid_capstyle="round", zorder=1)
            axes.scatter(middle, height, color=ACCENT, s=40, zorder=2)
        names = [f"{row['fact'].replace('_', ' ')}: {row['value']}  ({row['images']})" for row in rows]
        axes.set_yticks(heights, names)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_xlim(right=101)
        axes.set_xlabel("accuracy, %  (test images in brackets)", color=SOFT)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        return to_png(figure)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
