"""Metrics, calibration, neighbours and noise against slow obvious twins."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn import metrics as twin
from sklearn.neighbors import KNeighborsClassifier

from radray.ensemble import Predictions
from radray.ensemble.pooling import pool
from radray.probe import metrics
from radray.probe.calibration import fit_pool, fit_temperature, negative_log_likelihood
from radray.probe.neighbours import neighbour_probabilities
from radray.probe.noise import MOST, LabelNoise, contradicted, estimate_noise
from radray.probe.operating import coverage_threshold, risk_thresholds


@pytest.fixture
def answers() -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions of five classes, the last never predicted."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 300)
    predicted = np.where(rng.random(300) < 0.6, labels, rng.integers(0, 4, 300))
    return labels, np.where(predicted == 4, 0, predicted)


def test_scores_equal_scikit_learn(answers: tuple[np.ndarray, np.ndarray]) -> None:
    labels, predicted = answers
    matrix = metrics.confusion_matrix(labels, predicted, 5)
    np.testing.assert_array_equal(matrix, twin.confusion_matrix(labels, predicted))
    assert metrics.accuracy_score(matrix) == pytest.approx(twin.accuracy_score(labels, predicted))
    assert metrics.balanced_accuracy_score(matrix) == pytest.approx(twin.balanced_accuracy_score(labels, predicted))
    assert metrics.macro_f1_score(matrix) == pytest.approx(twin.f1_score(labels, predicted, average="macro"))
    np.testing.assert_allclose(metrics.recall_scores(matrix), twin.recall_score(labels, predicted, average=None))
    assert np.isnan(metrics.precision_scores(matrix)[4])


def test_calibration_error_equals_a_loop() -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(4), 90).astype(np.float32)
    labels = rng.integers(0, 4, 90)
    ranked = sorted(
        (float(row.max()), int(row.argmax()) == label) for row, label in zip(probabilities, labels, strict=True)
    )
    slow = 0.0
    for start in range(0, 90, 6):
        part = ranked[start : start + 6]
        slow += abs(sum(c for c, _ in part) / 6 - sum(r for _, r in part) / 6) * 6 / 90
    assert metrics.calibration_error(probabilities, labels, bins=15) == pytest.approx(slow, abs=1e-6)


def test_the_interval_widens_when_images_of_a_patient_agree() -> None:
    rng = np.random.default_rng(2)
    right = np.repeat(rng.random(40) < 0.7, 10)
    independent = metrics.patient_interval(right, [str(i) for i in range(400)])
    grouped = metrics.patient_interval(right, [str(i // 10) for i in range(400)])
    assert grouped[0] < independent[0] < right.mean() < independent[1] < grouped[1]


def test_the_temperature_equals_a_numeric_minimum() -> None:
    rng = np.random.default_rng(3)
    logits = torch.from_numpy(rng.normal(0, 3, (400, 6))).float()
    labels = torch.multinomial(torch.softmax(logits / 2, dim=1), 1, generator=torch.Generator().manual_seed(0))[:, 0]

    def loss(log_t: float) -> float:
        return float(torch.nn.functional.cross_entropy(logits / np.exp(log_t), labels, reduction="sum")) + log_t**2 / 2

    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded").x
    assert fit_temperature(logits, labels) == pytest.approx(np.exp(best), rel=0.03)
    assert fit_temperature(logits[:0], labels[:0]) == 1.0


def test_noise_awareness_keeps_wrong_labels_from_softening() -> None:
    rng = np.random.default_rng(4)
    labels = torch.from_numpy(rng.integers(0, 5, 500))
    logits = 6 * torch.nn.functional.one_hot(labels, 5).float()
    wrong = labels.clone()
    wrong[:50] = (wrong[:50] + 1) % 5
    noise = LabelNoise(share=0.1, confusion=(1 - torch.eye(5)) / 4)
    assert fit_temperature(logits, wrong, noise) < fit_temperature(logits, wrong)


def test_the_likelihood_of_a_label_is_a_loop_over_what_the_image_may_show() -> None:
    rng = np.random.default_rng(8)
    confusion = torch.from_numpy(rng.dirichlet(np.ones(4), 4)).float()
    probabilities = torch.from_numpy(rng.dirichlet(np.ones(4), (2, 5))).float()
    labels = torch.tensor([0, 3, 1, 2, 2])
    found = LabelNoise(share=0.2, confusion=confusion).likelihood(probabilities, labels)
    for member in range(2):
        for image, label in enumerate(labels.tolist()):
            own = probabilities[member, image]
            slow = 0.8 * own[label] + 0.2 * sum(own[shown] * confusion[shown, label] for shown in range(4))
            assert float(found[member, image]) == pytest.approx(float(slow), rel=1e-5)


def test_labels_wrong_in_the_usual_way_leave_confidence_where_it_belongs() -> None:
    generator, classes = torch.Generator().manual_seed(9), 6
    truth = torch.randint(classes, (4000,), generator=generator)
    logits = 4.0 * torch.nn.functional.one_hot(truth, classes) + torch.randn(4000, classes, generator=generator)
    # A wrong label names the next class, and that is where a doubtful image's second guess lies too.
    logits += torch.nn.functional.one_hot((truth + 1) % classes, classes)
    labels = torch.where(torch.rand(4000, generator=generator) < 0.1, (truth + 1) % classes, truth)
    wanted = fit_pool(torch.softmax(logits, dim=1)[None], truth)[1]
    wrong = contradicted(torch.softmax(logits, dim=1), labels)
    noise = estimate_noise(torch.softmax(logits, dim=1), labels, wrong)
    np.testing.assert_allclose(noise.confusion.sum(dim=1), 1, atol=1e-5)
    assert (noise.confusion.argmax(dim=1) == (torch.arange(classes) + 1) % classes).all()
    plain = fit_pool(torch.softmax(logits, dim=1)[None], labels)[1]
    aware = fit_pool(torch.softmax(logits, dim=1)[None], labels, noise)[1]
    assert abs(np.log(aware / wanted)) < 0.5 * abs(np.log(plain / wanted))


def test_regions_that_nobody_can_tell_apart_are_not_all_taken_for_wrong_labels() -> None:
    generator, classes = torch.Generator().manual_seed(10), 4
    truth = torch.randint(classes, (3000,), generator=generator)
    logits = 1.5 * torch.nn.functional.one_hot(truth, classes) + torch.randn(3000, classes, generator=generator)
    probabilities = torch.softmax(3 * logits, dim=1)
    noise = estimate_noise(probabilities, truth, contradicted(probabilities, truth))
    assert noise.share == MOST
    _, aware, share = fit_pool(probabilities[None], truth, noise)
    _, plain, none = fit_pool(probabilities[None], truth)
    assert share <= MOST and none == 0
    accuracy = float((probabilities.argmax(dim=1) == truth).float().mean())
    one = torch.ones(1)
    confidence = [float(pool(probabilities[None], one, each).max(dim=1).values.mean()) for each in (aware, plain)]
    assert abs(confidence[1] - accuracy) < 0.02
    assert confidence[0] - accuracy < MOST / 2


def test_the_pool_prefers_the_better_member_and_keeps_the_other() -> None:
    rng = np.random.default_rng(6)
    labels = torch.arange(300) % 3
    noise = torch.from_numpy(rng.normal(size=(2, 300, 3))).float()
    right = torch.nn.functional.one_hot(labels, 3).float()
    good, poor = torch.softmax(3 * right + noise[0], dim=1), torch.softmax(0.5 * right + 2 * noise[1], dim=1)
    both = torch.stack([good, poor])
    shares, temperature, _ = fit_pool(both, labels)
    assert shares.sum().item() == pytest.approx(1)
    assert shares[0] > 0.8
    assert shares[1] > 0.01
    pooled = pool(both, shares, temperature)
    assert negative_log_likelihood(pooled, labels).mean() < negative_log_likelihood(good, labels).mean()
    none, plain, _ = fit_pool(both[:, :0], labels[:0])
    np.testing.assert_allclose(none, [0.5, 0.5])
    assert plain == 1.0


def test_one_member_alone_cannot_veto_a_region() -> None:
    sure, against = torch.tensor([[[0.9, 0.1, 0.0]]]), torch.tensor([[[0.0, 0.0, 1.0]]])
    pooled = pool(torch.cat([sure, sure, sure, against]), torch.full((4,), 0.25))
    assert pooled.argmax() == 0
    np.testing.assert_allclose(pool(torch.cat([sure, sure]), torch.tensor([0.3, 0.7])), sure[0], atol=1e-5)


def test_neighbours_equal_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    bank, queries = rng.normal(size=(80, 6)).astype(np.float32), rng.normal(size=(30, 6)).astype(np.float32)
    labels = rng.integers(0, 4, 80)
    labels[:4] = range(4)
    slow = KNeighborsClassifier(7, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.1))
    expected = slow.fit(bank, labels).predict_proba(queries)
    ours = neighbour_probabilities(
        torch.from_numpy(queries), torch.from_numpy(bank), torch.from_numpy(labels), 4, neighbours=7, temperature=0.1
    )
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_planted_wrong_labels_are_contradicted() -> None:
    rng = np.random.default_rng(6)
    truth = torch.from_numpy(rng.integers(0, 4, 400))
    probabilities = torch.softmax(4 * torch.nn.functional.one_hot(truth, 4) + torch.randn(400, 4) * 0.5, dim=1)
    given = truth.clone()
    given[:40] = (given[:40] + 1) % 4
    found = contradicted(probabilities, given)
    assert found[:40].float().mean() > 0.6
    assert found[40:].float().mean() < 0.02


def test_chance_alone_is_no_calibration_error() -> None:
    rng = np.random.default_rng(5)
    confidence = rng.uniform(0.5, 1, 20_000)
    right = rng.random(20_000) < confidence
    probabilities = np.stack([confidence, 1 - confidence], axis=1).astype(np.float32)
    labels = np.where(right, 0, 1)
    debiased = metrics.debiased_calibration_error(probabilities, labels)
    assert debiased < 0.012
    patients = [str(number // 3) for number in range(20_000)]
    low, high = metrics.calibration_interval(probabilities, labels, patients, draws=50)
    assert low <= debiased <= high < 0.03
    worse = metrics.debiased_calibration_error(probabilities, np.where(rng.random(20_000) < 0.5, 0, 1))
    assert worse == pytest.approx(np.sqrt(np.mean((confidence - 0.5) ** 2)), abs=0.02)


def test_the_interval_of_a_difference_holds_it() -> None:
    rng = np.random.default_rng(6)
    difference = rng.choice([-1, 0, 1], 2000, p=[0.02, 0.9, 0.08])
    low, high = metrics.patient_interval(difference, [str(number // 2) for number in range(2000)])
    assert low < 0.06 < high and high - low < 0.04


def predictions(confidence: np.ndarray, region: np.ndarray, classes: int) -> Predictions:
    probabilities = np.zeros((len(region), classes), np.float32)
    probabilities[np.arange(len(region)), region] = confidence
    return Predictions(
        probabilities=probabilities,
        member_probabilities={},
        ood_score=np.zeros(len(region), np.float32),
        confidence=confidence.astype(np.float32),
        region=region,
        abstained=np.zeros(len(region), bool),
        turned=np.zeros(len(region), np.int64),
        inverted=np.zeros(len(region), np.float32),
    )


def test_each_region_answers_from_where_its_errors_are_few_enough() -> None:
    rng = np.random.default_rng(7)
    confidence = rng.uniform(0.3, 1, 4000)
    region = rng.integers(0, 2, 4000)
    region[:5] = 2
    # Region 0 is always right, region 1 as often as it says, region 2 has too few images for a threshold of its own.
    wrong = (region == 1) & (rng.random(4000) > confidence)
    thresholds = risk_thresholds(predictions(confidence, region, 3), np.where(wrong, 2, region), 0.1)
    assert thresholds[0] == 0.0
    assert 0.75 < thresholds[1] < 0.9
    assert wrong[(region == 1) & (confidence >= thresholds[1])].mean() <= 0.1
    assert thresholds[0] < thresholds[2] < thresholds[1]


def test_a_region_with_too_few_images_to_tell_takes_the_common_threshold() -> None:
    # All answers are right: 50 images of a region say nothing about a risk of 1 %, 1,000 of all regions do.
    region = np.repeat([0, 1], [950, 50])
    assert risk_thresholds(predictions(np.full(1000, 0.9), region, 2), region, 0.01) == (0.0, 0.0)


def test_no_threshold_is_good_enough_where_all_are_wrong() -> None:
    found = predictions(np.full(100, 0.9), np.zeros(100, np.int64), 2)
    assert min(risk_thresholds(found, np.ones(100, np.int64), 0.05)) > 1
    assert coverage_threshold(found, 0.99, 0.95) == pytest.approx(0.9)
    far = dataclasses.replace(found, ood_score=np.ones(100, np.float32))
    assert risk_thresholds(far, np.zeros(100, np.int64), 0.05, 0.9) == (1.01, 1.01)  # nothing is answered at all
