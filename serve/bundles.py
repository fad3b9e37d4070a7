"""Which bundle answers: while one is rolled out, replicas of the ingress and of the ensemble may hold different ones.

An image is cleaned for a bundle, so the ingress names the bundle with each image, and a replica of the ensemble that
holds another one answers with what that is. The ingress then cleans the image for that one too, and whichever replica
it asks next finds the one it needs: no answer mixes two bundles.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

from radray.cleaning.config import CleaningConfig
from radray.dicom.header import HeaderReader
from radray.dicom.identity import Pseudonyms
from radray.regions import Region, RegionSet
from serve.answers import EnsembleAnswer
from serve.bodies import Part

TRIES = 16
"""How often a request is begun anew because another bundle answers."""
INSIST = 3
"""How often a second word is asked of the bundle that gave the first before the request begins anew."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """What the ingress needs to know of a bundle."""

    regions: RegionSet
    cleaning: CleaningConfig
    digest: str
    document: dict[str, Any]
    """The bundle's own description (`bundle.json`), with the card as `card`."""

    def region(self, name: str) -> Region:
        """A region by its name."""
        return self.regions.regions[self.regions.names.index(name)]


class Asked(Protocol):
    """The ensemble, as the ingress asks it."""

    async def model(self) -> Model:
        """The bundle of the replica that answers."""

    async def predict(self, images: dict[str, bytes]) -> EnsembleAnswer | Model:
        """The answer to one radiograph.

        Args:
            images: Side × side grey values, by the digest of the bundle that they were cleaned for.

        Returns:
            What the replica's bundle says; where there is no image for it, the bundle.
        """

    async def explain(self, bundle: str, image: bytes, region: str) -> bytes | Model | None:
        """Where the reasons for a region lie, as a grey PNG; None where no member can say; or the other bundle."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An object that can be used, cleaned for one bundle."""

    image: bytes
    header_label: str | None


@dataclass(kw_only=True)
class Draft:
    """A request on its way to an answer."""

    part: Part
    model: Model
    """Of the bundle that is thought to answer."""
    prepared: dict[str, Prepared] = field(default_factory=dict)
    """By the digest of the bundle."""
    inverted: dict[str, Prepared | None] = field(default_factory=dict)
    """The same with inverted grey values; None where that cannot be used."""


class Replaced(Exception):
    """Another bundle than the expected one answers; the request begins anew with it."""

    def __init__(self, model: Model) -> None:
        self.model = model
        super().__init__(model.digest)


class KnownBundles:
    """The bundles that answered so far; the newest one is thought to answer next.

    Args:
        model: The first.
    """

    def __init__(self, model: Model) -> None:
        self._models: dict[str, tuple[Model, HeaderReader]] = {}
        self.newest = model
        self.learn(model)

    def learn(self, model: Model) -> Model:
        """Remember a bundle that answers; what is remembered of it."""
        if model.digest not in self._models:
            reader = HeaderReader(regions=model.regions, pseudonyms=Pseudonyms(secret=None))
            self._models[model.digest] = (model, reader)
        self.newest = self._models[model.digest][0]
        return self.newest

    def model(self, digest: str) -> Model:
        """A bundle by its digest."""
        return self._models[digest][0]

    def reader(self, digest: str) -> HeaderReader:
        """Reads the headers of objects with the bundle's regions."""
        return self._models[digest][1]
