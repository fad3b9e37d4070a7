"""The table and the picture of docs/sizing.md: hours of index and score over objects, for four clusters.

python benchmarks/sizing_clusters.py [--figure docs/sizing.png]
"""

from __future__ import annotations

import argparse

from radray.sizing.config import SizingConfig
from radray.sizing.model import estimate

OBJECTS = (1_000_000, 10_000_000, 100_000_000)
ROWS_PER_BLOCK = 1024
CLUSTERS = {
    "1 node": (1, 0),
    "4 nodes": (4, 0),
    "4 + 1 GPU": (4, 1),
    "20 + 4 GPU": (20, 4),
}
"""Name → nodes without and with a GPU, 16 cores each; the cores of all of them decode and predict."""


def configure(objects: int, nodes: int, gpu_nodes: int) -> SizingConfig:
    """The model's own rates, score's blocks larger than usual."""
    return SizingConfig(objects=objects, nodes=nodes, gpu_nodes=gpu_nodes, rows_per_block=ROWS_PER_BLOCK)


def next_limit(config: SizingConfig, first: str) -> str:
    """What sets the pace once there is 2, 4, 8 … times as much of `first`, and how many times that is."""
    for factor in (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024):
        after = estimate(config, {first: float(factor)}).bottleneck
        if after != first:
            return f"{after} at {factor} ×"
    return "nothing else"


def table() -> str:
    """Rows of Markdown: cluster; for each size the hours, what sets the pace, and what does next."""
    lines = []
    for name, nodes in CLUSTERS.items():
        cells = []
        for objects in OBJECTS:
            config = configure(objects, *nodes)
            found = estimate(config)
            limit = found.bottleneck
            cells.append(f"{found.seconds / 3600:.1f} h: {limit}; {next_limit(config, limit)}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(path: str) -> None:
    """Hours over objects, both logarithmic, a line for each cluster."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), dpi=100, layout="constrained")
    sizes = [round(10 ** (5 + step / 10)) for step in range(31)]
    for name, nodes in CLUSTERS.items():
        hours = [estimate(configure(objects, *nodes)).seconds / 3600 for objects in sizes]
        axes.loglog(sizes, hours, label=name)
    axes.axhline(24, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="objects", ylabel="hours, index and score", xlim=(sizes[0], sizes[-1]))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def main() -> None:
    """Print the table, and draw."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--figure")
    given = options.parse_args()
    print(table())
    if given.figure:
        draw(given.figure)


if __name__ == "__main__":
    main()
