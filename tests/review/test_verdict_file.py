from __future__ import annotations

import threading
import uuid

import pytest

from radray import storage
from radray.errors import ConfigError
from radray.review.verdict_file import VerdictFile, append_verdict
from radray.review.verdicts import COLUMNS, Verdict, parse_verdicts, standing_verdicts


def some_verdict(place=0, **given):
    return Verdict(uri=f"/{place}", reviewer="ab", verdict="confirm", region="hand", id=uuid.uuid4().hex, **given)


def test_the_last_verdict_that_was_not_undone_stands(tmp_path):
    path = tmp_path / "verdicts.csv"
    for kind, region in (("confirm", "hand"), ("correct", "wrist"), ("undo", ""), ("unsure", ""), ("undo", "")):
        append_verdict(path, Verdict(uri="/a", reviewer="ab", verdict=kind, region=region))
    standing = standing_verdicts(parse_verdicts(path.read_bytes(), "file"))
    assert standing["/a", "ab"].region == "hand"


def test_a_file_torn_at_any_byte_keeps_its_whole_lines(tmp_path, capsys):
    path = tmp_path / "verdicts.csv"
    with VerdictFile(str(path)) as file:
        for place in range(3):
            file.append(some_verdict(place, comment='with "quotes", and a comma'))
        known = list(file.verdicts)
    body = path.read_bytes()
    for length in range(len(body) + 1):
        path.write_bytes(body[:length])
        whole = [known[line] for line in range(body[:length].count(b"\n") - 1)]
        # A line without its line end is whole once its id, the last column, is.
        if length < len(body) and body[length : length + 1] == b"\n" and length > body.index(b"\n"):
            whole.append(known[len(whole)])
        with VerdictFile(str(path)) as file:
            assert file.verdicts == whole
            assert bool(file.notes) == (
                length not in (0, len(body))
                and body[length - 1] != ord("\n")
                and (body[length : length + 1] != b"\n" or length < body.index(b"\n") + 1)
            )
            file.append(some_verdict(9))
        assert [each.uri for each in parse_verdicts(path.read_bytes(), "file")] == [*(each.uri for each in whole), "/9"]
    path.write_bytes(body[:-20])
    assert len(parse_verdicts(path.read_bytes(), "file")) == 2
    assert "torn" in capsys.readouterr().err


def test_one_writer_at_a_time(tmp_path):
    path = str(tmp_path / "verdicts.csv")
    with VerdictFile(path), pytest.raises(ConfigError, match="another review writes there"):
        VerdictFile(path)
    VerdictFile(path).close()


def test_a_patient_writer_waits_for_the_one_before_it(tmp_path):
    path = str(tmp_path / "verdicts.csv")
    before = VerdictFile(path)
    threading.Timer(0.5, before.close).start()
    with VerdictFile(path, patience_s=10) as file:
        assert file.append(some_verdict())


def test_an_older_file_gets_the_columns_it_lacks(tmp_path):
    path = tmp_path / "verdicts.csv"
    path.write_text("uri,reviewer,verdict,region,time,comment\n/a,ab,confirm,hand,,no\n/b,ab,unsure,,,")
    with VerdictFile(str(path)) as file:
        file.append(some_verdict(1))
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert [each.uri for each in parse_verdicts(path.read_bytes(), "file")] == ["/a", "/b", "/1"]


def test_another_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "verdicts.csv"
    for text in ("name,age\nx,1\n", "uri,reviewer,verdict,region\n/a,ab,maybe,\n"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="verdicts.csv"):
            VerdictFile(str(path))
        assert path.read_text() == text


def test_verdicts_lie_in_a_folder_or_a_store(store):
    url = storage.join(store, "verdicts.csv")
    given = [some_verdict(place) for place in range(3)]
    with VerdictFile(url) as file:
        assert [file.append(each) for each in [*given, given[0]]] == [True, True, True, False]
    with VerdictFile(url) as file:
        assert file.verdicts == given
    assert parse_verdicts(storage.read_bytes(url), url) == given
