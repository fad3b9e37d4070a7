"""A class list: regions in class order, and the way from a header's text to one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from radray.regions.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class Region:
    """One anatomical region, a class."""

    name: str
    """Key in tables and models: lower case with underscores, `cervical_spine`."""
    title: str
    """For people: `cervical spine`."""
    snomed_code: str
    """SNOMED CT code value, PS3.16 Annex L."""
    snomed_meaning: str
    """Code meaning."""
    body_part_examined: str
    """Defined term for BodyPartExamined (0018,0015): upper case, at most 16 characters."""
    paired: bool
    """Whether there is one on each side of the body."""
    synonyms: tuple[str, ...]
    """Words and abbreviations that name the region, in any language; compared without case, accents, punctuation."""
    part_of: tuple[str, ...] = ()
    """Wider parts (`spine`, `arm`, `leg`, `head`, `trunk`): a text that names both means this region."""


@dataclass(frozen=True)
class RegionSet:
    """Regions in class order.

    Args:
        name: Of the list, for example `skeletal14`.
        regions: At least two, with distinct names.
        other_parts: Name → terms of body parts that are no class here, so that a text naming one of them and a
            region is seen to be ambiguous.
    """

    name: str
    regions: tuple[Region, ...]
    other_parts: Mapping[str, Iterable[str]] = field(default_factory=dict, repr=False)
    _vocabulary: Vocabulary = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        terms = {region.name: _terms(region) for region in self.regions}
        others = {f"{_OTHER}{part}": words for part, words in self.other_parts.items()}
        object.__setattr__(self, "_vocabulary", Vocabulary(terms, others))

    @property
    def names(self) -> tuple[str, ...]:
        """Names in class order."""
        return tuple(region.name for region in self.regions)

    def index(self, name: str) -> int:
        """The class number of `name`; ValueError when it is no class."""
        return self.names.index(name)

    def __getitem__(self, name: str) -> Region:
        """The region called `name`."""
        return self.regions[self.index(name)]

    def __len__(self) -> int:
        """Number of classes."""
        return len(self.regions)

    def normalise(self, text: str | None) -> str | None:
        """The one region that `text` names, else None.

        Case, accents, punctuation, digits, laterality and view words do not matter; the longest term wins. A text
        that names several regions, or a region and a body part that is no class, gives None: never a guess.

        >>> from radray.regions import load_regions
        >>> load_regions("skeletal14").normalise("HWS seitl.")
        'cervical_spine'
        """
        if not text:
            return None
        found = self._vocabulary.find(text)
        regions = {part for parts in found for part in parts if not part.startswith(_OTHER)}
        if len(regions) != 1:
            return None
        region = self[regions.pop()]
        wider = {f"{_OTHER}{part}" for part in region.part_of}
        return region.name if all(region.name in parts or parts & wider for parts in found) else None

    def names_body_part(self, text: str) -> bool:
        """Whether `text` holds any known term, of a class or of another body part."""
        return bool(self._vocabulary.find(text))


_OTHER = "~"
"""Marks body parts that are no class among the vocabulary's names."""


def _terms(region: Region) -> tuple[str, ...]:
    return (
        region.name,
        region.title,
        region.snomed_meaning,
        region.body_part_examined,
        *region.synonyms,
    )
