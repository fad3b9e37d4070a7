"""Pictures with a few words below each: cleaned examples, suspected labels, images out of domain."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from radray.images.reading import load_pictures
from radray.report.sources import usable
from radray.report.style import SOFT, WARN, canvas, to_png
from radray.review.thumbnails import encode_png

TILE_PX = 192
"""Longest side of a picture on the page."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """One picture and its words."""

    png: bytes
    """The stored image, text masked."""
    title: str
    """First line."""
    below: str = ""
    """Second line."""


def example_cards(
    images: pa.Table, images_url: str, titles: Mapping[str, str], count: int = 6
) -> list[tuple[str, list[Card]]]:
    """Cleaned images of each region by its label, `count` of them chosen by key: region title and cards.

    Args:
        images: `Sources.images`.
        images_url: Where the pictures are.
        titles: Region → title, in class order.
        count: Pictures a region.
    """
    table = usable(images).sort_by("row_id")
    chosen = {name: table.filter(pc.equal(table["label"], name))["row_id"][:count].to_pylist() for name in titles}
    pictures = load_pictures(images_url, [one for own in chosen.values() for one in own])
    return [
        (titles[name], [Card(png=encode_png(pictures[one], TILE_PX), title="") for one in own if one in pictures])
        for name, own in chosen.items()
        if own
    ]


def finding_cards(findings: pa.Table, issue: str, images_url: str, titles: Mapping[str, str], count: int) -> list[Card]:
    """The first `count` findings of an issue that have a picture, in rank order."""
    own = findings.filter(pc.equal(findings["issue"], issue)).sort_by("rank")[: 2 * count].to_pylist()
    pictures = load_pictures(images_url, [row["row_id"] for row in own])
    cards = [
        Card(png=encode_png(pictures[row["row_id"]], TILE_PX), **_words(row, titles))
        for row in own
        if row["row_id"] in pictures
    ]
    return cards[:count]


def _words(row: Mapping[str, Any], titles: Mapping[str, str]) -> dict[str, str]:
    label = titles.get(row["label"], row["label"]) if row["label"] else "no label"
    if row["issue"] == "label_error":
        suggested = titles.get(row["suggested"], row["suggested"])
        arrow = " → " if len(label) + len(suggested) < 20 else "\n→ "
        return {"title": f"{label}{arrow}{suggested}", "below": f"wrong with {100 * row['score']:.0f} %"}
    if row["issue"] == "out_of_domain":
        distance = json.loads(row["evidence"])["ood_score"]
        return {"title": label, "below": f"farther out than {100 * distance:.1f} %"}
    return {"title": label, "below": ""}


def draw_cards(cards: Sequence[Card], columns: int = 8) -> bytes:
    """The cards on one PNG."""
    columns = min(columns, max(len(cards), 1))
    rows = max(1, -(-len(cards) // columns))
    with canvas(1.45 * columns, 1.8 * rows, nrows=rows, ncols=columns, squeeze=False) as (figure, grid):
        for axes in grid.flat:
            axes.axis("off")
        for axes, card in zip(grid.flat, cards, strict=False):
            axes.imshow(_decode(card), cmap="gray", vmin=0, vmax=255)
            axes.set_title(card.title, fontsize=7.5, loc="left", pad=3)
            axes.text(0, -0.03, card.below, transform=axes.transAxes, fontsize=7, color=WARN, va="top")
        return to_png(figure)


def draw_examples(rows: Sequence[tuple[str, Sequence[Card]]]) -> bytes:
    """One line of pictures a region."""
    columns = max((len(cards) for _, cards in rows), default=1)
    with canvas(
        1.3 * columns + 1.3, 1.3 * max(len(rows), 1), nrows=max(len(rows), 1), ncols=columns, squeeze=False
    ) as (
        figure,
        grid,
    ):
        for axes in grid.flat:
            axes.axis("off")
        for line, (title, cards) in zip(grid, rows, strict=False):
            line[0].text(
                -0.08, 0.5, title, transform=line[0].transAxes, ha="right", va="center", fontsize=9, color=SOFT
            )
            for axes, card in zip(line, cards, strict=False):
                axes.imshow(_decode(card), cmap="gray", vmin=0, vmax=255)
        return to_png(figure, dpi=110)


def _decode(card: Card) -> Any:
    return cv2.imdecode(np.frombuffer(card.png, np.uint8), cv2.IMREAD_GRAYSCALE)
