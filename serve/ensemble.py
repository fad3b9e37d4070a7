"""The ensemble's replica: holds the bundle and computes images of several requests together."""

import asyncio
from typing import Any, cast

import numpy as np
from ray import serve

from radray import storage
from radray.ensemble import Bundle
from radray.ensemble.attention import coarse_attention
from serve.answers import EnsembleAnswer, ensemble_answers
from serve.bundles import Model
from serve.metrics import batch_histogram
from serve.service import encode_heat_map
from serve.settings import Settings


def describe_model(bundle: Bundle, url: str) -> Model:
    """What the ingress needs to know of a bundle that was loaded from `url`."""
    document = storage.read_json(storage.join(url, "bundle.json"))
    document["card"] = storage.read_bytes(storage.join(url, "CARD.md")).decode()
    return Model(regions=bundle.regions, cleaning=bundle.cleaning, digest=bundle.digest, document=document)


def draw_reasons(bundle: Bundle, image: bytes, region: str) -> bytes | None:
    """Where the reasons for a region lie in a cleaned image, as a grey PNG; None where no member can say."""
    side = bundle.side_px
    pixels = np.frombuffer(image, np.uint8).reshape(1, side, side)
    maps = coarse_attention(bundle, pixels, [bundle.regions.names.index(region)])
    return None if maps is None else encode_heat_map(maps[0])


def compute(bundle: Bundle, images: list[bytes]) -> list[EnsembleAnswer]:
    """Answers to cleaned images, side × side grey values each."""
    side = bundle.side_px
    pixels = np.frombuffer(b"".join(images), np.uint8).reshape(-1, side, side)
    return ensemble_answers(bundle.predict(pixels), bundle)


@serve.deployment
class Ensemble:
    """Holds the bundle."""

    def __init__(self, settings: Settings) -> None:
        self.bundle = Bundle.load(settings.bundle)
        self.described = describe_model(self.bundle, settings.bundle)
        side = self.bundle.side_px
        self.bundle.predict(np.zeros((1, side, side), np.uint8))  # the first prediction of a process is slow
        self.batches = batch_histogram()
        self.batching = cast(Any, self.predict)
        self.batching.set_max_batch_size(settings.batch_images)
        self.batching.set_batch_wait_timeout_s(0.0)
        self.batch_wait_s = settings.batch_wait_s

    def model(self) -> Model:
        """What the ingress needs to know."""
        return self.described

    @serve.batch
    async def predict(self, images: list[dict[str, bytes]]) -> list[EnsembleAnswer | Model]:
        """Answers to radiographs, each with its images by bundle; this bundle where there is no image for it."""
        digest = self.bundle.digest
        own = [each[digest] for each in images if digest in each]
        if own:
            self.batches.observe(len(own))
        # An image that comes alone is not kept waiting for others; where several come, more will.
        self.batching.set_batch_wait_timeout_s(self.batch_wait_s if len(images) > 1 else 0.0)
        answers = iter(await asyncio.to_thread(compute, self.bundle, own) if own else ())
        return [next(answers) if digest in each else self.described for each in images]

    async def explain(self, bundle: str, image: bytes, region: str) -> bytes | Model | None:
        """Where the reasons lie; computed on the CPU."""
        if bundle != self.bundle.digest:
            return self.described
        return await asyncio.to_thread(draw_reasons, self.bundle, image, region)
