"""Values of a header that may be missing, doubled or broken; to be read within `parsing.lenient()`."""

from __future__ import annotations

import math
from typing import Any

from pydicom.dataset import Dataset


def value(dataset: Dataset, keyword: str) -> Any:
    """The element's value, None where it is absent, empty or cannot be read."""
    try:
        found = dataset.get(keyword)
    except Exception:  # pydicom raises many kinds for values that break their VR
        return None
    return None if found is None or (isinstance(found, str | bytes | list) and not found) else found


def first(dataset: Dataset, keyword: str) -> Any:
    """The first value of an element of any multiplicity."""
    found = value(dataset, keyword)
    if found is None or isinstance(found, str | bytes):
        return found
    try:
        return found[0] if len(found) else None
    except TypeError:
        return found


def text(dataset: Dataset, keyword: str) -> str | None:
    """A stripped text (first value), None where empty."""
    found = first(dataset, keyword)
    return (str(found).strip(" \0") or None) if found is not None else None


def number(dataset: Dataset, keyword: str) -> float | None:
    """The first value as a finite number."""
    found = first(dataset, keyword)
    try:
        result = float(found)
    except (TypeError, ValueError):
        return None
    return result if math.isfinite(result) else None


def integer(dataset: Dataset, keyword: str) -> int | None:
    """The first value as a whole number."""
    found = number(dataset, keyword)
    return None if found is None else int(found)


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence, none where it is absent or broken."""
    found = value(dataset, keyword)
    try:
        return [item for item in found if isinstance(item, Dataset)]
    except TypeError:
        return []
