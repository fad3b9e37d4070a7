"""Images to features by several networks: the worker of the embedding pass. No Ray."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from radray.ensemble.features import embed, fold_batch_norm
from radray.errors import ConfigError
from radray.memory import keep_freed_memory
from radray.pretrain.run import load_network


class EmbedRows:
    """One worker: keeps the networks, turns rows of the images table into rows of features.

    Args:
        networks: Column → `run` (URL), `digest` it must have, and sorted `wanted_ids` (or None for all).
        views: Views averaged, see `radray.ensemble.features`.
        batch: Images computed together.
        device: `cpu` or `cuda`.

    Raises:
        ConfigError: A run is damaged, or another one than the pass began with.
    """

    def __init__(
        self, *, networks: dict[str, dict[str, Any]], views: tuple[str, ...], batch: int = 64, device: str = "cpu"
    ) -> None:
        if device == "cpu":
            torch.set_num_threads(1)
            keep_freed_memory()
        self._device, self._views, self._batch = torch.device(device), views, batch
        self._wanted_ids = {name: wish["wanted_ids"] for name, wish in networks.items()}
        self._backbones = {}
        for name, wish in networks.items():
            run = load_network(wish["run"])
            if run.digest != wish["digest"]:
                raise ConfigError(f"{wish['run']} changed while its features were computed; start the job again")
            self._backbones[name] = fold_batch_norm(run.backbone).to(self._device)

    def __call__(self, rows: pa.Table) -> pa.Table:
        """One row of features for each row, in order."""
        side = rows["side_px"][0].as_py() if rows.num_rows else 0
        images = np.empty((rows.num_rows, side, side), np.uint8)
        for place, body in enumerate(rows["image"].combine_chunks()):
            images[place] = np.frombuffer(body.as_buffer(), np.uint8).reshape(side, side)
        ids = rows["row_id"].to_numpy()
        columns = {"row_id": rows["row_id"], "uri": rows["uri"]}
        for name, backbone in self._backbones.items():
            known = self._wanted_ids[name]
            wanted = np.ones(len(ids), bool) if known is None else np.isin(ids, known)
            columns[name] = self._vectors(backbone, images, wanted)
        return pa.table(columns)

    def _vectors(self, backbone: Any, images: npt.NDArray[np.uint8], wanted: npt.NDArray[np.bool_]) -> pa.Array:
        """Float16 vectors of the images wanted, null for the others."""
        features = np.zeros((len(images), backbone.dimension), np.float16)
        places = np.flatnonzero(wanted)
        for start in range(0, len(places), self._batch):
            some = places[start : start + self._batch]
            pixels = torch.from_numpy(images[some]).to(self._device)
            features[some] = embed(backbone, pixels, self._views).half().cpu().numpy()
        flat = pa.array(features.reshape(-1), pa.float16())
        return pa.FixedSizeListArray.from_arrays(flat, backbone.dimension, mask=pa.array(~wanted))
