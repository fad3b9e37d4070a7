"""Accuracy with few labels: each method's heads, and the ensemble's, when only a budget of labels exists.

A budget holds for everything that learns: the training labels, and the validation labels that choose the L2 strength,
temperatures and weights. Heads may also learn from the few labels spread over the training split's other images
(`spreading.py`), for every method alike. A method whose backbone was trained on all labels has no few-label figure from
that run; it takes part with the runs that were trained under the same budget, where there are any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from scipy.sparse import csr_matrix

from radray.images.split import TRAIN, VALIDATION
from radray.pretrain.run import Run, budget_runs, load_run
from radray.probe.cohort import Cohort
from radray.probe.config import ProbeConfig
from radray.probe.heads import Embedded, FittedHead, embed_run, fit_best, own_head
from radray.probe.members import fit_mixture
from radray.probe.spreading import similarity_graph, spread_labels

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
        Method (`ensemble` last), budget, seed, and Float32[n, classes] probabilities.
    """
    graphs = {each.method: _graph(each, cohort) for each in embedded if not each.saw_labels}
    for budget in config.budgets:
        for seed in range(config.seeds if budget != "all" else 0):
            heads: dict[str, FittedHead] = {}
            for each in embedded:
                if not each.saw_labels:
                    heads[each.method] = _fit(each, graphs[each.method], cohort, budget, seed, config)
                elif run := runs.get((each.method, budget, seed)):
                    few = embed_run(run, cohort, f"budgets/{each.method}-{budget}-seed{seed}", config)
                    heads[each.method] = _better(few, cohort, budget, seed, config)
            for method, head in heads.items():
                yield method, budget, seed, head.probabilities
            if heads:
                members = list(heads.values())
                mixture = fit_mixture(members, cohort.labels, cohort.budget_rows(VALIDATION, budget, seed), 0.0)
                yield "ensemble", budget, seed, mixture.pool(torch.stack([head.probabilities for head in members]))


def _fit(each: Embedded, graph: csr_matrix, cohort: Cohort, budget: str, seed: int, config: ProbeConfig) -> FittedHead:
    """A head on the few images, or on the whole pool with spread labels: what explains the validation labels better."""
    pool, known = cohort.rows(TRAIN, labelled=False), cohort.budget_rows(TRAIN, budget, seed)
    spread = cohort.labels.clone()
    spread[pool] = spread_labels(graph, cohort.labels[pool], torch.searchsorted(pool, known))
    validation = cohort.budget_rows(VALIDATION, budget, seed)
    heads = [
        fit_best(
            each.features,
            labels,
            training,
            validation,
            len(cohort.names),
            l2=config.l2,
            balance=config.balance,
        )
        for labels, training in ((cohort.labels, known), (spread, pool))
    ]
    return min(heads, key=lambda head: head.validation_error)


def _graph(each: Embedded, cohort: Cohort) -> csr_matrix:
    return similarity_graph(each.features[cohort.rows(TRAIN, labelled=False)])


def _better(few: Embedded, cohort: Cohort, budget: str, seed: int, config: ProbeConfig) -> FittedHead:
    """The network's own head or a linear probe on its features, whichever explains the validation labels better."""
    probe = _fit(few, _graph(few, cohort), cohort, budget, seed, config)
    own = own_head(few, cohort.names, cohort.labels, cohort.budget_rows(VALIDATION, budget, seed))
    return own if own is not None and own.validation_error < probe.validation_error else probe
