"""One version of predictions: what its rows depend on, and where they lie."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from radray import storage
from radray.dicom.header import HeaderReader
from radray.dicom.identity import Pseudonyms
from radray.ensemble import Bundle
from radray.index.labels import parse_labels
from radray.score.config import ScoreConfig
from radray.score.versions import version_folder
from radray.version import __version__


@dataclass(frozen=True, kw_only=True)
class Version:
    """A configuration and its bundle."""

    config: ScoreConfig
    bundle: Bundle
    headers: dict[str, Any] | None
    """How workers read headers of a listing; None for an index, where that is done."""
    key: str
    """Digest of all that rows depend on but the objects themselves."""
    folder: str
    """URL of its Parquet files."""

    @property
    def workplace(self) -> str:
        """URL of the folder for listings, which hold objects' URLs: beside the rows where these shall not tell them."""
        hashed = self.config.key == "hash" and self.headers is not None
        return storage.join(self.config.output, "_listing", self.name) if hashed else self.folder

    @property
    def name(self) -> str:
        """Last part of the folder, `version=…`."""
        return self.folder.rsplit("/", 1)[-1]


def open_version(config: ScoreConfig) -> Version:
    """Load the bundle of `config`.

    Raises:
        BundleError: It cannot be used.
    """
    bundle = Bundle.load(config.bundle, device="cpu")
    headers = _header_arguments(config, bundle)
    key = _key(config, bundle, headers)
    folder = version_folder(config.output, key)
    return Version(config=config, bundle=bundle, headers=headers, key=key, folder=folder)


def _header_arguments(config: ScoreConfig, bundle: Bundle) -> dict[str, Any] | None:
    if config.archive is None:
        return None
    rules = config.header_rules()
    return {
        "reader": HeaderReader(regions=bundle.regions, pseudonyms=Pseudonyms(rules.secret()), rule=rules.rule()),
        "labels": parse_labels(config.labels, config.archive, bundle.regions),
        "header_bytes": rules.header_bytes,
        "hash_keys": config.key == "hash",
    }


def _key(config: ScoreConfig, bundle: Bundle, headers: dict[str, Any] | None) -> str:
    settings = {
        "bundle": bundle.digest,
        "version": __version__,
        **({} if config.precision == "float32" else {"precision": config.precision}),
        "source": storage.normalise_url(config.archive or config.index or ""),
    }
    if headers is not None:
        settings |= {
            "labels": config.labels,
            "key": config.key,
            "patients": headers["reader"].pseudonyms.of("check", "")[:16],
        }
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16).hexdigest()
