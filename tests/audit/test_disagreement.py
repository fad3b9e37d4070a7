import numpy as np
import pyarrow as pa

from radray.audit.disagreement import name_sources, tabulate_disagreement

NAMES = ("hand", "wrist", "knee")


def facts(stations, years):
    other = pa.nulls(len(stations), pa.string())
    columns = {"manufacturer": other, "model": other, "protocol_term": other, "study_year": pa.array(years)}
    return pa.table({"station": stations, **columns})


def test_a_station_that_tags_wrists_as_hands_is_named_once_with_its_counts():
    stations = ["A"] * 10 + ["B"] * 10
    suggested = np.array([1] * 10 + [1] * 5 + [2] * 5)
    labels = np.array([0] * 9 + [1] + [1] * 5 + [2] * 4 + [0])
    table = tabulate_disagreement(facts(stations, [2020] * 10 + [2021] * 10), labels, suggested, NAMES)
    first = table.to_pylist()[0]
    assert (first["fact"], first["value"], first["images"], first["of"]) == ("station", "A", 9, 10)
    assert name_sources(table) == ["station A: 9 of 10 that look like wrist say hand"]


def test_images_without_label_or_prediction_do_not_count():
    table = tabulate_disagreement(facts(["A"] * 3, [2020] * 3), np.array([0, -1, 0]), np.array([1, 1, -1]), NAMES)
    assert {(row["images"], row["of"]) for row in table.to_pylist()} == {(1, 1)}
    assert name_sources(table) == []
