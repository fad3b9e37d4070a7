"""Figures of a classifier: scores grow with quality, errors fall."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


def confusion_matrix(labels: IntArray, predicted: IntArray, classes: int) -> IntArray:
    """Int64[classes, classes]: row the label, column the prediction.

    Example:
        >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 1, 0]), 2).tolist()
        [[1, 0], [1, 1]]
    """
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def accuracy_score(matrix: IntArray) -> float:
    """Share of right predictions; NaN without images."""
    return float(np.trace(matrix) / matrix.sum()) if matrix.sum() else float("nan")


def recall_scores(matrix: IntArray) -> npt.NDArray[np.float64]:
    """Of each class; NaN for classes without images."""
    support = matrix.sum(axis=1)
    return np.where(support > 0, np.diag(matrix) / np.maximum(support, 1), np.nan)


def precision_scores(matrix: IntArray) -> npt.NDArray[np.float64]:
    """Of each class; NaN for classes never predicted."""
    predicted = matrix.sum(axis=0)
    return np.where(predicted > 0, np.diag(matrix) / np.maximum(predicted, 1), np.nan)


def balanced_accuracy_score(matrix: IntArray) -> float:
    """Mean recall over the classes that have images."""
    recalls = recall_scores(matrix)
    return float(np.nanmean(recalls)) if np.isfinite(recalls).any() else float("nan")


def macro_f1_score(matrix: IntArray) -> float:
    """Mean F1 over the classes that have images or predictions."""
    total = matrix.sum(axis=0) + matrix.sum(axis=1)
    seen = total > 0
    return float((2 * np.diag(matrix)[seen] / total[seen]).mean()) if seen.any() else float("nan")


def calibration_error(probabilities: FloatArray, labels: IntArray, bins: int = 15) -> float:
    """Expected calibration error of the largest probability, in bins of equal count (0 is best).

    Args:
        probabilities: Float32[n, classes].
        labels: Int64[n].
        bins: Number of bins (fewer where there are fewer images).
    """
    if not len(labels):
        return float("nan")
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    return float(sum(abs(confidence[part].mean() - right[part].mean()) * len(part) for part in parts) / len(order))


def debiased_calibration_error(probabilities: FloatArray, labels: IntArray, bins: int = 15) -> float:
    """Root mean square calibration error of the largest probability, without what chance alone adds in each bin.

    The plain error is above 0 even for perfect probabilities, the more so the fewer images a bin has (Kumar, Liang and
    Ma, arXiv 1909.10155, section 4).

    Args:
        probabilities: Float32[n, classes].
        labels: Int64[n].
        bins: Bins of equal count (fewer where they would hold fewer than two images).
    """
    if len(labels) < 2:
        return float("nan")
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    parts = np.array_split(np.argsort(confidence, kind="stable"), min(bins, len(labels) // 2))
    total = 0.0
    for part in parts:
        accuracy = right[part].mean()
        chance = accuracy * (1 - accuracy) / (len(part) - 1)
        total += len(part) / len(labels) * ((confidence[part].mean() - accuracy) ** 2 - chance)
    return float(np.sqrt(max(0.0, total)))


def calibration_interval(
    probabilities: FloatArray, labels: IntArray, patients: Sequence[str], *, draws: int = 200, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of the debiased calibration error; whole patients are drawn.

    Args:
        probabilities: Float32[n, classes].
        labels: Int64[n].
        patients: Patient of each image.
        draws: Resamples.
        seed: Of the resampling.

    Returns:
        Lower and upper bound; NaN without images.
    """
    if not len(labels):
        return float("nan"), float("nan")
    _, member = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    order = np.argsort(member, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(member))])
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        drawn = rng.integers(0, len(first) - 1, len(first) - 1)
        rows = np.concatenate([order[first[patient] : first[patient + 1]] for patient in drawn])
        found.append(debiased_calibration_error(probabilities[rows], labels[rows]))
    # A resample lies about the sample as the sample about the truth: its chance is there twice. Centre the squares.
    squares = np.square(found) - np.mean(np.square(found)) + debiased_calibration_error(probabilities, labels) ** 2
    low, high = np.sqrt(np.maximum(np.quantile(squares, [0.025, 0.975]), 0))
    return float(low), float(high)


def patient_interval(
    right: npt.NDArray[np.bool_] | npt.NDArray[np.int64],
    patients: Sequence[str],
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap interval of the accuracy: whole patients are drawn, for their images are not independent.

    Of a difference too: where `right` holds one method's less another's, the interval is that of their difference.

    Args:
        right: Bool[n], or Int[n] of 1, 0 and −1.
        patients: Patient of each image.
        level: Coverage of the interval.
        draws: Resamples.
        seed: Of the resampling.

    Returns:
        Lower and upper bound; NaN without images.
    """
    if not len(right):
        return float("nan"), float("nan")
    _, member = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    images = np.bincount(member).astype(np.float64)
    hits = np.bincount(member, weights=right.astype(np.float64))
    drawn = np.random.default_rng(seed).multinomial(len(images), np.full(len(images), 1 / len(images)), size=draws)
    accuracy = (drawn @ hits) / (drawn @ images)
    low, high = np.quantile(accuracy, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
