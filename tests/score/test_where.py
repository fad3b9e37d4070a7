"""`--where`: what it selects, beside a plain Python twin; what it refuses, with the place."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from radray.errors import ConfigError
from radray.score.config import ScoreConfig
from radray.score.where import parse_where
from radray.tables import INDEX_SCHEMA

Row = dict[str, Any]
ROWS: list[Row] = [
    {
        "uri": f"/archive/{number}",
        "modality": ["DX", "CR", None, "CT"][number % 4],
        "study_year": None if number % 5 == 0 else 2010 + number,
        "station": "XR-1" if number % 3 else "XR 'two'",
        "burned_in_annotation": [True, False, None][number % 3],
        "rows": 100 * number,
        "modified": datetime(2026, 1, 1 + number, tzinfo=UTC),
    }
    for number in range(20)
]
TABLE = pa.Table.from_pylist(
    [{**dict.fromkeys(INDEX_SCHEMA.names), **row} for row in ROWS],
    schema=INDEX_SCHEMA,
)


def known(row: Row, *names: str) -> bool:
    return all(row[name] is not None for name in names)


CASES: list[tuple[str, Callable[[Row], bool]]] = [
    ("modality == 'DX'", lambda row: row["modality"] == "DX"),
    ("modality != 'DX'", lambda row: known(row, "modality") and row["modality"] != "DX"),
    ("'DX' == modality", lambda row: row["modality"] == "DX"),
    ("modality in ('DX', 'CR') and study_year >= 2015", lambda row: row["modality"] in ("DX", "CR")
     and known(row, "study_year") and row["study_year"] >= 2015),
    ("modality not in ['DX']", lambda row: known(row, "modality") and row["modality"] != "DX"),
    ("not (modality == 'DX')", lambda row: known(row, "modality") and row["modality"] != "DX"),
    ("modality is None or study_year is not None", lambda row: not known(row, "modality") or known(row, "study_year")),
    ("2012 <= study_year < 2016", lambda row: known(row, "study_year") and 2012 <= row["study_year"] < 2016),
    ("2012.5 < study_year", lambda row: known(row, "study_year") and row["study_year"] > 2012.5),
    ("study_year == 40000", lambda row: False),
    ("study_year > -1", lambda row: known(row, "study_year")),
    ("station == \"XR 'two'\"", lambda row: row["station"] == "XR 'two'"),
    ("burned_in_annotation", lambda row: row["burned_in_annotation"] is True),
    ("not (modality in ('DX', 'CR'))", lambda row: row["modality"] is not None and row["modality"] not in ("DX", "CR")),
    ("not (modality not in ('DX',))", lambda row: row["modality"] == "DX"),
    ("not burned_in_annotation", lambda row: row["burned_in_annotation"] is False),
    ("burned_in_annotation == False", lambda row: row["burned_in_annotation"] is False),
    ("rows >= 500 or modality == 'CT' and rows > 100", lambda row: row["rows"] >= 500
     or (row["modality"] == "CT" and row["rows"] > 100)),
    ("modified >= '2026-01-10T00:00'", lambda row: row["modified"] >= datetime(2026, 1, 10, tzinfo=UTC)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "twin"), CASES, ids=[text for text, _ in CASES])
def test_the_same_rows_as_its_twin(text: str, twin: Callable[[Row], bool]) -> None:
    found = TABLE.filter(parse_where(text, INDEX_SCHEMA))
    assert found["uri"].to_pylist() == [row["uri"] for row in ROWS if twin(row)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modalty == 'DX'", r"position 1: modalty: .*did you mean modality\?"),
        ("rows > 3 and nothing == 1", r"position 14: nothing"),
        ("rows > '3'", r"position 8: rows is compared with a number"),
        ("rows == True", r"position 9: rows is compared with a number"),
        ("study_year in (1e99,)", r"position 16: study_year"),
        ("study_year in (99999,)", r"position 16: study_year"),
        ("modality == 3", r"position 13: modality is compared with text in quotes"),
        ("modality == None", r"position 13: .*modality is None"),
        ("modality = 'DX'", r"position \d+: cannot be read"),
        ("modality", r"position 1: modality is no condition by itself"),
        ("modality in 'DX'", r"position 13: in goes with a list"),
        ("modality is 'DX'", r"position 13: is and is not go with None"),
        ("modality == station", r"position 13: modality can be compared with a constant"),
        ("modality == 'ü' and modality == 1", r"position 33: modality"),
        ("modified > 'soon'", r"position 12: modified is compared with a time"),
        ("burned_in_annotation > True", r"position 24: burned_in_annotation is true or false"),
        ("__import__('os').system('true')", r"position 1: this is no condition"),
        ("(lambda: 1)() == 1", r"position 1: one side of a comparison must be a fact"),
        ("uri == f'{rows}'", r"position 8: uri can be compared with a constant"),
        ("rows > (9).__class__", r"position 8: rows can be compared"),
        ("", r"position 1: cannot be read"),
        ("(" * 250 + "rows > 1" + ")" * 250, r"--where"),
        ("not " * 2000 + "rows > 1", r"--where"),
        ("rows > 1 " * 2000, r"--where has 18,000 characters"),
    ],
)  # fmt: skip
def test_what_is_refused_is_one_line_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse_where(text, INDEX_SCHEMA)
    assert "\n" not in str(caught.value)


def test_a_listing_has_no_header_facts() -> None:
    job = ScoreConfig(archive="a", bundle="b", output="o", where="modality == 'DX'")
    with pytest.raises(ConfigError, match="position 1: modality: .*give --index"):
        job.selection()
    assert ScoreConfig(archive="a", bundle="b", output="o", where="size > 10").selection().where is not None
