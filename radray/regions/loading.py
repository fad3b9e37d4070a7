"""Class lists from JSON: shipped ones by name, a user's own by path or URL.

A user's file looks like this; an entry that is only a name takes the region as `skeletal22` has it, and fields given
beside such a name replace that region's:

    {
      "name": "our_regions",
      "regions": [
        "knee",
        {"name": "foot", "synonyms": ["Fuß", "foot", "Vorfuß"]},
        {"name": "thoracolumbar_spine", "title": "thoracolumbar spine", "snomed_code": "1217256009",
         "snomed_meaning": "Thoraco-lumbar spine", "body_part_examined": "TLSPINE", "paired": false,
         "part_of": ["spine"], "synonyms": ["BWS/LWS", "BWS", "LWS"]}
      ]
    }
"""

from __future__ import annotations

import json
import re
from dataclasses import fields
from functools import lru_cache
from importlib import resources
from typing import Any

from radray.errors import ConfigError
from radray.regions.region_set import Region, RegionSet
from radray.regions.words import spellings

SHIPPED = ("skeletal14", "skeletal22")
"""Class lists that come with radray."""

_FIELDS = {field.name for field in fields(Region)}
_REQUIRED = (
    "name",
    "title",
    "snomed_code",
    "snomed_meaning",
    "body_part_examined",
    "paired",
    "synonyms",
)


def load_regions(spec: str) -> RegionSet:
    """The class list `spec`.

    Args:
        spec: `skeletal14`, `skeletal22`, or the path or URL of a JSON file in the format above.

    Raises:
        ConfigError: No such list, or a bad file; one line that says what is wrong.
    """
    if spec in SHIPPED:
        return _shipped_regions(spec)
    if not spec.endswith(".json"):
        raise ConfigError(f"--regions {spec!r} is no class list; use {', '.join(SHIPPED)} or a .json file")
    return _build(_read(spec), f"--regions {spec}")


@lru_cache(maxsize=len(SHIPPED))
def _shipped_regions(name: str) -> RegionSet:
    return _build(_shipped(name), name)


def _read(url: str) -> Any:
    from radray import storage

    try:
        return json.loads(storage.read_bytes(storage.check_input(url, "--regions")))
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"--regions {url}: not JSON ({error})") from error
    except Exception as error:
        raise ConfigError(f"--regions {url}: cannot be read ({type(error).__name__})") from error


@lru_cache(maxsize=8)
def _shipped(name: str) -> Any:
    return json.loads(resources.files(__package__).joinpath(f"{name}.json").read_text(encoding="utf-8"))


def _build(document: Any, where: str) -> RegionSet:
    if not isinstance(document, dict) or not isinstance(document.get("regions"), list):
        raise ConfigError(f'{where}: must be an object with a list "regions"')
    if unknown := set(document) - {"name", "regions"}:
        raise ConfigError(f'{where}: unknown field {min(unknown)!r}; allowed are "name" and "regions"')
    known = {entry["name"]: entry for entry in _shipped("skeletal22")["regions"]}
    regions = tuple(_region(entry, number, known, where) for number, entry in enumerate(document["regions"], start=1))
    if len(regions) < 2:
        raise ConfigError(f"{where}: {len(regions)} region(s); a class list needs at least two")
    _refuse_twins(regions, where)
    others = {name: entry["synonyms"] + [entry["title"], entry["body_part_examined"]] for name, entry in known.items()}
    for part, terms in _shipped("other_parts").items():
        others[part] = others.get(part, []) + terms
    names = {region.name for region in regions}
    return RegionSet(
        str(document.get("name") or "regions"),
        regions,
        {part: tuple(terms) for part, terms in others.items() if part not in names},
    )


def _region(entry: Any, number: int, known: dict[str, Any], where: str) -> Region:
    here = f"{where}: region {number}"
    given = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        raise ConfigError(f'{here} must be a name or an object with a "name"')
    name = given["name"]
    here = f"{where}: region {name!r}"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigError(f"{here}: a name is lower case letters, digits and underscores")
    if unknown := set(given) - _FIELDS:
        raise ConfigError(f"{here}: unknown field {min(unknown)!r}; allowed are {', '.join(sorted(_FIELDS))}")
    values = {**known.get(name, {}), **given}
    if missing := [field for field in _REQUIRED if field not in values]:
        raise ConfigError(f"{here}: {missing[0]!r} is missing (only regions of skeletal22 can go by name alone)")
    return _checked(values, here)


def _checked(values: dict[str, Any], here: str) -> Region:
    for field in ("title", "snomed_code", "snomed_meaning", "body_part_examined"):
        if not isinstance(values[field], str) or not values[field].strip():
            raise ConfigError(f"{here}: {field!r} must be a text that is not empty")
    if not isinstance(values["paired"], bool):
        raise ConfigError(f"{here}: 'paired' must be true or false")
    if not re.fullmatch(r"[A-Z0-9 _]{1,16}", values["body_part_examined"]):
        raise ConfigError(
            f"{here}: 'body_part_examined' is {values['body_part_examined']!r}; "
            "DICOM allows at most 16 upper case letters, digits, spaces and underscores"
        )
    for field in ("synonyms", "part_of"):
        words = values.setdefault(field, [])
        if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
            raise ConfigError(f"{here}: {field!r} must be a list of texts")
    if unreadable := [word for word in values["synonyms"] if not spellings(word)]:
        raise ConfigError(f"{here}: synonym {unreadable[0]!r} holds no letter")
    return Region(
        **{
            **values,
            "synonyms": tuple(values["synonyms"]),
            "part_of": tuple(values["part_of"]),
        }
    )


def _refuse_twins(regions: tuple[Region, ...], where: str) -> None:
    owner: dict[str, str] = {}
    for region in regions:
        if [item.name for item in regions].count(region.name) > 1:
            raise ConfigError(f"{where}: region {region.name!r} is listed twice")
        for term in (region.body_part_examined, region.title, *region.synonyms):
            for spelling in spellings(term):
                if owner.setdefault(spelling, region.name) != region.name:
                    raise ConfigError(
                        f"{where}: {term!r} names both {owner[spelling]!r} and {region.name!r}; give it to one"
                    )
