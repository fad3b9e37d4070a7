"""The report: sections of whatever stages there are, their figures as PNG and their numbers as CSV beside the page."""

from __future__ import annotations

from typing import Any

from radray import storage
from radray.report.accuracy_section import accuracy_section
from radray.report.archive_section import archive_section
from radray.report.config import ReportConfig
from radray.report.headline import headline, key_numbers
from radray.report.page import Section, render_page, write_section
from radray.report.queue_section import queue_section
from radray.report.sources import load_sources
from radray.report.training_section import training_section
from radray.report.trust_section import trust_section

PAGE_FILE = "report.html"


def run_report(config: ReportConfig) -> dict[str, Any]:
    """Write report.html, figures/ and tables/; return a summary.

    Raises:
        ConfigError: A stage that was named holds no table.
    """
    sources = load_sources(config)
    sections: list[Section] = [
        section
        for section in (
            archive_section(sources, config),
            training_section(sources, config),
            accuracy_section(sources),
            trust_section(sources, config),
            queue_section(sources, config),
        )
        if section.blocks
    ]
    for section in sections:
        write_section(config.output, section)
    page = render_page(config.title, headline(sources), key_numbers(sources), sections, sources)
    place = storage.join(config.output, PAGE_FILE)
    storage.write_bytes(place, page.encode())
    return {
        "report": place,
        "sections": [section.title for section in sections],
        "left_out": sources.left_out,
    }
