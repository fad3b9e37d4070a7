"""The estimates against a simulated archive of known truth."""

from __future__ import annotations

import numpy as np
import pytest

from radray.review import accuracy
from radray.review.accuracy import Checked, accuracy_after_review, seen_beginning, theoretical_accuracy
from radray.review.queue import mix_queue
from radray.review.verdicts import OUTSIDE


def simulate(seed, labelled=4000, wrong_share=0.05, outside_share=0.005, missed=0.1, controls=120, judged=None):
    """A queue with verdicts and the truth: some errors are not suspected, many suspects are right."""
    rng = np.random.default_rng(seed)
    outside = rng.random(labelled) < outside_share
    wrong = ~outside & (rng.random(labelled) < wrong_share)
    model_right = rng.random(labelled) < np.where(wrong, 0.8, 0.985)
    # A score that ranks errors high, but misses some.
    score = np.where(wrong & (rng.random(labelled) > missed), rng.beta(6, 2, labelled), rng.beta(1, 9, labelled))
    suspected = score > 0.3
    order = np.flatnonzero(suspected)[np.argsort(-score[suspected])]
    free = rng.permutation(np.flatnonzero(~suspected))[:controls]

    def check(place):
        label = "knee"
        truth = OUTSIDE if outside[place] else "hand" if wrong[place] else label
        answer = truth if model_right[place] and truth else "hip"
        return Checked(
            suspected=bool(suspected[place]), label=label, answer=answer, outcome=truth, seen=True, score=score[place]
        )

    queue = mix_queue([{"place": one} for one in order], [{"place": one} for one in free], seed)
    checks = [check(row["place"]) for row in queue]
    if judged is not None:
        last = int(judged * len(checks))
        open_ones = [Checked(**vars(each) | {"outcome": None, "seen": False}) for each in checks[last:]]
        checks = checks[:last] + open_ones
    inside = ~outside
    return checks, int(suspected.sum()), labelled, 1 - wrong[inside].mean(), model_right[inside].mean()


@pytest.mark.parametrize(("judged", "fewest"), [(None, 0.9), (0.5, 0.9), (0.25, 0.9)])
def test_intervals_hold_the_truth_as_often_as_they_say(monkeypatch, judged, fewest):
    monkeypatch.setattr(accuracy, "DRAWS", 500)
    runs, held_labels, held_model, errors = 120, 0, 0, []
    for seed in range(runs):
        checks, suspected, labelled, labels, model = simulate(seed, judged=judged)
        found = accuracy_after_review(checks, labelled, suspected, seed)
        held_labels += found["label_accuracy"]["low"] <= labels <= found["label_accuracy"]["high"]
        held_model += found["model_accuracy"]["low"] <= model <= found["model_accuracy"]["high"]
        if judged is None:
            errors.append(found["label_accuracy"]["value"] - labels)
        else:
            assert found["label_accuracy"]["value"] is found["model_accuracy"]["value"] is None
    print(f"judged {judged}: labels {held_labels / runs:.3f}, model {held_model / runs:.3f}")
    assert held_labels / runs >= fewest
    assert held_model / runs >= fewest
    if judged is None:
        assert abs(np.mean(errors)) < 0.001


def test_the_one_sided_figure_is_too_high_and_the_estimate_is_not():
    one_sided, unbiased = [], []
    for seed in range(60):
        checks, suspected, labelled, _, model = simulate(seed, missed=0.4)
        one_sided.append(theoretical_accuracy(checks, labelled, suspected) - model)
        unbiased.append(accuracy_after_review(checks, labelled, suspected)["model_accuracy"]["value"] - model)
    assert np.mean(one_sided) > 0.01
    assert abs(np.mean(unbiased)) < 0.003


def test_a_census_leaves_no_doubt():
    checks = [Checked(suspected=True, label="knee", answer="hip", outcome="hip", seen=True, score=0.5)] * 3
    checks += [Checked(suspected=False, label="knee", answer="knee", outcome="knee", seen=True, score=0.5)] * 7
    found = accuracy_after_review(checks, labelled=10, suspected=3)
    assert found["label_accuracy"] == {"value": 0.7, "low": 0.7, "high": 0.7}
    assert found["label_error_rate"]["value"] == pytest.approx(0.3)
    assert found["model_accuracy"] == {"value": 1, "low": 1, "high": 1}
    assert found["theoretical_accuracy"] == 1


