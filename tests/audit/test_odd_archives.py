"""Archives that are not as they should be: no labels, one region, images without features, all judged."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from radray import storage
from radray.audit.config import AuditConfig
from radray.audit.inputs import load_rows
from radray.audit.judging import judge
from radray.audit.neighbours import find_neighbours, unit_rows
from radray.audit.stage import run_audit
from radray.review.verdict_file import append_verdict
from radray.review.verdicts import Verdict
from tests.audit.small_archive import REGIONS, write_small_archive


@pytest.fixture
def small(tmp_path):
    archive = write_small_archive(tmp_path)
    config = AuditConfig(
        predictions=archive.predictions,
        images=archive.images,
        probe=archive.probe,
        output=str(tmp_path / "findings"),
        heat_maps=False,
        controls=20,
    )
    return archive, config


def change(url, name, values):
    """Put other values into a column of a one-file table."""
    file = storage.list_files(url, ".parquet")[0]
    table = pq.read_table(file)
    place = table.schema.get_field_index(name)
    storage.write_table(
        file, table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))
    )


def relabel(config, label):
    rows = storage.read_table(config.images).num_rows
    change(config.images, "label", [label] * rows)


def test_without_labels_there_are_suggestions_and_copies_but_no_label_checks(small, capsys):
    archive, config = small
    relabel(config, None)
    summary = run_audit(config)
    assert summary["by_issue"]["label_error"] == summary["by_issue"]["control"] == 0
    assert summary["by_issue"]["missing_label"] == len(archive.uris)
    assert summary["by_issue"]["near_duplicate"] >= 1
    assert "none of the 420 images has a label" in capsys.readouterr().err


def test_where_one_region_alone_is_labelled_nothing_is_called_out_of_domain(small, capsys):
    _, config = small
    relabel(config, "hand")
    assert run_audit(config)["by_issue"]["out_of_domain"] == 0
    assert "out of domain is not told" in capsys.readouterr().err


def test_when_all_is_judged_nothing_is_left_to_check(small, tmp_path):
    archive, config = small
    path = tmp_path / "verdicts.csv"
    for uri, one in zip(archive.uris, archive.true_classes, strict=True):
        append_verdict(path, Verdict(uri=uri, reviewer="ab", verdict="correct", region=REGIONS.names[one]))
    summary = run_audit(dataclasses.replace(config, verdicts=str(path)))
    assert summary["judged"] == len(archive.uris)
    assert summary["by_issue"]["label_error"] == summary["by_issue"]["missing_label"] == 0


@pytest.mark.parametrize("gone", ["missing", "no number"])
def test_images_without_features_keep_their_predictions(small, capsys, gone):
    archive, config = small
    folder = storage.join(config.probe, "features", "one")
    file = storage.list_files(folder, ".parquet")[0]
    table = pq.read_table(file)
    if gone == "missing":
        storage.write_table(file, table.slice(100))
    else:
        vectors = np.stack(table["simclr"].to_numpy()).astype(np.float16)
        vectors[:100, 3] = np.nan
        flat = pa.array(vectors.ravel(), pa.float16())
        storage.write_table(
            file, table.set_column(2, "simclr", pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]))
        )
    summary = run_audit(config)
    assert summary["without_features"] == 100
    assert "100 images have no features" in capsys.readouterr().err
    rows = load_rows(config)
    found = judge(rows, rows.labels)
    without = ~rows.embedded
    assert without.sum() == 100
    assert np.array_equal(found[without], rows.probabilities[without])
    assert np.mean(found[~without].argmax(axis=1) == archive.true_classes[~without]) > 0.7
    assert np.isfinite(found).all()


def test_rows_of_zeros_are_nobodys_neighbours():
    unit = unit_rows(np.random.default_rng(0).normal(size=(40, 5)))
    unit[[3, 17]] = 0
    found = find_neighbours(unit, np.arange(40), 6)
    assert (found.indices[[3, 17]] == -1).all()
    assert not np.isin(found.indices, [3, 17]).any()
    assert (found.indices[np.delete(np.arange(40), [3, 17])] >= 0).all()
