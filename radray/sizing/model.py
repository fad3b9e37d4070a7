"""Stages of the index and score jobs, what each uses up, and how long they take together. No Ray.

A job begins with what runs alone (start of Ray and its workers; the listing), streams, and ends with a check of its
rows. While it streams, everything that uses up something else runs at the same time, so the fullest resource sets the
pace; stages that use up the same one (decoding and forward passes share the cores) add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from radray.sizing.config import SizingConfig

KEYS_A_PAGE = 1000
"""Keys that one LIST request returns (S3 ListObjectsV2)."""
INDEX_ROWS_PER_BLOCK = 256
HEADERS_AT_ONCE, FETCHES_AT_ONCE = 32, 8
"""Requests that a worker has under way, in index and in score."""
WRITES_A_BLOCK = 3
"""Rows, ids, and the copy that commits the ids."""
READS_OF_IDS = 3
"""Times that a finished file is read back: its ids from the checkpoint, its ids from the rows, its counts."""

ALONE = ("start", "listing", "check of rows")
"""Resources of stages beside which nothing else of the job runs."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One piece of work of a job."""

    job: str
    name: str
    uses: str
    """The resource that it uses up."""
    amount: float
    """Objects, images, blocks, files, requests or MiB."""
    rate: float
    """Of them a second, by the whole cluster."""

    @property
    def seconds(self) -> float:
        """How long it takes with the resource for itself."""
        return self.amount / self.rate


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What the model says about one archive and one cluster."""

    stages: tuple[Stage, ...]
    job_seconds: dict[str, float]
    """Job → how long it runs."""
    critical: dict[str, float]
    """Resource → seconds that it alone sets the pace, over both jobs."""
    reads: int
    """GET requests to the archive."""
    lists: int
    """LIST requests to the archive."""
    writes: int
    """PUT and COPY requests to the outputs."""
    read_gib: float
    """Read out of the archive."""
    costs: dict[str, float] = field(default_factory=dict)
    """Item → cost, for the prices that are given."""

    @property
    def seconds(self) -> float:
        """Both jobs, one after the other."""
        return sum(self.job_seconds.values())

    @property
    def bottleneck(self) -> str:
        """The resource that sets the pace for the longest time."""
        return max(self.critical, key=lambda resource: self.critical[resource])


def estimate(config: SizingConfig, faster: Mapping[str, float] | None = None) -> Estimate:
    """Time, requests, bytes and costs of `config`.

    Args:
        config: Archive, cluster, rates, limits, prices.
        faster: Resource → how many times as much of it there is than `config` says.
    """
    stages = tuple(_speed_up(stage, faster or {}) for stage in (*_index_stages(config), *_score_stages(config)))
    critical: dict[str, float] = {}
    job_seconds = {}
    for job in ("index", "score"):
        job_seconds[job] = 0.0
        for resource, seconds in _pace(stages, job).items():
            critical[resource] = critical.get(resource, 0.0) + seconds
            job_seconds[job] += seconds
    wanted = round(config.objects * config.radiographs)
    blocks = sum(stage.amount for stage in stages if stage.name == "blocks")
    found = Estimate(
        stages=stages,
        job_seconds=job_seconds,
        critical=critical,
        reads=config.objects + wanted,
        lists=-(-config.objects // KEYS_A_PAGE),
        writes=round(WRITES_A_BLOCK * blocks),
        read_gib=(config.objects * config.header_kib / 1024 + wanted * config.object_mib) / 1024,
    )
    found.costs.update(_costs(config, found))
    return found


def _pace(stages: tuple[Stage, ...], job: str) -> dict[str, float]:
    """Resource → seconds of the job that it decides: those that run alone, and the fullest of the others."""
    used: dict[str, float] = {}
    for stage in stages:
        if stage.job == job:
            used[stage.uses] = used.get(stage.uses, 0.0) + stage.seconds
    alone = {resource: used.pop(resource) for resource in ALONE if resource in used}
    fullest = max(used, key=lambda resource: used[resource])
    return alone | {fullest: used[fullest]}


def _speed_up(stage: Stage, faster: Mapping[str, float]) -> Stage:
    factor = faster.get(stage.uses, 1.0)
    return Stage(job=stage.job, name=stage.name, uses=stage.uses, amount=stage.amount, rate=stage.rate * factor)


def _index_stages(config: SizingConfig) -> list[Stage]:
    cores = config.nodes * config.cores + config.gpu_nodes * config.gpu_cores
    objects = float(config.objects)
    per_worker = config.headers_per_core_s
    if config.latency_ms:
        per_worker = min(per_worker, HEADERS_AT_ONCE / (config.latency_ms / 1000))
    stages = [
        Stage(job="index", name="listing", uses="listing", amount=objects, rate=config.listed_per_s),
        Stage(job="index", name="headers", uses="cores", amount=objects, rate=per_worker * cores),
    ]
    mib = objects * config.header_kib / 1024
    return stages + _shared(config, "index", INDEX_ROWS_PER_BLOCK, requests=objects, mib=mib)


def _score_stages(config: SizingConfig) -> list[Stage]:
    images = config.objects * config.radiographs
    cores = float(config.nodes * config.cores + config.gpu_nodes * config.gpu_cores)
    uses, forward = "cores", config.forward_per_core_s * cores
    if config.forward_per_gpu_s is not None:
        uses, forward = "GPUs", config.forward_per_gpu_s * config.gpu_nodes * config.gpus
    stages = [
        Stage(job="score", name="decode, clean", uses="cores", amount=images, rate=config.images_per_core_s * cores),
        Stage(job="score", name="forward", uses=uses, amount=images, rate=forward),
    ]
    if config.latency_ms:
        # A worker waits for the first body of a block; the others come while it decodes, so many at a time.
        latency_s, blocks = config.latency_ms / 1000, images / config.rows_per_block
        stages.append(Stage(job="score", name="waiting", uses="cores", amount=blocks, rate=cores / latency_s))
        at_once = FETCHES_AT_ONCE * cores
        stages.append(Stage(job="score", name="bodies", uses="latency", amount=images, rate=at_once / latency_s))
    mib = images * config.object_mib
    return stages + _shared(config, "score", config.rows_per_block, requests=images, mib=mib)


def _shared(config: SizingConfig, job: str, rows_per_block: int, *, requests: float, mib: float) -> list[Stage]:
    """What both jobs have: their start, the driver's blocks, the store's limits, the check at the end."""
    blocks = float(-(-config.objects // rows_per_block))
    stages = [
        Stage(job=job, name="start", uses="start", amount=config.start_s, rate=1.0),
        Stage(job=job, name="blocks", uses="driver", amount=blocks, rate=config.blocks_per_s),
        Stage(
            job=job, name="check of rows", uses="check of rows", amount=READS_OF_IDS * blocks, rate=config.files_per_s
        ),
    ]
    if config.max_requests_per_s is not None:
        rate = config.max_requests_per_s
        stages.append(Stage(job=job, name="requests", uses="requests", amount=requests, rate=rate))
    if config.max_mib_per_s is not None:
        stages.append(Stage(job=job, name="bytes", uses="network", amount=mib, rate=config.max_mib_per_s))
    return stages


def _costs(config: SizingConfig, found: Estimate) -> dict[str, float]:
    hours = {job: seconds / 3600 for job, seconds in found.job_seconds.items()}
    items = {
        "nodes": (config.price_node_hour, config.nodes * sum(hours.values())),
        "GPU nodes": (config.price_gpu_node_hour, config.gpu_nodes * sum(hours.values())),
        "head": (config.price_head_hour, sum(hours.values())),
        "reads": (config.price_1000_reads, found.reads / 1000),
        "writes, lists": (config.price_1000_writes, (found.writes + found.lists) / 1000),
        "bytes read": (config.price_gib, found.read_gib),
    }
    return {name: price * amount for name, (price, amount) in items.items() if price is not None}
