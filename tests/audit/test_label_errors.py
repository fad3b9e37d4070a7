import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from radray.audit.label_errors import pool, self_doubt, suspect_labels, wrong_label_probability
from radray.audit.neighbours import find_neighbours, neighbour_votes, unit_rows
from tests.audit.small_archive import confusable_features, out_of_fold


def scored(seed, noise_rate):
    features, true_classes, labels, patients = confusable_features(seed, count=420, noise_rate=noise_rate)
    probabilities = out_of_fold(features, labels, patients)
    neighbours = find_neighbours(unit_rows(features), patients, 20)
    return labels, labels != true_classes, probabilities, neighbour_votes(neighbours, labels, 14)


@pytest.mark.parametrize("noise_rate", [0.05, 0.1])
def test_the_queue_finds_planted_errors_at_least_as_well_as_self_confidence(noise_rate):
    ours, alone, share = [], [], []
    for seed in range(4):
        labels, wrong, probabilities, votes = scored(seed, noise_rate)
        suspicion = suspect_labels(labels, probabilities, votes)
        ours.append(average_precision_score(wrong, suspicion.suspicion))
        alone.append(average_precision_score(wrong, self_doubt(labels, probabilities)))
        share.append(wrong.mean())
    assert np.mean(ours) >= np.mean(alone) - 0.005
    assert np.mean(ours) > 5 * np.mean(share), "a random order has the share as its average precision"


def test_scores_are_shares_and_the_probability_follows_the_order():
    labels, wrong, probabilities, votes = scored(1, 0.1)
    suspicion = suspect_labels(labels, probabilities, votes)
    for scores in suspicion[:5]:
        assert scores.min() >= 0
        assert scores.max() <= 1
    order = np.argsort(suspicion.suspicion)
    assert (np.diff(suspicion.wrong_probability[order]) >= -1e-12).all()
    assert suspicion.wrong_probability[wrong].mean() > 5 * suspicion.wrong_probability[~wrong].mean()


def test_wrong_label_probability_is_bayes_rule():
    noise = np.array([[0.9, 0.2], [0.1, 0.8]])
    believed = np.array([[0.3, 0.7]])
    # P(true 0 | given 0) = .9 * .3 / (.9 * .3 + .2 * .7)
    expected = 1 - 0.27 / (0.27 + 0.14)
    assert wrong_label_probability(np.array([0]), believed, noise) == pytest.approx([expected])


def test_pool_of_equal_opinions_is_that_opinion():
    opinion = np.array([[0.7, 0.2, 0.1]])
    assert pool(opinion, opinion) == pytest.approx(opinion)


def test_neighbours_equal_the_full_matrix_and_skip_the_own_patient():
    rng = np.random.default_rng(0)
    unit = unit_rows(rng.normal(size=(53, 7)))
    patients = rng.integers(0, 20, 53)
    found = find_neighbours(unit, patients, 5, block=8)
    similarity = unit @ unit.T
    similarity[patients[:, None] == patients[None, :]] = -np.inf
    expected = np.argsort(-similarity, axis=1)[:, :5]
    assert (found.indices == expected).all()
    assert found.similarities == pytest.approx(np.take_along_axis(similarity, expected, 1), abs=1e-6)


def test_an_image_whose_patient_is_alone_has_no_neighbours():
    unit = unit_rows(np.random.default_rng(0).normal(size=(4, 3)))
    found = find_neighbours(unit, np.zeros(4, np.int64), 3)
    assert (found.indices == -1).all()
    votes = neighbour_votes(found, np.array([0, 1, 0, 1]), 2)
    assert votes == pytest.approx(np.full((4, 2), 0.5))
