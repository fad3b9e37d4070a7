import json
import threading
from http.client import HTTPConnection

import pytest

from radray.review.server import ReviewServer
from radray.review.verdicts import Verdict, append_verdict, parse_verdicts, standing_verdicts


@pytest.fixture
def server(tmp_path):
    with ReviewServer(b"<p>page</p>", str(tmp_path / "verdicts.csv"), 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, method, path, body=None, *, token=None, host="127.0.0.1"):
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    headers = {"Host": f"{host}:{server.server_port}"} | ({"X-Radray-Token": token} if token else {})
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def test_a_verdict_is_on_the_disk_when_the_answer_is_out(server):
    given = {"uri": "/a", "reviewer": "ab", "verdict": "correct", "region": "hand", "comment": 'he said "no",\nreally'}
    assert ask(server, "POST", "/verdicts", given, token=server.token)[0] == 204
    (written,) = parse_verdicts(server.verdicts_path.read_bytes(), "file")
    assert (written.uri, written.region, written.comment) == ("/a", "hand", given["comment"])
    status, body = ask(server, "GET", "/verdicts", token=server.token)
    assert status == 200
    assert json.loads(body)[0]["region"] == "hand"


def test_strangers_are_refused(server):
    assert ask(server, "GET", "/")[0] == 403
    assert ask(server, "GET", "/?token=wrong")[0] == 403
    assert ask(server, "GET", f"/?token={server.token}", host="evil.example")[0] == 403
    assert ask(server, "POST", "/verdicts", {"uri": "/a"}, token="wrong")[0] == 403
    assert ask(server, "GET", f"/?token={server.token}") == (200, b"<p>page</p>")
    assert not server.verdicts_path.exists()


def test_what_is_no_verdict_is_refused(server):
    for body in ({"uri": "/a", "reviewer": "x", "verdict": "maybe"}, {"verdict": "correct"}, ["list"]):
        assert ask(server, "POST", "/verdicts", body, token=server.token)[0] == 400
    assert not server.verdicts_path.exists()


def test_the_last_verdict_that_was_not_undone_stands(tmp_path):
    path = tmp_path / "verdicts.csv"
    for kind, region in (("confirm", "hand"), ("correct", "wrist"), ("undo", ""), ("unsure", ""), ("undo", "")):
        append_verdict(path, Verdict(uri="/a", reviewer="ab", verdict=kind, region=region))
    standing = standing_verdicts(parse_verdicts(path.read_bytes(), "file"))
    assert standing["/a", "ab"].region == "hand"
