import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from radray.audit.label_errors import (
    distance_doubt,
    odds_doubt,
    pool,
    self_doubt,
    suspect_labels,
    wrong_label_probability,
)
from radray.audit.neighbours import Neighbours, find_neighbours, neighbour_votes, unit_rows
from tests.audit.small_archive import confusable_features, out_of_fold


def scored(seed, noise_rate):
    features, true_classes, labels, patients = confusable_features(seed, count=420, noise_rate=noise_rate)
    probabilities = out_of_fold(features, labels, patients)
    neighbours = find_neighbours(unit_rows(features), patients, 20)
    votes = neighbour_votes(neighbours, labels, 14)
    suspicion = suspect_labels(labels, probabilities, votes, neighbours, np.arange(len(labels)))
    return labels, labels != true_classes, probabilities, suspicion


@pytest.mark.parametrize("noise_rate", [0.05, 0.1])
def test_the_queue_finds_planted_errors_at_least_as_well_as_self_confidence(noise_rate):
    ours, alone, share = [], [], []
    for seed in range(4):
        labels, wrong, probabilities, suspicion = scored(seed, noise_rate)
        ours.append(average_precision_score(wrong, suspicion.suspicion))
        alone.append(average_precision_score(wrong, self_doubt(labels, probabilities)))
        share.append(wrong.mean())
    assert np.mean(ours) > np.mean(alone)
    assert np.mean(ours) > 5 * np.mean(share), "a random order has the share as its average precision"


def test_scores_are_shares_and_the_probability_follows_the_order():
    labels, wrong, _, suspicion = scored(1, 0.1)
    for scores in suspicion[:6]:
        assert scores.min() >= 0
        assert scores.max() <= 1
    order = np.argsort(suspicion.suspicion)
    assert (np.diff(suspicion.wrong_probability[order]) >= -1e-12).all()
    assert suspicion.wrong_probability[wrong].mean() > 5 * suspicion.wrong_probability[~wrong].mean()
    assert suspicion.wrong_probability.sum() == pytest.approx(wrong.sum(), rel=0.5), "it counts the wrong labels"


def test_the_probability_is_bayes_rule_with_the_share_that_gives_itself_back():
    rng = np.random.default_rng(0)
    logits = 4 * rng.normal(size=(4000, 5))
    pooled = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    true = (rng.random((4000, 1)) > pooled.cumsum(axis=1)).sum(axis=1)
    labels = np.where(rng.random(4000) < 0.08, (true + 1) % 5, true)
    wrong = wrong_label_probability(labels, pooled)
    assert wrong.mean() == pytest.approx(np.mean(labels != true), abs=0.015)
    for low in np.arange(0, 1, 0.2):
        some = (wrong >= low) & (wrong <= low + 0.2)
        assert np.mean((labels != true)[some]) == pytest.approx(wrong[some].mean(), abs=0.12)


def test_odds_look_at_the_one_best_other_class():
    labels = np.array([0, 0])
    one, spread = [0.2, 0.8, 0.0, 0.0, 0.0], [0.2, 0.2, 0.2, 0.2, 0.2]
    first, second = odds_doubt(labels, np.array([one, spread]))
    assert self_doubt(labels, np.array([one, spread])) == pytest.approx([0.8, 0.8])
    assert first == pytest.approx(1 / (1 + np.exp((np.log(0.25) - np.log(4)) / 2)))
    assert second == pytest.approx(0.5)


def test_distance_compares_the_nearest_of_the_same_label_with_the_nearest_of_another():
    neighbours = Neighbours(np.array([[1, 2, 3]] * 4), np.array([[0.9, 0.8, 0.5]] * 4, np.float32))
    labels = np.array([0, 1, 0, -1])
    squared = 2 - 2 * np.array([0.9, 0.8])
    found = distance_doubt(neighbours, labels, np.array([0, 1]))
    assert found[0] == pytest.approx(squared[1] / squared.sum(), rel=1e-4)
    assert found[1] == pytest.approx(squared[0] / squared.sum(), rel=1e-4)
    nobody = distance_doubt(neighbours, np.array([2, 1, 1, 1]), np.array([0]))
    assert nobody > 0.8, "none of the neighbours has the label"


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


def test_lists_find_nearly_what_comparing_all_finds():
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(30, 16))
    unit = unit_rows(centres[rng.integers(0, 30, 3000)] + 0.5 * rng.normal(size=(3000, 16)))
    patients = rng.integers(0, 1500, 3000)
    exact = find_neighbours(unit, patients, 8)
    lists = find_neighbours(unit, patients, 8, exact_images=0)
    assert (patients[lists.indices] != patients[:, None]).all()
    shared = [len(set(a) & set(b)) / 8 for a, b in zip(exact.indices, lists.indices, strict=True)]
    assert np.mean(shared) > 0.9
    assert find_neighbours(unit, np.zeros(3000, np.int64), 8, exact_images=0).indices.max() == -1
