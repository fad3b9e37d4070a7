"""Accuracy with few labels: each method's heads, and the ensemble's, when only a budget of labels exists.

A budget holds for everything that learns: the training labels, and the validation labels that choose the L2 strength,
temperatures and weights. A method that needs no labels has seen all images of the training split, and its head may
learn from all of them too, with the few labels spread over them (`spreading.py`). A method whose backbone was trained
on all labels has no few-label figure from that run; it takes part with the runs that were trained under the same
budget, where there are any, and its head sees the labelled images only (features are standardised by those and the
validation split).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from radray.images.split import TEST, TRAIN, VALIDATION
from radray.pretrain.run import Run, budget_runs, load_run
from radray.probe.cohort import Cohort
from radray.probe.config import ProbeConfig
from radray.probe.heads import Embedded, FittedHead, better, embed_run, fit_best, own_head
from radray.probe.members import fit_mixture
from radray.probe.spreading import LARGEST, NEIGHBOURS, similarity_graph, spread_labels

BudgetKey = tuple[str, str, int]
"""Method, budget, seed."""


def find_budget_runs(embedded: Sequence[Embedded], config: ProbeConfig) -> dict[BudgetKey, Run]:
    """The few-label runs of methods that train on labels, for the budgets and seeds asked for."""
    found: dict[BudgetKey, Run] = {}
    for each in embedded:
        for url in budget_runs(each.run.url) if each.saw_labels else []:
            run = load_run(url)
            if run.budget in config.budgets and run.budget != "all" and run.seed < config.seeds:
                found[each.method, run.budget, run.seed] = run
    return found


def fit_budgets(
    cohort: Cohort, embedded: Sequence[Embedded], runs: Mapping[BudgetKey, Run], config: ProbeConfig
) -> Iterator[tuple[str, str, int, torch.Tensor]]:
    """Fit every method and the ensemble under every budget below all.

    Yields:
        Method (`ensemble` last), budget, seed, and Float32[n, classes] probabilities, which hold for the test split
        (a few-label network sees no more of the training split than its labelled images).
    """
    pool = cohort.rows(TRAIN, labelled=False)
    graphs: dict[str, csr_matrix | None] = {}
    for each in embedded:
        if not each.saw_labels and set(config.budgets) != {"all"}:
            fits = NEIGHBOURS < len(pool) <= LARGEST
            graphs[each.method] = similarity_graph(each.features[pool]) if fits else None
    for budget in config.budgets:
        for seed in range(config.seeds if budget != "all" else 0):
            heads: dict[str, FittedHead] = {}
            for each in embedded:
                if not each.saw_labels:
                    heads[each.method] = _fit_spread(each, graphs[each.method], cohort, budget, seed, config)
                elif run := runs.get((each.method, budget, seed)):
                    needed = _needed_rows(cohort, budget, seed)
                    few = embed_run(run, cohort, f"budgets/{each.method}-{budget}-seed{seed}", config, needed)
                    heads[each.method] = _better(few, cohort, budget, seed, config)
            for method, head in heads.items():
                yield method, budget, seed, head.probabilities
            if heads:
                members = list(heads.values())
                mixture = fit_mixture(members, cohort.labels, cohort.budget_rows(VALIDATION, budget, seed), 0.0)
                yield "ensemble", budget, seed, mixture.pool(torch.stack([head.probabilities for head in members]))


def _needed_rows(cohort: Cohort, budget: str, seed: int) -> Tensor:
    """Images that a network trained under a budget is fitted, judged, standardised or measured on."""
    return torch.cat(
        [
            cohort.budget_rows(TRAIN, budget, seed),
            cohort.rows(VALIDATION, labelled=False),
            cohort.rows(TEST, labelled=False),
        ]
    ).sort()[0]


def _fit(each: Embedded, cohort: Cohort, budget: str, seed: int, config: ProbeConfig) -> FittedHead:
    """A head on the few labelled images."""
    training, validation = cohort.budget_rows(TRAIN, budget, seed), cohort.budget_rows(VALIDATION, budget, seed)
    return _fit_on(training, cohort.labels, each, validation, cohort, config)


def _fit_spread(
    each: Embedded, graph: csr_matrix | None, cohort: Cohort, budget: str, seed: int, config: ProbeConfig
) -> FittedHead:
    """A head on the whole training split with spread labels, or on the few images: what explains validation better."""
    few = _fit(each, cohort, budget, seed, config)
    if graph is None:
        return few
    pool, known = cohort.rows(TRAIN, labelled=False), cohort.budget_rows(TRAIN, budget, seed)
    labels = cohort.labels.clone()
    labels[pool] = spread_labels(graph, cohort.labels[pool], torch.searchsorted(pool, known))
    reached = pool[labels[pool] >= 0]
    spread = _fit_on(reached, labels, each, cohort.budget_rows(VALIDATION, budget, seed), cohort, config)
    return min(spread, few, key=lambda head: head.validation_error)


def _fit_on(
    training: Tensor, labels: Tensor, each: Embedded, validation: Tensor, cohort: Cohort, config: ProbeConfig
) -> FittedHead:
    return fit_best(
        each.features, labels, training, validation, len(cohort.names), l2=config.l2, balance=config.balance
    )


def _better(few: Embedded, cohort: Cohort, budget: str, seed: int, config: ProbeConfig) -> FittedHead:
    """The network's own head or a linear probe on its features, whichever explains the validation labels better."""
    probe = _fit(few, cohort, budget, seed, config)
    own = own_head(few, cohort.names, cohort.labels, cohort.budget_rows(VALIDATION, budget, seed))
    return better(probe, own)
