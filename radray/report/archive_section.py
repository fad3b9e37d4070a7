"""The archive: what it holds, what was set aside and why, and what a cleaned radiograph looks like."""

from __future__ import annotations

from collections import Counter

from radray.errors import Status
from radray.report.config import ReportConfig
from radray.report.galleries import draw_examples, example_cards
from radray.report.page import Block, Section
from radray.report.sources import Sources, usable
from radray.report.style import SOFT
from radray.report.trust_figures import draw_bars


def archive_section(sources: Sources, config: ReportConfig) -> Section:
    """Set-aside counts, labels by region, cleaned examples."""
    section = Section(anchor="archive", title="The archive")
    reasons = _reasons(sources)
    if reasons:
        section.lead = f"{sum(reasons.values()):,} objects were not used. Each has a row with its reason."
        rows = reasons.most_common()
        section.blocks.append(
            Block(
                name="set_aside",
                title="Set aside, by reason",
                png=draw_bars([(reason.replace("_", " "), count) for reason, count in rows], SOFT),
                rows=[{"reason": reason, "objects": count} for reason, count in rows],
            )
        )
    if sources.images is None or config.images is None:
        return section
    labels = Counter(usable(sources.images)["label"].to_pylist())
    titles = sources.titles or {name: name.replace("_", " ") for name in sorted(filter(None, labels))}
    named = [(title, labels[name]) for name, title in titles.items()]
    named = sorted(named, key=lambda pair: -pair[1]) + [("no label", sum(labels.values()) - sum(n for _, n in named))]
    section.blocks.append(
        Block(
            name="labels",
            title="Labels, by region",
            text="As the archive has them, wrong ones included. “No label” counts labels outside the class list too.",
            png=draw_bars(named),
            rows=[{"label": name, "radiographs": count} for name, count in named],
        )
    )
    examples = example_cards(sources.images, config.images, titles)
    if examples:
        section.blocks.append(
            Block(
                name="cleaned",
                title="Cleaned examples",
                text="As the models see them: cropped to the exposed field, burned-in text masked, bone bright. "
                "Sorted by label, so a wrong label shows as a stranger in its line.",
                gallery=examples,
                png=draw_examples(examples),
            )
        )
    return section


def _reasons(sources: Sources) -> Counter[str]:
    """Objects by reason: of the index, and of the images table where an object passed the index."""
    reasons: Counter[str] = Counter()
    for table in (sources.index, sources.images):
        if table is not None:
            pairs = zip(table["status"].to_pylist(), table["reason"].to_pylist(), strict=True)
            reasons.update(reason or "unknown" for status, reason in pairs if status != Status.OK)
    return reasons
