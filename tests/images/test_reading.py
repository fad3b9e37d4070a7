import numpy as np
import pyarrow as pa
import pytest

from radray import storage
from radray.cleaning import CleaningConfig
from radray.errors import ConfigError
from radray.images import load_cleaning, load_images
from radray.images.copies import mark_copies
from radray.images.reading import save_cleaning
from radray.tables import IMAGES_SCHEMA, row_id

SIDE = 16


def write_images(url, count=30, per_file=11, seed=0):
    """An images table of several files in no order: every tenth row failed, rows 3, 13 and 23 have the same pixels."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        failed = number % 10 == 9
        pixels = np.full((SIDE, SIDE), number, np.uint8)
        rows.append(
            {
                "uri": f"/archive/{number:03}.dcm",
                "row_id": row_id(f"/archive/{number:03}.dcm"),
                "patient": f"p{number // 3}",
                "label": "knee" if number % 2 else "hand",
                "status": "failed" if failed else "ok",
                "reason": "corrupt_pixels" if failed else None,
                "content_hash": None if failed else "copy" if number % 10 == 3 else f"{number}",
                "image": None if failed else pixels.tobytes(),
                "side_px": None if failed else SIDE,
                "split": ["train", "validation", "test"][number % 3],
            }
        )
    for start, part in enumerate(np.array_split(rng.permutation(count), -(-count // per_file))):
        table = pa.Table.from_pylist([rows[i] for i in part], schema=IMAGES_SCHEMA)
        storage.write_table(storage.join(url, f"part-{start}.parquet"), table)


def test_images_and_facts_lie_side_by_side(store):
    write_images(store)
    images, facts = load_images(store)
    assert images.shape == (27, SIDE, SIDE)
    assert images.dtype == np.uint8
    uris = facts["uri"].to_pylist()
    assert uris == sorted(uris)
    assert [int(uri[-7:-4]) for uri in uris] == images[:, 0, 0].tolist()
    tests = load_images(store, ["label"], ["test"])
    assert tests.facts.column_names == ["uri", "label"]
    assert tests.images[:, 3, 3].tolist() == [2, 5, 8, 11, 14, 17, 20, 23, 26]


def test_memory_map_holds_the_same(tmp_path):
    write_images(str(tmp_path))
    mapped = load_images(str(tmp_path), memory_map=tmp_path / "pixels.npy").images
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(mapped, load_images(str(tmp_path)).images)


def test_copies_are_marked_once_and_no_row_disappears(store):
    write_images(store)
    assert mark_copies(store) == 2
    before = storage.read_table(store).sort_by("uri")
    assert mark_copies(store) == 2
    assert storage.read_table(store).sort_by("uri").equals(before)
    assert before.num_rows == 30
    copies = [row for row in before.to_pylist() if row["reason"] == "exact_copy"]
    assert [row["uri"][-7:-4] for row in copies] == ["013", "023"]
    assert all(row["status"] == "set_aside" and row["image"] is None for row in copies)
    assert before.schema.equals(IMAGES_SCHEMA)
    assert len(load_images(store).images) == 25


def test_what_cannot_be_read_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match=r"jobs/clean\.py"):
        load_images(str(tmp_path / "none"))
    write_images(str(tmp_path))
    with pytest.raises(ConfigError, match="shoe_size"):
        load_images(str(tmp_path), ["shoe_size"])
    with pytest.raises(ConfigError, match="no usable image"):
        load_images(str(tmp_path), splits=["nowhere"])
    with pytest.raises(ConfigError, match=r"cleaning\.json"):
        load_cleaning(str(tmp_path))


def test_cleaning_travels_with_the_images(store):
    config = CleaningConfig(side_px=96, tone="local")
    save_cleaning(store, config)
    assert load_cleaning(store) == config