def test_nothing_is_estimated_before_enough_of_both_kinds_were_seen():
    checks = [Checked(suspected=True, label="knee", answer="hip", outcome="hip", seen=True, score=0.5)] * 3
    checks += [Checked(suspected=False, label="knee", answer="knee", outcome=None, seen=False, score=0.5)]
    found = accuracy_after_review(checks, labelled=10, suspected=3)
    assert found["label_accuracy"] is None
    more = [Checked(suspected=False, label="knee", answer="knee", outcome="knee", seen=True, score=0.5)]
    assert accuracy_after_review([*checks[:3], *more * 9], labelled=100, suspected=3)["model_accuracy"] is None
    assert accuracy_after_review([*checks[:3], *more * 10], labelled=100, suspected=3)["model_accuracy"] is not None
    assert found["theoretical_accuracy"] == 1


def test_only_the_beginning_that_was_worked_through_counts():
    seen = np.zeros(100, bool)
    seen[:40] = True
    seen[[7, 60, 61]] = [False, True, True]
    assert seen_beginning(seen) == 41 - 1
    assert seen_beginning(np.zeros(5, bool)) == 0
    assert seen_beginning(np.ones(5, bool)) == 5
    controls = [
        Checked(suspected=False, label="knee", answer="hip", outcome="knee" if one else None, seen=bool(one), score=0)
        for one in seen
    ]
    suspects = [Checked(suspected=True, label="knee", answer="hip", outcome="hip", seen=True, score=1)]
    found = accuracy_after_review([*suspects, *controls], labelled=1000, suspected=1)
    assert (found["controls_judged"], found["suspects_judged"]) == (39, 1)


def test_controls_that_nobody_can_decide_widen_the_interval_to_both_sides():
    def control(outcome):
        return Checked(suspected=False, label="knee", answer="knee", outcome=outcome, seen=True, score=0)

    suspects = [Checked(suspected=True, label="knee", answer="hip", outcome="hip", seen=True, score=0.5)] * 20
    decided = accuracy_after_review([*suspects, *[control("knee")] * 100], labelled=10_000, suspected=20)
    open_too = [*[control("knee")] * 90, *[control(None)] * 10]
    undecided = accuracy_after_review([*suspects, *open_too], labelled=10_000, suspected=20)
    assert undecided["controls_open"] == 10
    assert decided["label_accuracy"]["low"] > 0.95
    for name in ("label_accuracy", "model_accuracy"):
        # They may all be wrong: then a tenth of all labels is.
        assert undecided[name]["low"] < 0.9 - 0.03
        assert undecided[name]["high"] > 0.995
    assert "10 images are open" in "".join(undecided["assumed"])


def test_a_suspect_that_nobody_can_decide_may_be_right_or_wrong_and_the_value_is_told():
    suspects = [Checked(suspected=True, label="knee", answer="hip", outcome="hip", seen=True, score=0.5)] * 4
    unsure = Checked(suspected=True, label="knee", answer="hip", outcome=None, seen=True, score=0.5)
    waiting = Checked(suspected=True, label="knee", answer="hip", outcome=None, seen=False, score=0.5)
    controls = [Checked(suspected=False, label="knee", answer="knee", outcome="knee", seen=True, score=0)] * 15
    found = accuracy_after_review([*suspects, unsure, *controls], labelled=20, suspected=5)
    assert (found["label_accuracy"]["low"], found["label_accuracy"]["high"]) == (0.75, 0.8)
    assert found["label_accuracy"]["value"] == 0.75
    partly = accuracy_after_review([*suspects, waiting, *controls], labelled=20, suspected=5)
    assert (partly["label_accuracy"]["value"], partly["suspects_waiting"]) == (None, 1)
    assert "1 suspected labels wait" in "".join(partly["assumed"])


def test_without_an_image_in_domain_nothing_is_claimed():
    def outside(suspected):
        return Checked(suspected=suspected, label="knee", answer="knee", outcome=OUTSIDE, seen=True, score=0.5)

    found = accuracy_after_review([outside(True)] * 3 + [outside(False)] * 12, labelled=1000, suspected=3)
    assert found["label_accuracy"] is found["label_error_rate"] is found["model_accuracy"] is None
    assert found["not_estimated"] == "all images that are judged are out of domain"
    nothing = accuracy_after_review([], labelled=0, suspected=0)
    assert nothing["model_accuracy"] is nothing["theoretical_accuracy"] is None
    assert nothing["not_estimated"] == "no label was checked"
