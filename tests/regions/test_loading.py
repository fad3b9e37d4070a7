"""Class lists: the shipped ones, a user's own, and bad files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from radray.errors import ConfigError
from radray.regions import load_regions

EXAMPLE = Path(__file__).parents[2] / "examples" / "regions15.json"
OWN = {
    "name": "own",
    "title": "own part",
    "snomed_code": "1",
    "snomed_meaning": "Own part",
    "body_part_examined": "OWN",
    "paired": False,
    "synonyms": ["own"],
}


def test_skeletal14_holds_the_classes_of_the_paper_in_order() -> None:
    regions = load_regions("skeletal14")
    assert len(regions) == 14
    assert regions.names[0] == "knee"
    assert regions.index("scapula") == 13


def test_skeletal22_starts_with_skeletal14() -> None:
    assert load_regions("skeletal22").regions[:14] == load_regions("skeletal14").regions


def test_a_users_file_mixes_known_names_and_own_regions() -> None:
    regions = load_regions(str(EXAMPLE))
    assert len(regions) == 15
    assert regions.normalise("BWS/LWS seitl.") == "thoracolumbar_spine"
    assert regions.normalise("LEG") == "lower_leg"
    assert regions.normalise("HWS") is None
    assert regions["hip"].snomed_code == "24136001"


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ([], 'list "regions"'),
        ({"regions": ["knee"]}, "at least two"),
        ({"regions": ["knee", "knee"]}, "listed twice"),
        ({"regions": ["knee", "nose"]}, "'title' is missing"),
        ({"regions": ["knee", 3]}, "region 2 must be"),
        ({"regions": ["knee", {**OWN, "name": "Own Part"}]}, "lower case"),
        ({"regions": ["knee", {**OWN, "colour": "red"}]}, "unknown field 'colour'"),
        (
            {"regions": ["knee", {**OWN, "body_part_examined": "own part"}]},
            "16 upper case",
        ),
        ({"regions": ["knee", {**OWN, "paired": "yes"}]}, "true or false"),
        ({"regions": ["knee", {**OWN, "synonyms": "own"}]}, "list of texts"),
        ({"regions": ["knee", {**OWN, "synonyms": ["123"]}]}, "holds no letter"),
        (
            {"regions": ["knee", {**OWN, "synonyms": ["Knie"]}]},
            "names both 'knee' and 'own'",
        ),
        ({"regions": ["knee", OWN], "colour": 1}, "unknown field 'colour'"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, document: Any, complaint: str) -> None:
    path = tmp_path / "regions.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_regions(str(path))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("spec", ["skeletal99", "nowhere/regions.json"])
def test_a_missing_list_is_named(spec: str) -> None:
    with pytest.raises(ConfigError, match=spec):
        load_regions(spec)


def test_a_file_that_is_not_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "regions.json"
    path.write_text("{")
    with pytest.raises(ConfigError, match="not JSON"):
        load_regions(str(path))
