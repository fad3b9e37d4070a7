"""What Prometheus is told, at the cluster's own metrics endpoints: rates, latencies, and what drifts. No identity."""

from ray.serve.metrics import Counter, Histogram

from serve.answers import EnsembleAnswer

_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
_SHARES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0]
_IMAGES = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0]


class Metrics:
    """The ingress's counters and histograms."""

    def __init__(self) -> None:
        self._requests = Counter(
            "radray_requests",
            description="Requests answered.",
            tag_keys=("path", "method", "status"),  # type: ignore[arg-type]
        )
        self._seconds = Histogram(
            "radray_request_seconds",
            description="Time from the first byte to the last.",
            boundaries=_SECONDS,
            tag_keys=("path",),
        )
        self._ensemble = Histogram(
            "radray_ensemble_seconds", description="Time that an image waits for its answer.", boundaries=_SECONDS
        )
        self._regions = Counter(
            "radray_regions",
            description="Answers by region.",
            tag_keys=("region", "abstained"),  # type: ignore[arg-type]
        )
        self._refused = Counter("radray_refused_objects", description="Objects without answer.", tag_keys=("reason",))
        self._confidence = Histogram(
            "radray_confidence", description="Confidence of the answers.", boundaries=_SHARES, tag_keys=("region",)
        )
        self._outlier = Histogram("radray_ood_score", description="Out-of-domain scores.", boundaries=_SHARES)

    def count_request(self, path: str, method: str, status: int, seconds: float) -> None:
        """One request; `path` is the route's template."""
        self._requests.inc(tags={"path": path, "method": method, "status": str(status)})
        self._seconds.observe(max(seconds, 1e-6), tags={"path": path})

    def time_ensemble(self, seconds: float) -> None:
        """One image's wait."""
        self._ensemble.observe(max(seconds, 1e-6))

    def count_answer(self, answer: EnsembleAnswer) -> None:
        """One image's answer."""
        self._regions.inc(tags={"region": answer.region, "abstained": str(answer.abstained).lower()})
        self._confidence.observe(max(answer.confidence, 1e-6), tags={"region": answer.region})
        self._outlier.observe(max(answer.ood_score, 1e-6))

    def count_refused(self, reason: str) -> None:
        """One object that could not be used."""
        self._refused.inc(tags={"reason": reason})


def batch_histogram() -> Histogram:
    """Of the images that an ensemble replica computes together."""
    return Histogram("radray_batch_images", description="Images computed together.", boundaries=_IMAGES)
