"""Accuracy with few labels: each method's heads, and the ensemble's, when only a budget of labels exists.

A budget holds for everything that learns: the training labels, and the validation labels that choose the L2 strength,
temperatures and weights. A method that needs no labels has seen all images of the training split, and its head may
learn from all of them too, with the few labels spread over them (`spreading.py`). A method whose backbone was trained
on all labels has no few-label figure from that run; it takes part with the runs that were trained under the same
budget, where there are any, and its head sees the labelled images only (features are standardised by those and the
validation split).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from radray.images.split import TEST, TRAIN, VALIDATION
from radray.pretrain.run import Run, budget_runs, load_run
from radray.probe.cohort import Cohort
from radray.probe.config import ProbeConfig
from radray.probe.heads import Embedded, FittedHead, Lesson, better, fit_best, own_head
from radray.probe.members import fit_mixture
from radray.probe.spreading import LARGEST, NEIGHBOURS, similarity_graph, spread_labels

BudgetKey = tuple[str, str, int]
"""Method, budget, seed."""


def find_budget_runs(runs: Mapping[str, Run], config: ProbeConfig) -> dict[BudgetKey, Run]:
    """The few-label runs of methods that train on labels, for the budgets and seeds asked for."""
    found: dict[BudgetKey, Run] = {}
    for method, main in runs.items():
        for url in budget_runs(main.url) if main.budget != "none" else []:
            run = load_run(url)
            if run.budget in config.budgets and run.budget != "all" and run.seed < config.seeds:
                found[method, run.budget, run.seed] = run
    return found


def fit_budgets(
    cohort: Cohort,
    embedded: Sequence[Embedded],
    few: Mapping[BudgetKey, Callable[[], Embedded]],
    config: ProbeConfig,
) -> Iterator[tuple[str, str, int, Tensor]]:
    """Fit every method and the ensemble under every budget below all.

    Args:
        cohort: Labels and splits.
        embedded: Every method's features.
        few: Reads the features of the few-label networks.
        config: Budgets, seeds and how to fit.

    Yields:
        Method (`ensemble` last), budget, seed, and Float32[n, classes] probabilities, which hold for the test split
        (a few-label network sees no more of the training split than its labelled images).
    """
    pool = cohort.rows(TRAIN, labelled=False)
    label_free = [each for each in embedded if not each.saw_labels]
    budgets = [budget for budget in config.budgets if budget != "all"]
    fits = bool(budgets) and NEIGHBOURS < len(pool) <= LARGEST
    graphs = {each.method: similarity_graph(each.features[pool]) if fits else None for each in label_free}
    for budget in budgets:
        free = {each.method: _fit_spread(each, graphs[each.method], cohort, budget, config) for each in label_free}
        for seed in range(config.seeds):
            heads: dict[str, FittedHead] = {}
            for each in embedded:
                if not each.saw_labels:
                    heads[each.method] = free[each.method][seed]
                elif read := few.get((each.method, budget, seed)):
                    heads[each.method] = _fit_network(read(), cohort, budget, seed, config)
            for method, head in heads.items():
                yield method, budget, seed, head.probabilities
            if heads:
                members = list(heads.values())
                mixture = fit_mixture(members, cohort.labels, cohort.budget_rows(VALIDATION, budget, seed))
                yield "ensemble", budget, seed, mixture.pool(torch.stack([head.probabilities for head in members]))


def network_rows(cohort: Cohort, budget: str, seed: int) -> Tensor:
    """Images that a network trained under a budget is fitted, judged, standardised or measured on; sorted indices."""
    return torch.cat(
        [
            cohort.budget_rows(TRAIN, budget, seed),
            cohort.rows(VALIDATION, labelled=False),
            cohort.rows(TEST, labelled=False),
        ]
    ).sort()[0]


def _fit(each: Embedded, lessons: Sequence[Lesson], cohort: Cohort, config: ProbeConfig) -> list[FittedHead]:
    return fit_best(each.features, lessons, len(cohort.names), l2=config.l2, balance=config.balance)


def _lesson(cohort: Cohort, budget: str, seed: int) -> Lesson:
    """The few labelled images."""
    training, validation = (cohort.budget_rows(split, budget, seed) for split in (TRAIN, VALIDATION))
    return Lesson(labels=cohort.labels, training=training, validation=validation)


def _fit_spread(
    each: Embedded, graph: csr_matrix | None, cohort: Cohort, budget: str, config: ProbeConfig
) -> list[FittedHead]:
    """For each seed a head on the whole training split with spread labels, or on the few images.

    What explains validation better is taken.
    """
    lessons = [_lesson(cohort, budget, seed) for seed in range(config.seeds)]
    few = _fit(each, lessons, cohort, config)
    if graph is None:
        return few
    pool = cohort.rows(TRAIN, labelled=False)
    spread = _fit(each, [_spread(lesson, graph, pool) for lesson in lessons], cohort, config)
    return [min(pair, key=lambda head: head.validation_error) for pair in zip(spread, few, strict=True)]


def _spread(lesson: Lesson, graph: csr_matrix, pool: Tensor) -> Lesson:
    """The lesson with its labels spread over the images of the pool."""
    labels = lesson.labels.clone()
    labels[pool] = spread_labels(graph, labels[pool], torch.searchsorted(pool, lesson.training))
    return Lesson(labels=labels, training=pool[labels[pool] >= 0], validation=lesson.validation)


def _fit_network(few: Embedded, cohort: Cohort, budget: str, seed: int, config: ProbeConfig) -> FittedHead:
    """The network's own head or a linear probe on its features, whichever explains the validation labels better."""
    lesson = _lesson(cohort, budget, seed)
    own = own_head(few, cohort.names, cohort.labels, lesson.validation)
    return better(_fit(few, [lesson], cohort, config)[0], own)
