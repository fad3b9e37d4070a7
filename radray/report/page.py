"""The page: sections made of figures, tables and galleries, rendered to one HTML file without any outside resource."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2

from radray import storage
from radray.report.galleries import Card
from radray.report.sources import Sources
from radray.review.thumbnails import data_uri
from radray.version import __version__

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Block:
    """A figure, a table or a gallery with its heading and one or two sentences."""

    name: str
    """Name of its files: figures/<name>.png and tables/<name>.csv."""
    title: str
    """Heading."""
    text: str = ""
    """What it shows and how to read it."""
    png: bytes | None = None
    """The figure; of a gallery: its contact sheet, for the folder only."""
    rows: Rows = ()
    """The numbers behind it, for the CSV file."""
    shown: Rows = ()
    """A table on the page: rows of column heading → text."""
    gallery: Sequence[tuple[str, Sequence[Card]]] = ()
    """Lines of pictures, each with a heading that may be empty."""
    half: bool = False
    """Half as wide as the page."""

    @property
    def picture(self) -> str:
        """The figure as data URI, empty for tables and galleries."""
        return data_uri(self.png) if self.png and not self.gallery else ""


@dataclass(kw_only=True)
class Section:
    """Blocks under one title."""

    anchor: str
    """For the page's own links."""
    title: str
    lead: str = ""
    """First sentence."""
    blocks: list[Block] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class KeyNumber:
    """A number on top of the page."""

    value: str
    name: str
    note: str = ""


def write_section(output: str, section: Section) -> None:
    """Write the PNG and CSV files of a section below `output`."""
    for block in section.blocks:
        if block.png:
            storage.write_bytes(storage.join(output, "figures", f"{block.name}.png"), block.png)
        if block.rows:
            sink = io.StringIO()
            writer = csv.DictWriter(sink, list(block.rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(block.rows)
            storage.write_bytes(storage.join(output, "tables", f"{block.name}.csv"), sink.getvalue().encode())


def render_page(
    title: str, headline: str, numbers: Sequence[KeyNumber], sections: Sequence[Section], sources: Sources
) -> str:
    """The report as HTML; every text in it is escaped."""
    loader = jinja2.PackageLoader("radray.report", "pages")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_uri"] = data_uri
    return environment.get_template("report.html.j2").render(
        title=title,
        headline=headline,
        numbers=numbers,
        sections=sections,
        left_out=sources.left_out,
        bundle=sources.bundle,
        version=__version__,
    )
