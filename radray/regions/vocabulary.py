"""Which words name which body part, and which parts a text names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from radray.regions.words import inflections, spellings, tokens

_LONGEST_TERM = 8
"""Most tokens that one term spans (`H W S` counts three)."""
_PREFIXES = ("rontgen", "roentgen", "rtg", "xray")
_SUFFIXES = (
    "aufnahmen",
    "aufnahme",
    "spezialaufnahme",
    "zielaufnahme",
    "ubersicht",
    "uebersicht",
    "rontgen",
)


class Vocabulary:
    """Terms and the names of the parts they stand for; the longest term wins.

    Args:
        terms: Name of a part → its terms. A term may stand for several parts.
        yielding: The same for parts that give way: a spelling that `terms` holds too belongs to `terms` alone.
    """

    def __init__(self, terms: Mapping[str, Iterable[str]], yielding: Mapping[str, Iterable[str]]) -> None:
        self._parts: dict[str, frozenset[str]] = _by_spelling(terms)
        for spelling, parts in _by_spelling(yielding).items():
            self._parts.setdefault(spelling, parts)
        for spelling, parts in list(self._parts.items()):
            for inflected in inflections(spelling):
                self._parts.setdefault(inflected, parts)

    def find(self, text: str) -> list[frozenset[str]]:
        """The parts named in `text`, one entry for each term found, from left to right."""
        words = tokens(text)
        found = []
        start = 0
        while start < len(words):
            for stop in range(min(len(words), start + _LONGEST_TERM), start, -1):
                if parts := self._look_up("".join(words[start:stop]), single=stop == start + 1):
                    found.append(parts)
                    start = stop
                    break
            else:
                start += 1
        return found

    def _look_up(self, word: str, *, single: bool) -> frozenset[str] | None:
        if parts := self._parts.get(word):
            return parts
        if not single:
            return None
        shortened = [word.rstrip("?")] if word.endswith("?") else []
        shortened += [word.removeprefix(prefix) for prefix in _PREFIXES if word.startswith(prefix)]
        shortened += [word.removesuffix(suffix) for suffix in _SUFFIXES if word.endswith(suffix)]
        return next((parts for short in shortened if (parts := self._parts.get(short))), None)


def _by_spelling(terms: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for part, words in terms.items():
        for word in words:
            for spelling in spellings(word):
                found.setdefault(spelling, set()).add(part)
    return {spelling: frozenset(parts) for spelling, parts in found.items()}
