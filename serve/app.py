"""The bundle behind HTTP: the deployments, and how they are put together.

RADRAY_BUNDLE=out/probe/bundle serve run serve.app:app
curl --data-binary @image.dcm -H 'Content-Type: application/dicom' http://127.0.0.1:8000/v1/region

The ingress replica reads the body, decodes it (native codecs in a child process) and cleans it; only the small grey
image goes on to the ensemble replica, which computes images of several requests together.
Nothing of a header but the region it names enters an answer, and nothing of it enters a log.
"""

from typing import Any

import cv2
from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.config import BackpressureConfig
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from radray import storage
from serve.access import Admission, check_peers_are_known
from serve.answers import EnsembleAnswer
from serve.api import Desk, build_api
from serve.bundles import Model
from serve.ensemble import Ensemble
from serve.keys import KeyRing, read_keys
from serve.metrics import Metrics
from serve.problems import RETRY_AFTER_S, ApiError, ApiReason
from serve.relabels import Relabels
from serve.review import Review
from serve.service import RegionService
from serve.settings import Settings

TRIES = 3
"""How often an image is given to the ensemble whose replica dies under it: the same image has the same answer."""
LONGEST_REQUEST_S = 120.0
"""How long a replica that is replaced goes on with the requests it has; `request_timeout_s` in serve/config.yaml."""


class Remote:
    """The ensemble's replicas."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    async def model(self) -> Model:
        """The bundle of the replica that answers.

        Raises:
            ApiError: BUSY.
        """
        found: Model = await self._ask("model")
        return found

    async def predict(self, images: dict[str, bytes]) -> EnsembleAnswer | Model:
        """The answer to one radiograph.

        Raises:
            ApiError: BUSY.
        """
        found: EnsembleAnswer | Model = await self._ask("predict", images)
        return found

    async def explain(self, bundle: str, image: bytes, region: str) -> bytes | Model | None:
        """Where the reasons for a region lie.

        Raises:
            ApiError: BUSY.
        """
        found: bytes | Model | None = await self._ask("explain", bundle, image, region)
        return found

    async def _ask(self, method: str, *given: Any) -> Any:
        for _ in range(TRIES):
            try:
                return await getattr(self._handle, method).remote(*given)
            except BackPressureError as error:
                raise ApiError(ApiReason.BUSY, "too many images wait for the ensemble") from error
            except DeploymentUnavailableError as error:
                raise ApiError(ApiReason.BUSY, "the ensemble could not be started") from error
            except RayActorError:
                continue
        raise ApiError(ApiReason.BUSY, "the ensemble's replicas are being replaced")


def build_ingress_api() -> FastAPI:
    """The API in front of this process's replica."""

    def desk() -> Desk:
        replica: Any = serve.get_replica_context().servable_object
        found: Desk = replica.desk
        return found

    return build_api(desk)


# Ray stores this class as it is at this line: what it calls must be defined above.
@serve.deployment
@serve.ingress(build_ingress_api)
class Ingress:
    """Reads, decodes and cleans what comes in."""

    async def __init__(  # type: ignore[misc]
        self, settings: Settings, ensemble: DeploymentHandle[Any], review: DeploymentHandle[Any] | None = None
    ) -> None:
        keys = KeyRing(read_keys(settings.api_keys))
        check_peers_are_known(keys)
        cv2.setNumThreads(1)  # replicas are scaled, not threads: those of one image would wait for those of another
        remote = Remote(ensemble)
        service = RegionService(
            model=await remote.model(),
            ensemble=remote,
            limits=settings.pixel_limits,
            answer_s=settings.answer_s,
            metrics=Metrics(),
            decodes_at_once=max(1, int(settings.ingress_cpus)),
        )
        relabels = None
        if settings.allowed:
            relabels = Relabels(bundle=settings.bundle, allowed=settings.allowed, address=settings.job_server)
        self.desk = Desk(
            service=service,
            keys=keys,
            admission=Admission(settings.max_under_way, settings.max_under_way_each),
            body_limits=settings.body_limits,
            relabels=relabels,
            ask_review=None if review is None else review.ask.remote,
        )


def app(settings: Settings) -> serve.Application:
    """Build the application; `serve run` and `serve deploy` call this.

    Raises:
        ConfigError: No bundle is named, it cannot be read, or another setting cannot be used.
    """
    settings.check()
    environment = {"env_vars": storage.environment()}
    scale: dict[str, Any] = {"min_replicas": 1, "max_replicas": settings.max_replicas, "target_ongoing_requests": 4}
    ensemble = Ensemble.options(  # type: ignore[attr-defined]
        ray_actor_options={
            "num_cpus": settings.ensemble_cpus,
            "num_gpus": settings.ensemble_gpus,
            "runtime_env": environment,
        },
        max_ongoing_requests=4 * settings.batch_images,
        max_queued_requests=16 * settings.batch_images,
        autoscaling_config={**scale, "target_ongoing_requests": 2 * settings.batch_images},
        max_surge_percent=settings.surge_percent,
        graceful_shutdown_timeout_s=LONGEST_REQUEST_S,
    ).bind(settings)
    review = None
    if settings.findings:
        review = Review.options(  # type: ignore[attr-defined]
            num_replicas=1, ray_actor_options={"num_cpus": 0.1, "runtime_env": environment}, max_ongoing_requests=64
        ).bind(settings)
    ingress = Ingress.options(  # type: ignore[attr-defined]
        ray_actor_options={"num_cpus": settings.ingress_cpus, "runtime_env": environment},
        # The replica itself refuses what is too much, with a reason; pages and health need room beside it.
        max_ongoing_requests=2 * settings.max_under_way + 16,
        max_queued_requests=4 * settings.max_under_way,
        backpressure_config=BackpressureConfig(retry_after_s=RETRY_AFTER_S),
        autoscaling_config=scale,
        max_surge_percent=settings.surge_percent,
        graceful_shutdown_timeout_s=LONGEST_REQUEST_S,
    ).bind(settings, ensemble, review)
    application: serve.Application = ingress
    return application
