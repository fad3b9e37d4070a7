from __future__ import annotations

import os
import threading
import uuid

import pytest

from radray import storage
from radray.errors import ConfigError
from radray.review import verdict_file
from radray.review.merging import merge_lines, number_lines
from radray.review.stored_object import StoredObject
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


def test_two_writers_of_a_store_keep_each_other_s_verdicts(s3):
    url = storage.join(s3, "verdicts.csv")
    given = [some_verdict(place) for place in range(6)]
    with VerdictFile(url) as one, VerdictFile(url) as other:
        for place, each in enumerate(given):
            assert (one, other)[place % 2].append(each)
        assert not other.append(given[0])
        # The last of them has read all that the other one wrote before.
        assert other.verdicts == given
    assert parse_verdicts(storage.read_bytes(url), url) == given
    assert storage.list_files(s3) == [url]


def test_what_was_answered_stays_when_the_object_is_gone_or_older(s3):
    url = storage.join(s3, "verdicts.csv")
    given = [some_verdict(place) for place in range(3)]
    with VerdictFile(url) as file:
        file.append(given[0])
        older = storage.read_bytes(url)
        file.append(given[1])
        for spoil in (lambda: storage.write_bytes(url, older), lambda: storage.remove(url)):
            spoil()
            file.append(given[2])
            assert {each.uri for each in parse_verdicts(storage.read_bytes(url), url)} == {"/0", "/1", "/2"}
            given[2] = some_verdict(2)


def test_a_store_that_overwrites_in_spite_of_a_condition_is_refused(s3, monkeypatch):
    with pytest.raises(ConfigError, match="kept in a folder or in S3"):
        VerdictFile("memory://bucket/verdicts.csv")
    monkeypatch.setattr(StoredObject, "_put", lambda *given: "etag")
    with pytest.raises(ConfigError, match="ignores the conditions"):
        VerdictFile(storage.join(s3, "verdicts.csv"))


def test_the_lock_is_never_lost_while_the_file_is_written_anew(tmp_path, monkeypatch):
    path = tmp_path / "verdicts.csv"
    path.write_text("uri,reviewer,verdict,region\n/a,ab,confirm,hand\n")
    refused, replace = [], os.replace

    def look_between(draft, target):
        replace(draft, target)
        # Another review starts just now; the path holds the new file already.
        with pytest.raises(ConfigError, match="another review writes there"):
            VerdictFile(str(path))
        refused.append(target)

    monkeypatch.setattr(os, "replace", look_between)
    with VerdictFile(str(path)):
        assert refused == [str(path)]
        monkeypatch.undo()
        with pytest.raises(ConfigError, match="another review writes there"):
            VerdictFile(str(path))


def test_a_file_that_was_replaced_before_it_was_locked_is_opened_again(tmp_path, monkeypatch):
    path = tmp_path / "verdicts.csv"
    append_verdict(path, some_verdict(0))
    lock, replaced = verdict_file.fcntl.flock, []

    def replace_first(file, how):
        if not replaced:
            body = path.read_bytes()
            path.unlink()
            path.write_bytes(body)
            replaced.append(file)
        lock(file, how)

    monkeypatch.setattr(verdict_file.fcntl, "flock", replace_first)
    with VerdictFile(str(path)) as file:
        file.append(some_verdict(1))
    assert replaced
    assert len(parse_verdicts(path.read_bytes(), "file")) == 2


def test_the_later_verdict_stands_whichever_file_it_comes_from(store):
    url = storage.join(store, "verdicts.csv")
    about = {"uri": "/a", "reviewer": "ab"}
    late = Verdict(**about, verdict="confirm", region="hand", time="2026-01-06T10:00:00+00:00")
    early = Verdict(**about, verdict="correct", region="foot", time="2026-01-06T10:30:00+01:00")
    last = Verdict(**about, verdict="correct", region="wrist", time="2026-01-06T12:00:00Z")
    with VerdictFile(url) as file:
        file.append(late)
        assert file.merge([early]) == 1
        assert standing_verdicts(file.verdicts)["/a", "ab"].region == "hand"
        assert file.merge([last, early]) == 1
    with VerdictFile(url) as file:
        assert [each.region for each in file.verdicts] == ["foot", "hand", "wrist"]
        assert file.append(some_verdict(1))


def test_lines_without_time_keep_the_place_that_their_own_file_gives_them():
    def at(time, region):
        return Verdict(uri="/a", reviewer="ab", verdict="correct", region=region, time=time, id=region)

    known = [at("2026-01-01T00:00:05+00:00", "one"), at("2026-01-01T00:00:01+00:00", "two"), at("", "three")]
    others = [at("", "four"), at("2026-01-01T00:00:05", "five"), at("yesterday", "six")]
    assert [each.region for each in merge_lines(known, others)] == ["four", "one", "two", "three", "five", "six"]
    assert merge_lines(known, known) == known


def test_lines_without_id_are_the_same_lines_when_they_come_again(tmp_path):
    about = {"uri": "/a", "reviewer": "ab", "verdict": "correct", "region": "hand"}
    lines = [Verdict(**about), Verdict(uri="/a", reviewer="ab", verdict="undo"), Verdict(**about)]
    numbered = number_lines(lines)
    assert len({each.id for each in numbered}) == 3
    assert number_lines([some_verdict(1), *lines])[1:] == numbered == number_lines(numbered)
    with VerdictFile(str(tmp_path / "verdicts.csv")) as file:
        assert [file.merge(lines), file.merge([some_verdict(1), *lines]), file.merge(numbered)] == [3, 1, 0]
    older = tmp_path / "older.csv"
    older.write_text("uri,reviewer,verdict,region\n/a,ab,confirm,hand\n")
    with VerdictFile(str(older)) as file:
        assert file.merge(parse_verdicts(b"uri,reviewer,verdict,region\n/a,ab,confirm,hand\n", "file")) == 0
    assert file.verdicts == parse_verdicts(older.read_bytes(), "file")
