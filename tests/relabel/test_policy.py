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
    ("hand", "wrist", 0.99, False, verdict("unsure"), Decision("hand", Source.HEADER)),
    (None, "wrist", 0.99, False, verdict("unsure"), Decision(None, None)),
    (None, None, 0.0, False, verdict("correct", "knee"), Decision("knee", Source.REVIEWER)),
]


@pytest.mark.parametrize(("header", "model", "confidence", "abstained", "given", "expected"), CASES)
def test_reviewer_then_confident_model_then_header(header, model, confidence, abstained, given, expected):
    assert decide([given] if given else [], header, model, confidence, abstained) == expected


def decide(verdicts, header="hand", model="wrist", confidence=0.99, abstained=False):
    settled = settle_verdicts(verdicts)
    return decide_label(
        header=header,
        model=model,
        confidence=confidence,
        abstained=abstained,
        verdict=settled.verdicts.get("u"),
        held=settled.is_held("u"),
        min_confidence=0.95,
    )


def test_undone_verdicts_do_not_stand():
    settled = settle_verdicts([verdict("correct", "knee"), verdict("correct", "foot"), verdict("undo")])
    assert settled.verdicts["u"].region == "knee"
    assert not settled.is_held("u")
    assert settle_verdicts([verdict("unsure"), verdict("undo"), verdict("undo")]) == ({}, frozenset(), frozenset())


def test_reviewers_who_disagree_leave_the_image_as_it_is():
    settled = settle_verdicts(
        [
            verdict("correct", "knee", "a", "one"),
            verdict("correct", "foot", "b", "one"),
            verdict("correct", "knee", "a", "two"),
            verdict("unsure", "", "b", "two"),
            verdict("confirm", "hand", "a", "three"),
            verdict("correct", "hand", "b", "three"),
            verdict("confirm", "hand", "a", "four"),
            verdict("out_of_domain", "", "b", "four"),
            verdict("unsure", "", "a", "five"),
            verdict("unsure", "", "b", "five"),
        ]
    )
    assert {uri: each.region for uri, each in settled.verdicts.items()} == {"two": "knee", "three": "hand"}
    assert (settled.disputed, settled.unsure) == ({"one", "four"}, {"five"})
    held = [settled.is_held(uri) for uri in ("one", "two", "three", "four", "five", "six")]
    assert held == [True, False, False, True, True, False]


def test_the_model_does_not_overrule_what_reviewers_left_open():
    assert decide([]) == Decision("wrist", Source.MODEL)
    disputed = [verdict("correct", "knee", "a"), verdict("correct", "foot", "b")]
    assert decide(disputed) == decide([verdict("unsure")]) == Decision("hand", Source.HEADER)
    assert decide(disputed, header=None) == Decision(None, None)
    assert decide([*disputed, verdict("correct", "knee", "b")]) == Decision("knee", Source.REVIEWER)
    assert decide([verdict("unsure", "", "a"), verdict("correct", "foot", "b")]) == Decision("foot", Source.REVIEWER)
    assert decide([verdict("unsure"), verdict("undo")]) == Decision("wrist", Source.MODEL)
