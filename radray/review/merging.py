"""Verdicts of several files as one: each line once, in the order in which they were given."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, replace
from datetime import UTC, datetime

from radray.review.verdicts import Verdict

_BASIS, _PRIME = 0x6C62272E07BB014262B821756295C58D, 0x0000000001000000000000000000013B


def number_lines(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The lines, those without an id with one that their content gives: the same file read twice gives the same ids.

    Lines of equal content differ by how many of them stand before. The offline page numbers in the same way.
    """
    before: Counter[tuple[str, ...]] = Counter()
    numbered = []
    for verdict in verdicts:
        if not verdict.id:
            content = astuple(verdict)[:-1]
            verdict = replace(verdict, id=_digest("\n".join((*content, str(before[content])))))
            before[content] += 1
        numbered.append(verdict)
    return numbered


def _digest(text: str) -> str:
    """FNV-1a of 128 bits in hex digits (G. Fowler, L. C. Noll, K.-P. Vo): short enough to be the same in a browser."""
    found = _BASIS
    for byte in text.encode("utf-8", "surrogateescape"):
        found = (found ^ byte) * _PRIME & (1 << 128) - 1
    return f"{found:032x}"


def merge_lines(known: Sequence[Verdict], others: Sequence[Verdict]) -> list[Verdict]:
    """The lines of `known` and those of `others` that are new, by time, because the last line about an image stands.

    Each file keeps its own order: a line counts as given no sooner than the one before it, and one without time as
    given with it. At the same time `known` comes first.

    Args:
        known: Oldest first, all with an id.
        others: Oldest first, all with an id.
    """
    ids = {verdict.id for verdict in known}
    fresh = list({verdict.id: verdict for verdict in others if verdict.id not in ids}.values())
    parts = (zip(_given(part), part, strict=True) for part in (known, fresh))
    return [verdict for _, verdict in heapq.merge(*parts, key=lambda pair: pair[0])]


def _given(verdicts: Iterable[Verdict]) -> list[float]:
    """Seconds since 1970, never falling."""
    latest, found = 0.0, []
    for verdict in verdicts:
        try:
            time = datetime.fromisoformat(verdict.time)
            latest = max(latest, (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
        except ValueError:
            pass  # none, or as a spreadsheet writes it
        found.append(latest)
    return found
