"""Figures of how far a confidence can be trusted: reliability, risk over coverage, and the map of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from radray.report.style import ACCENT, GRID, INK, PAPER, REGION_COLOURS, SOFT, WARN, canvas, to_png


def reliability_bins(
    confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_], bins: int = 10
) -> list[dict[str, float]]:
    """Mean confidence and accuracy in bins of equal count: rows of confidence, accuracy, images.

    Args:
        confidence: Float64 [n], 0 to 1.
        right: Bool [n].
        bins: At most so many, of 15 images or more where there are as many.
    """
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, max(1, min(bins, len(order) // 15)))
    return [
        {"confidence": float(confidence[part].mean()), "accuracy": float(right[part].mean()), "images": len(part)}
        for part in parts
        if len(part)
    ]


def draw_reliability(rows: Sequence[Mapping[str, float]]) -> bytes:
    """Accuracy over confidence; on the diagonal the ensemble is as often right as it says. Dots grow with images."""
    with canvas(4.6, 4.4) as (figure, axes):
        x, y, n = (np.array([row[name] for row in rows]) for name in ("confidence", "accuracy", "images"))
        axes.plot([0, 100], [0, 100], color=SOFT, lw=1, ls="--")
        axes.plot(100 * x, 100 * y, color=ACCENT, lw=1.6)
        axes.scatter(
            100 * x, 100 * y, s=20 + 80 * n / max(n.max(initial=1), 1), color=ACCENT, edgecolor=PAPER, zorder=3
        )
        low = max(0, 100 * min(x.min(initial=1), y.min(initial=1)) - 8)
        axes.set(xlim=(low, 101), ylim=(low, 101), xlabel="confidence, %", ylabel="accuracy, %", aspect="equal")
        return to_png(figure)


def risk_coverage(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> list[dict[str, float]]:
    """Share of wrong answers when only the most confident share is answered.

    Args:
        confidence: Float64 [n], n ≥ 1.
        right: Bool [n].

    Returns:
        At most 200 rows of coverage, risk, confidence.
    """
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
    places = np.unique(np.linspace(0, len(order) - 1, 200).round().astype(int))
    return [
        {
            "coverage": (int(place) + 1) / len(order),
            "risk": float(wrong[place]),
            "confidence": float(confidence[order[place]]),
        }
        for place in places
    ]


def draw_risk_coverage(rows: Sequence[Mapping[str, float]], answered: float | None) -> bytes:
    """Risk over coverage, with the bundle's operating point.

    Args:
        rows: From `risk_coverage`.
        answered: Share of the images that the bundle answers, None where unknown.
    """
    with canvas(4.9, 4.4) as (figure, axes):
        x, y = (100 * np.array([row[name] for row in rows]) for name in ("coverage", "risk"))
        axes.plot(x, y, color=ACCENT, lw=2)
        axes.fill_between(x, 0, y, color=ACCENT, alpha=0.08, lw=0)
        if answered is not None:
            axes.axvline(100 * answered, color=WARN, lw=1.2, ls="--")
            axes.annotate(
                f"answered: {100 * answered:.1f} %",
                (100 * answered, 0.97),
                xycoords=("data", "axes fraction"),
                xytext=(-5, 0),
                textcoords="offset points",
                color=WARN,
                ha="right",
                va="top",
                fontsize=9,
            )
        axes.set(xlim=(0, 101), xlabel="share of the images answered, %", ylabel="wrong among the answered, %")
        axes.set_ylim(bottom=0)
        return to_png(figure)


def lay_out_map(features: npt.NDArray[np.float32], seed: int = 0) -> npt.NDArray[np.float64]:
    """Two-dimensional t-SNE of features (van der Maaten and Hinton, JMLR 2008): float64 [n, 2]."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    width = min(50, *features.shape)
    reduced = PCA(width, random_state=seed).fit_transform(features)
    perplexity = min(30, (len(features) - 1) / 3)
    points: npt.NDArray[np.float64] = TSNE(
        perplexity=perplexity, init="pca", random_state=seed, n_jobs=1, max_iter=500
    ).fit_transform(reduced)
    return points


def draw_map(
    points: npt.NDArray[np.float64],
    regions: Sequence[str | None],
    suspected: npt.NDArray[np.bool_],
    titles: Mapping[str, str],
) -> bytes:
    """Test images by similarity, coloured by their label, suspected labels starred.

    Args:
        points: Float64 [n, 2].
        regions: Label of each image, None without.
        suspected: Bool [n].
        titles: Region → title, in class order.
    """
    with canvas(8.6, 5.8) as (figure, axes):
        given = np.array([region or "" for region in regions])
        none = given == ""
        axes.scatter(*points[none].T, s=12, color=GRID, label="no label" if none.any() else None)
        for number, (name, title) in enumerate(titles.items()):
            own = given == name
            colour = REGION_COLOURS[number % len(REGION_COLOURS)]
            if own.any():
                axes.scatter(*points[own & ~suspected].T, s=14, color=colour, alpha=0.75, lw=0, label=title)
                axes.scatter(
                    *points[own & suspected].T, s=130, marker="*", color=colour, edgecolor=INK, lw=0.9, zorder=3
                )
        if suspected.any():
            axes.scatter([], [], s=110, marker="*", color=PAPER, edgecolor=INK, label="suspected label")
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=1.2, fontsize=9)
        return to_png(figure)


def draw_bars(rows: Sequence[tuple[str, int]], colour: str = ACCENT) -> bytes:
    """Horizontal bars with their numbers, the first on top.

    Args:
        rows: Name and count.
        colour: Of the bars.
    """
    with canvas(7.4, 0.5 + 0.32 * max(len(rows), 1)) as (figure, axes):
        heights = np.arange(len(rows))[::-1]
        counts = [count for _, count in rows]
        axes.barh(heights, counts, color=colour, height=0.62)
        for height, count in zip(heights, counts, strict=True):
            axes.annotate(
                f"{count:,}", (count, height), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9
            )
        axes.set_yticks(heights, [name for name, _ in rows])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_xticks([])
        axes.set_xlim(0, 1.12 * max(counts, default=1))
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        return to_png(figure)
