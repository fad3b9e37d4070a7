import pytest

from radray.relabel.policy import Decision, Source, decide_label, settle_verdicts
from radray.review.verdicts import Verdict


def verdict(kind, region="", reviewer="a", uri="u"):
    return Verdict(uri=uri, reviewer=reviewer, verdict=kind, region=region)


CASES = [
    # header, model, confidence, abstained, verdict, expected
    ("hand", "wrist", 0.99, False, None, Decision("wrist", Source.MODEL)),
    ("hand", "wrist", 0.90, False, None, Decision("hand", Source.HEADER)),
    ("hand", "hand", 0.99, False, None, Decision("hand", Source.HEADER)),
    ("hand", "wrist", 0.99, True, None, Decision("hand", Source.HEADER)),
    ("hand", None, 0.0, False, None, Decision("hand", Source.HEADER)),
    (None, "wrist", 0.99, False, None, Decision("wrist", Source.MODEL)),
    (None, "wrist", 0.60, False, None, Decision(None, None)),
    (None, None, 0.0, False, None, Decision(None, None)),
    ("hand", "wrist", 0.99, False, verdict("confirm", "hand"), Decision("hand", Source.REVIEWER)),
    ("hand", "wrist", 0.10, True, verdict("correct", "elbow"), Decision("elbow", Source.REVIEWER)),
    ("hand", "wrist", 0.99, False, verdict("out_of_domain"), Decision(None, Source.REVIEWER)),
    ("hand", "wrist", 0.99, False, verdict("unsure"), Decision("wrist", Source.MODEL)),
    (None, None, 0.0, False, verdict("correct", "knee"), Decision("knee", Source.REVIEWER)),
]


@pytest.mark.parametrize(("header", "model", "confidence", "abstained", "given", "expected"), CASES)
def test_reviewer_then_confident_model_then_header(header, model, confidence, abstained, given, expected):
    decision = decide_label(
        header=header, model=model, confidence=confidence, abstained=abstained, verdict=given, min_confidence=0.95
    )
    assert decision == expected


def test_undone_verdicts_do_not_stand():
    settled, conflicts = settle_verdicts([verdict("correct", "knee"), verdict("correct", "foot"), verdict("undo")])
    assert settled["u"].region == "knee"
    assert conflicts == 0
    assert settle_verdicts([verdict("correct", "knee"), verdict("undo"), verdict("undo")])[0] == {}


def test_reviewers_who_disagree_leave_the_image_as_it_is():
    settled, conflicts = settle_verdicts(
        [
            verdict("correct", "knee", "a", "one"),
            verdict("correct", "foot", "b", "one"),
            verdict("correct", "knee", "a", "two"),
            verdict("unsure", "", "b", "two"),
            verdict("confirm", "hand", "a", "three"),
            verdict("correct", "hand", "b", "three"),
        ]
    )
    assert {uri: each.region for uri, each in settled.items()} == {"two": "knee", "three": "hand"}
    assert conflicts == 1
