"""Accuracy after the verdicts, by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from radray import storage
from radray.report.verdict_block import judge_errors, theoretical_accuracy, verdict_block
from radray.review.checks import LabelChecks
from radray.review.verdicts import Verdict
from tests.review.small_queue import write_small_queue

TEST = [
    {"uri": "a", "label": "knee", "region": "knee"},
    {"uri": "b", "label": "hand", "region": "wrist"},
    {"uri": "c", "label": "hand", "region": "wrist"},
    {"uri": "d", "label": "hand", "region": "wrist"},
    {"uri": "e", "label": "skull", "region": "ribs"},
    {"uri": "f", "label": "skull", "region": "ribs"},
    {"uri": "g", "label": None, "region": "ribs"},
    {"uri": "h", "label": "skull", "region": "ribs"},
]


def verdict(uri: str, ruling: str, region: str = "", reviewer: str = "ab") -> Verdict:
    return Verdict(uri=uri, reviewer=reviewer, verdict=ruling, region=region)


VERDICTS = [
    verdict("b", "correct", "wrist"),
    verdict("c", "confirm", "hand"),
    verdict("d", "correct", "elbow"),
    verdict("e", "out_of_domain"),
    verdict("f", "correct", "ribs"),
    verdict("f", "confirm", "skull", reviewer="cd"),  # they differ
    verdict("h", "correct", "ribs"),
    verdict("h", "undo"),
]


def test_each_error_is_what_the_radiologist_found() -> None:
    counts = judge_errors(TEST, VERDICTS)
    assert counts == {
        "images": 7,
        "right": 1,
        "label wrong, answer right": 1,
        "label right, answer wrong": 1,
        "label and answer wrong": 1,
        "out of domain": 1,
        "unsure or not looked at": 2,
    }
    assert theoretical_accuracy(counts) == pytest.approx(2 / 6)


def test_verdicts_on_images_that_counted_as_right_count_too() -> None:
    test = [{"uri": f"{number}", "label": "knee", "region": "knee"} for number in range(10)]
    verdicts = [verdict("0", "correct", "hand"), verdict("1", "out_of_domain"), verdict("2", "confirm", "knee")]
    counts = judge_errors(test, verdicts)
    assert counts["right"] == 10
    assert theoretical_accuracy(counts) == pytest.approx(8 / 9)


def test_without_verdicts_nothing_changes() -> None:
    assert theoretical_accuracy(judge_errors(TEST, [])) == pytest.approx(1 / 7)
    block = verdict_block(TEST, VERDICTS)
    assert "14.3 %" in block.text and "33.3 %" in block.text
    assert block.rows[-1] == {"outcome": "theoretical accuracy", "images": pytest.approx(2 / 6)}


def test_the_figure_without_bias_stands_beside_the_one_sided_one(tmp_path: Path) -> None:
    findings = write_small_queue(tmp_path, suspects=20, controls=15)
    rows = storage.read_table(findings).to_pylist()
    checks = LabelChecks.load(findings)
    assert checks is not None
    verdicts = [verdict(row["uri"], "confirm", row["label"]) for row in rows]
    told = verdict_block(TEST, verdicts, checks.accuracy(verdicts)).text
    assert "one-sided" in told and "With 15 of those looked at too" in told
    assert "the labels on 100.0 % (" in told
    assert "pools the ensemble with the labels of the nearest images" in told
    assert "0 of 35 verdicts on them were given blind" in told
    few = verdict_block(TEST, verdicts[:20], checks.accuracy(verdicts[:20])).text
    assert few.endswith("not estimated: 0 of the labels that nobody suspected are judged in order; 10 are needed.")
    partly = verdict_block(TEST, verdicts[5:], checks.accuracy(verdicts[5:])).text
    assert re.search(r"the labels on \d+\.\d to \d+\.\d % \(95 % intervals\)", partly)
    assert "5 suspected labels wait" in partly


def test_without_an_image_in_domain_no_share_is_told() -> None:
    only = [{"uri": "0", "label": "knee", "region": "knee"}]
    told = verdict_block(only, [verdict("0", "out_of_domain")]).text
    assert told.endswith("All of them are out of domain: nothing is left to count.")
    assert verdict_block([], []).text == "No test image has a label."
