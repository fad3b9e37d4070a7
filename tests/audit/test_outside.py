import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from radray.audit.inputs import AuditRows, MemberRows, points
from radray.audit.outside import OUTSIDE, SEVERAL_REGIONS, find_outside

CLASSES = 4


@pytest.fixture(scope="module")
def strange() -> tuple[AuditRows, np.ndarray]:
    """400 images of four regions, 20 strangers that are alike and all carry one label, and which those are."""
    rng = np.random.default_rng(0)
    true = np.arange(420) % CLASSES
    features = 3 * np.eye(CLASSES, 24)[true] + rng.normal(size=(420, 24)) + 2
    features[400:] = 3 * np.eye(24)[20] + 0.5 * rng.normal(size=(20, 24)) + 2
    labels = np.where(np.arange(420) < 400, true, 0)
    probabilities = np.full((420, CLASSES), 0.02)
    probabilities[np.arange(420), true] = 0.94
    probabilities[400:] = rng.dirichlet([3.0] * CLASSES, 20)
    member = MemberRows(method="simclr", saw_labels=False, l2=0.1, features=features.astype(np.float16))
    rows = AuditRows(
        names=("a", "b", "c", "d"),
        titles={},
        facts=pa.table({"row_id": np.arange(420)}),
        labels=labels,
        patients=np.arange(420),
        probabilities=probabilities,
        ood_score=np.zeros(420),
        ood_threshold=0.99,
        balance=0.5,
        members=(member,),
        bundle="feed",
    )
    return rows, np.arange(420) >= 400


def test_strangers_that_look_alike_are_far_from_what_is_trusted(strange):
    rows, outside = strange
    found = find_outside(rows, points(rows), np.zeros(420, bool), 0.02)
    assert found.score[outside].min() > found.score[~outside].max()
    assert found.is_outside[outside].all()
    assert found.is_outside[~outside].mean() <= 0.03
    assert ((found.score >= 0) & (found.score <= 1)).all()


def test_what_a_person_found_outside_is_and_what_was_not_embedded_has_no_score(strange):
    rows, _ = strange
    features = rows.members[0].features.copy()
    features[7] = 0
    rows = dataclasses.replace(rows, members=(dataclasses.replace(rows.members[0], features=features),))
    said = np.zeros(420, bool)
    said[3] = True
    found = find_outside(rows, points(rows), said, 0.0)
    assert found.is_outside[3]
    assert np.isnan(found.score[7]) and not found.is_outside[7]


def test_two_likely_regions_are_several(strange):
    rows, _ = strange
    probabilities = rows.probabilities.copy()
    probabilities[5] = [0.5, 0.45, 0.03, 0.02]
    probabilities[6] = [0.25, 0.25, 0.25, 0.25]
    rows = dataclasses.replace(rows, probabilities=probabilities)
    found = find_outside(rows, points(rows), np.zeros(420, bool), 0.01)
    assert (found.kind(5), found.kind(6)) == (SEVERAL_REGIONS, OUTSIDE)
