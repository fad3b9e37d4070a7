"""BodyPartExamined (0018,0015) and its codes: PS3.16 Annex L, Correspondence of Anatomic Region Codes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources


@dataclass(frozen=True, kw_only=True)
class BodyPart:
    """One row of PS3.16 Table L-1."""

    term: str
    """Defined term of BodyPartExamined."""
    code: str
    """SNOMED CT code value."""
    meaning: str
    """Code meaning."""
    paired: bool
    """Whether there is one on each side."""


@lru_cache(maxsize=1)
def body_parts() -> dict[str, BodyPart]:
    """All defined terms of BodyPartExamined, by term."""
    text = resources.files(__package__).joinpath("body_parts.json").read_text(encoding="utf-8")
    return {
        term: BodyPart(term=term, code=code, meaning=meaning, paired=paired)
        for term, (code, meaning, paired) in json.loads(text).items()
    }


@lru_cache(maxsize=1)
def meaning_by_code() -> dict[str, str]:
    """Code meaning of every SNOMED CT code of the table."""
    return {part.code: part.meaning for part in body_parts().values()}
