"""Features are made once: new networks, new images, few-label networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from radray import storage
from radray.ensemble.features import embed
from radray.images.reading import load_images
from radray.pretrain.run import load_network, load_run
from radray.probe.config import ProbeConfig
from radray.probe.embedding import NETWORKS_FILE, Network, embed_networks
from tests.probe.drawn_images import write_images
from tests.probe.runs import write_run

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def config(tmp_path: Path) -> ProbeConfig:
    """Forty images and two runs."""
    write_images(str(tmp_path / "images"), patients=20, files=2)
    for seed, method in enumerate(("simclr", "byol")):
        write_run(str(tmp_path / "runs" / method), method, seed=seed)
    place = str(tmp_path / "runs")
    return ProbeConfig(images=str(tmp_path / "images"), runs=(place,), output=str(tmp_path / "probe"))


def network(config: ProbeConfig, method: str, name: str | None = None) -> Network:
    return Network(name=name or method, run=load_run(storage.join(config.runs[0], method)))


def folders(config: ProbeConfig) -> dict[str, float]:
    """Folder of features → when its newest rows were written."""
    place = Path(config.output) / "features"
    return {str(each): max(file.stat().st_mtime for file in each.glob("*.parquet")) for each in place.iterdir()}


def row_ids(config: ProbeConfig) -> np.ndarray:
    return load_images(config.images, ("row_id",)).facts["row_id"].to_numpy()


def test_features_are_the_backbones_own_and_none_is_computed_twice(
    config: ProbeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = row_ids(config)
    first = embed_networks([network(config, "simclr")], ids[::-1], config)["simclr"].read(ids[::-1])
    images = load_images(config.images).images[::-1].copy()
    expected = embed(network(config, "simclr").run.backbone, torch.from_numpy(images), config.views).half().numpy()
    np.testing.assert_allclose(first, expected, rtol=2e-2, atol=2e-3)
    written = folders(config)
    both = embed_networks([network(config, "simclr"), network(config, "byol")], ids, config)
    assert written.items() <= folders(config).items() and len(folders(config)) == 2
    np.testing.assert_array_equal(both["simclr"].read(ids), first[::-1])
    assert "embed by 1 network" in capsys.readouterr().err
    written = folders(config)
    embed_networks([network(config, "simclr", "renamed"), network(config, "byol")], ids, config)
    assert folders(config) == written
    assert "embed by" not in capsys.readouterr().err


def test_new_images_join_and_gone_ones_leave(config: ProbeConfig) -> None:
    networks = [network(config, "simclr"), network(config, "byol")]
    before = dict(
        zip(
            row_ids(config),
            embed_networks(networks, row_ids(config), config)["byol"].read(row_ids(config)),
            strict=True,
        )
    )
    kept = set(row_ids(config)[4:])
    storage.remove(config.images)
    write_images(config.images, patients=25)
    table = storage.read_table(config.images).to_pandas()
    ids = row_ids(config)
    found = embed_networks(networks, ids, config)["byol"].read(ids)
    assert len(found) == len(table) == 50
    for place, key in enumerate(ids):
        if key in kept:
            np.testing.assert_array_equal(found[place], before[key])
    assert len(folders(config)) == 1


def test_new_images_without_one_of_the_networks_and_other_cleaning_start_anew(config: ProbeConfig) -> None:
    embed_networks([network(config, "simclr"), network(config, "byol")], row_ids(config), config)
    storage.remove(config.images)
    write_images(config.images, patients=25)
    byol = [network(config, "byol"), Network(name="imagenet", run=load_network("imagenet"))]
    both = embed_networks(byol, row_ids(config), config)
    found, photographs = both["byol"].read(row_ids(config)), both["imagenet"].read(row_ids(config))
    assert found.shape == (50, 256) and np.abs(found).sum(axis=1).all()
    assert photographs.shape == (50, 1280) and np.abs(photographs).sum(axis=1).all()
    place = storage.join(config.images, "cleaning.json")
    storage.write_json(place, {**storage.read_json(place), "working_px": 65})
    embed_networks(byol, row_ids(config), config)
    assert len(list(Path(config.output, "features").glob(f"*/{NETWORKS_FILE}"))) == 3


def test_a_few_label_network_sees_its_training_images_alone(config: ProbeConfig) -> None:
    facts = load_images(config.images, ("row_id", "split")).facts
    ids, training = facts["row_id"].to_numpy(), np.array(facts["split"].to_pylist()) == "train"
    wanted = np.sort(np.concatenate([ids[~training], ids[training][:3]]))
    few = Network(name="few", run=network(config, "simclr").run, wanted_ids=wanted)
    found = embed_networks([few, network(config, "byol")], ids, config)
    seen = np.abs(found["few"].read(ids)).sum(axis=1) > 0
    np.testing.assert_array_equal(seen, np.isin(ids, wanted))
    assert np.abs(found["byol"].read(ids)).sum(axis=1).all()
    written = folders(config)
    other = Network(name="few", run=few.run, wanted_ids=wanted[1:])
    embed_networks([other, network(config, "byol")], ids, config)
    assert len(folders(config)) == 3 and written.items() <= folders(config).items()
