"""A table read by row groups: order, positions and ranks, first as a function, then through Ray Data."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import ray

from radray.errors import ConfigError
from radray.images.places import Places, find_places
from radray.images.reading import load_images
from radray.pretrain import stream as stream_module
from radray.pretrain.order import GroupedOrder
from radray.pretrain.samples import Slice
from radray.pretrain.stream import StreamedSet, _read_chunk
from tests.probe.drawn_images import write_images

FIRST = np.array([0, 7, 12, 13, 20, 33])


@pytest.mark.parametrize(("chunk", "batch"), [(8, 4), (16, 8), (64, 16), (5, 10)])
def test_every_sample_comes_once_an_epoch_in_another_order(chunk: int, batch: int) -> None:
    order = GroupedOrder(FIRST, seed=3, chunk=chunk)
    stream = np.concatenate([order.piece(number) for number in range(-(-33 * 6 // chunk))])
    epochs = stream[: 33 * 6].reshape(6, 33)
    assert all(sorted(epoch) == list(range(33)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 6
    for position in range(0, 33 * 4, batch):
        assert np.array_equal(order.batch(position, batch), np.sort(stream[position : position + batch]))
    assert not np.array_equal(stream[:33], GroupedOrder(FIRST, seed=4, chunk=chunk).batch(0, 33)[:33])


def test_a_chunk_needs_few_groups() -> None:
    first = np.arange(0, 64 * 101, 64)
    order = GroupedOrder(first, seed=0, chunk=640)
    groups = [len(np.unique(order.piece(number) // 64)) for number in range(10)]
    assert max(groups) <= 11
    places = np.concatenate([np.flatnonzero(np.diff(order.piece(0) // 64))])
    assert len(places) > 500  # and mixes them


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = str(tmp_path_factory.mktemp("images"))
    write_images(url, patients=40, files=9)
    return url


def test_places_find_every_image_of_the_split(table: str) -> None:
    places, loaded = find_places(table, ["train"]), load_images(table, ["label"], ["train"])
    rows = np.random.default_rng(0).permutation(len(places))
    uris = places.uris(rows)
    assert sorted(uris) == loaded.facts["uri"].to_pylist()
    there = {uri: number for number, uri in enumerate(loaded.facts["uri"].to_pylist())}
    chosen = np.array([there[uri] for uri in uris])
    assert np.array_equal(places.read(rows), loaded.images[chosen])
    labels = [places.regions[label] if label >= 0 else None for label in places.labels[rows]]
    assert labels == loaded.facts["label"].take(chosen).to_pylist() and None in labels
    with pytest.raises(ConfigError, match="no usable image of the splits"):
        find_places(table, ["nothing"])


def stream(places: Places, position: int, rank: int, world: int, batches: int) -> list[np.ndarray]:
    streamed = StreamedSet(places, chunk=32)
    wanted = Slice(seed=5, position=position, end=position + 8 * batches, batch=8, rank=rank, world=world)
    found = list(streamed.batches(wanted))
    assert [batch.position for batch in found] == list(range(position, position + 8 * batches, 8))
    for batch in found:
        assert np.array_equal(batch.pixels, places.read(batch.rows))
        assert np.array_equal(batch.labels, places.labels[batch.rows])
    return [batch.rows for batch in found]


@pytest.mark.parametrize(("chunk", "batch", "end"), [(32, 12, 260), (32, 40, 400), (8, 32, 96)])
def test_chunks_and_batches_need_not_fit(
    table: str, chunk: int, batch: int, end: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = find_places(table, ["train"])
    order, wanted = GroupedOrder(places.first, 5, chunk), Slice(seed=5, position=24, end=end, batch=batch)
    monkeypatch.setattr(ray, "get", lambda held: held)
    read = [_read_chunk({"chunk": np.array([number])}, [(places, order, wanted)]) for number in range(-(-end // chunk))]
    rows = np.concatenate([part["row"] for part in read])
    expected = [order.batch(position, batch) for position in range(24, end, batch)]
    assert np.array_equal(rows, np.concatenate(expected))
    assert {part["image"].shape[1] for part in read} == {32 * 32}


@pytest.mark.usefixtures("ray_cluster")
def test_ray_data_brings_the_order_to_any_rank_from_any_position(table: str) -> None:
    places = find_places(table, ["train"])
    order = GroupedOrder(places.first, 5, 32)
    whole = stream(places, 0, 0, 1, 14)
    assert all(np.array_equal(rows, order.batch(8 * number, 8)) for number, rows in enumerate(whole))
    resumed = [stream(places, 24, rank, 2, 11) for rank in (0, 1)]
    for expected, first, second in zip(whole[3:], *resumed, strict=True):
        assert np.array_equal(expected, np.concatenate([first, second]))


def test_a_stream_taken_in_part_is_a_set_in_memory(table: str, tmp_path: Path) -> None:
    streamed = StreamedSet(find_places(table, ["train"]))
    labels = np.where(np.arange(len(streamed)) < 5, 0, -1)
    few = streamed.with_labels(labels).take(np.arange(5))
    assert len(few) == 5 and few.labels.tolist() == [0] * 5 and few.names(np.arange(5)) == streamed.names(np.arange(5))
    batch = next(itertools.islice(few.batches(Slice(seed=0, position=0, end=4, batch=4)), 1))
    assert np.array_equal(batch.pixels, few.read(batch.rows))


def test_a_large_part_stays_in_the_table(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "IN_MEMORY_BYTES", 0)
    streamed = StreamedSet(find_places(table, ["train"]))
    rows = np.flatnonzero(streamed.labels >= 0)
    part = streamed.take(rows)
    assert isinstance(part, StreamedSet) and 0 < len(part) == len(rows) < len(streamed)
    everyone = np.arange(len(part))
    assert part.names(everyone) == streamed.names(rows) and np.array_equal(part.read(everyone), streamed.read(rows))
    assert np.array_equal(part.labels, streamed.labels[rows])


def test_a_few_groups_give_a_spread_sample(table: str) -> None:
    places = find_places(table, ["train"])
    chosen = places.spread(np.arange(len(places)), 10, groups=3)
    assert len(chosen) == 10 and len(np.unique(np.searchsorted(places.first, chosen, side="right"))) == 3
