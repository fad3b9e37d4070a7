"""The sizing job: a readable table, the bottleneck and what comes after it, a summary."""

from __future__ import annotations

from typing import Any

from radray.sizing.config import SizingConfig
from radray.sizing.model import Estimate, estimate


def run_sizing(config: SizingConfig) -> dict[str, Any]:
    """Print the table; return the summary."""
    found = estimate(config)
    first = found.bottleneck
    relieved = estimate(config, {first: 2.0})
    print(describe(found))
    print(f"limit: {first}; doubled, {relieved.seconds / 3600:,.2f} h, and the limit is {relieved.bottleneck}")
    days = found.seconds / 3600 / config.hours_per_day
    return {
        "hours": round(found.seconds / 3600, 3),
        "days": round(days, 3),
        "hours_of_job": {job: round(seconds / 3600, 3) for job, seconds in found.job_seconds.items()},
        "objects_per_s": round(config.objects / found.seconds, 1),
        "bottleneck": first,
        "doubled": {"hours": round(relieved.seconds / 3600, 3), "bottleneck": relieved.bottleneck},
        "reads": found.reads,
        "lists": found.lists,
        "writes": found.writes,
        "read_gib": round(found.read_gib, 1),
        "driver_ids_mib": round(config.objects * 8 / 2**20, 1),
        "costs": {name: round(cost, 2) for name, cost in found.costs.items()},
        "cost": round(sum(found.costs.values()), 2) if found.costs else None,
    }


def describe(found: Estimate) -> str:
    """A line for each stage: what it uses, rate, hours by itself, share of its job; then requests, bytes, costs."""
    lines = [f"{'job':<7}{'stage':<16}{'uses':<15}{'a second':>12}{'hours':>10}{'of the job':>12}"]
    for stage in found.stages:
        share = stage.seconds / (found.job_seconds[stage.job] or 1.0)
        rate = "" if stage.uses == "start" else f"{stage.rate:,.1f}"
        hours = f"{stage.seconds / 3600:,.2f}"
        lines.append(f"{stage.job:<7}{stage.name:<16}{stage.uses:<15}{rate:>12}{hours:>10}{share:>12.0%}")
    for job, seconds in found.job_seconds.items():
        lines.append(f"{job:<50}{seconds / 3600:>10,.2f}")
    lines.append(f"{'both':<50}{found.seconds / 3600:>10,.2f}")
    lines.append(
        f"{found.reads:,} reads, {found.lists:,} lists, {found.writes:,} writes, {found.read_gib:,.0f} GiB read"
    )
    lines += [f"cost of {name}: {cost:,.2f}" for name, cost in found.costs.items()]
    return "\n".join(lines)
