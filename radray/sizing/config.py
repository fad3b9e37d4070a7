"""Configuration of the sizing model (imports neither Ray nor torch).

The rates are measured (`benchmarks/sizing.py`; docs/sizing.md says on what machine): measure them on one of your own
before you buy by them.
"""

from __future__ import annotations

from dataclasses import dataclass

from radray.errors import ConfigError, check_ranges

_POSITIVE = (1e-9, 1e12)
_COUNT = (0, 1e9)


@dataclass(frozen=True, kw_only=True)
class SizingConfig:
    """How long jobs/index.py and then jobs/score.py --index take on a cluster, what limits them, and what they cost."""

    objects: int = 1_000_000
    """Objects in the archive (1 to 10 billion)."""
    radiographs: float = 1.0
    """Share of the objects that are radiographs, which are fetched whole and scored (0 to 1)."""
    object_mib: float = 8.0
    """Mean size of a radiograph in storage, in MiB."""
    header_kib: float = 64.0
    """Bytes that index reads of each object, in KiB (--header-bytes)."""

    nodes: int = 1
    """Nodes without GPU (0 or more)."""
    cores: int = 16
    """Cores of each node, of the kind that the rates were measured on (1 to 1024). Ray must know two logical CPUs a
    core (cluster.yaml does so): a pass has one worker for two of them."""
    gpu_nodes: int = 0
    """Nodes with GPUs (0 or more)."""
    gpu_cores: int = 16
    """Cores of each node with GPUs (1 to 1024)."""
    gpus: int = 1
    """GPUs of each such node (1 to 16)."""
    headers_per_core_s: float = 120.0
    """Headers read and parsed a second by a core."""
    images_per_core_s: float = 10.0
    """Images decoded and cleaned a second by a core."""
    forward_per_core_s: float = 53.0
    """Images a second through the bundle's networks by a core."""
    forward_per_gpu_s: float | None = None
    """Images a second through the bundle's networks by a GPU: all cores decode for the GPUs then, as score does where
    there are GPUs. No default, for none was measured; without it cores predict (score --gpus-per-worker 0)."""
    listed_per_s: float = 8_000.0
    """Objects listed a second by the driver, manifest included; nothing else runs meanwhile."""
    blocks_per_s: float = 13.0
    """Blocks that the driver plans and commits a second, whatever is in them."""
    files_per_s: float = 1_500.0
    """Files of results whose ids are read back a second at the end of a job; nothing else runs meanwhile."""
    start_s: float = 17.0
    """Seconds of each job until its first block is under way: Ray, workers, bundle."""
    rows_per_block: int = 64
    """Objects that score commits together (--rows-per-block, 1 to 4096); index takes 256."""
    latency_ms: float = 20.0
    """Time that the store takes to begin an answer, in milliseconds."""

    max_requests_per_s: float | None = None
    """Most requests a second that the store takes or is allowed to get."""
    max_mib_per_s: float | None = None
    """Most MiB a second that the store or the network gives, for the whole cluster."""
    hours_per_day: float = 24.0
    """Hours a day in which the jobs may run (above 0 to 24)."""

    price_node_hour: float | None = None
    """Price of a node without GPU for an hour, in any currency; the same one for all prices."""
    price_gpu_node_hour: float | None = None
    """Price of a node with GPUs for an hour."""
    price_head_hour: float | None = None
    """Price of the head node for an hour."""
    price_1000_reads: float | None = None
    """Price of 1,000 GET requests."""
    price_1000_writes: float | None = None
    """Price of 1,000 PUT, COPY or LIST requests."""
    price_gib: float | None = None
    """Price of a GiB read out of the store."""

    def __post_init__(self) -> None:
        """Check the ranges, and that the cluster can do the work.

        Raises:
            ConfigError: A value lies outside its range, there are no nodes, or a GPU's rate is given without GPUs.
        """
        positive = (
            *("object_mib", "header_kib", "headers_per_core_s", "images_per_core_s", "forward_per_core_s"),
            *("listed_per_s", "blocks_per_s", "files_per_s"),
        )
        check_ranges(
            self,
            {
                "objects": (1, 10**10),
                "radiographs": (0, 1),
                "nodes": _COUNT,
                "cores": (1, 1024),
                "gpu_nodes": _COUNT,
                "gpu_cores": (1, 1024),
                "gpus": (1, 16),
                "start_s": (0, 86_400),
                "rows_per_block": (1, 4096),
                "latency_ms": (0, 1e5),
                "hours_per_day": (0.1, 24),
            }
            | dict.fromkeys(positive, _POSITIVE),
        )
        given = {name: value for name, value in vars(self).items() if name.startswith("price_") and value is not None}
        check_ranges(self, dict.fromkeys(given, (0, 1e9)))
        limits = ("forward_per_gpu_s", "max_requests_per_s", "max_mib_per_s")
        check_ranges(self, {name: _POSITIVE for name in limits if getattr(self, name) is not None})
        if not self.nodes + self.gpu_nodes:
            raise ConfigError("--nodes and --gpu-nodes are both 0; set one of them to 1 or more")
        if self.forward_per_gpu_s is not None and not self.gpu_nodes:
            raise ConfigError("--forward-per-gpu-s is given but --gpu-nodes is 0; set it to 1 or more")

    def check(self) -> None:
        """Nothing lies under a URL here."""
