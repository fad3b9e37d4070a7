"""The page in headless Chromium: verdicts by keyboard, reload, two reviewers, a killed server, speed, the one file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from radray import storage
from radray.review.merging import number_lines
from radray.review.reviewers import add_reviewers
from radray.review.verdicts import Verdict, parse_verdicts, settled_outcomes, standing_verdicts
from tests.conftest import CHECKOUT
from tests.processes import kill
from tests.report.test_attention import bundle_of
from tests.review.small_queue import MARKUP, write_small_queue

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
TABLET, DESKTOP = (1024, 768), (1440, 900)


class Page:
    """Chromium at one window size, with what the tests ask it."""

    def __init__(self, downloads: Path, size: tuple[int, int]) -> None:
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for one in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"):
            options.add_argument(one)
        options.add_argument("--window-size={},{}".format(*size))
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        self.driver = webdriver.Chrome(options=options, service=service)

    def open(self, url: str) -> None:
        self.driver.get("about:blank")
        self.driver.get(url)
        self.until("document.body.dataset.ready")

    def run(self, script: str, *given):
        return self.driver.execute_script(script, *given)

    def until(self, condition: str, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not self.run(f"return !!({condition})"):
            assert time.monotonic() < end, f"never so: {condition}"
            time.sleep(0.02)

    def press(self, keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(keys).perform()

    def saved(self) -> None:
        self.until("unsent.length === 0 && !sending")

    def text(self, element: str) -> str:
        return self.run("return document.getElementById(arguments[0]).textContent", element)

    def complaints(self) -> list[str]:
        return [line["message"] for line in self.driver.get_log("browser") if line["level"] == "SEVERE"]


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: apt-get install chromium chromium-driver)")
    pytest.importorskip("selenium", reason="selenium is not installed (make setup)")
    page = Page(tmp_path, DESKTOP)
    yield page
    page.driver.quit()


class Server:
    """`jobs/review.py` as a person starts it."""

    def __init__(self, findings: str) -> None:
        self.findings, self.port = findings, 0
        self.tokens = add_reviewers(storage.join(findings, "reviewers.csv"), ["Ann", "Ben"])
        self.start()

    def start(self) -> None:
        command = [sys.executable, "jobs/review.py", "--findings", self.findings, "--port", str(self.port)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")])}
        # The port comes from the first start: later ones take the same.
        log = Path(self.findings, "log")
        with log.open("w") as sink:
            self.process = subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=sink, stderr=sink)
        end = time.monotonic() + 60
        while "Ctrl-C ends" not in log.read_text():
            assert self.process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        self.log = log.read_text()
        self.port = self.port or int(_listening_port(self.process.pid))

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/#token={self.tokens[name]}"

    def kill(self) -> None:
        kill(self.process.pid)
        self.process.wait()

    def verdicts(self):
        url = storage.join(self.findings, "verdicts.csv")
        return parse_verdicts(storage.read_bytes(url), url)


def _listening_port(pid: int) -> str:
    """Of a process that was told to take any: its listening socket in /proc/net/tcp (state 0A)."""
    inodes = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        parts = line.split()
        if parts[3] == "0A" and f"socket:[{parts[9]}]" in inodes:
            return str(int(parts[1].rpartition(":")[2], 16))
    raise AssertionError("the server listens nowhere")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    server = Server(write_small_queue(tmp_path, others=4, station=MARKUP))
    yield server
    server.kill()


def test_twenty_verdicts_by_keyboard_survive_a_reload_and_a_killed_server(page: Page, served: Server) -> None:
    page.open(served.url("Ann"))
    assert "token" not in page.driver.current_url
    assert page.text("me") == "Ann"
    for key in "b" + "cscuocscsz" + "cscscscscs":
        page.press(key)
    page.saved()
    assert len(served.verdicts()) == 20
    before = page.run("return [...stacks].filter(([, s]) => s.length).map(([i, s]) => [i, s.at(-1).verdict])")
    assert len(before) == len(standing_verdicts(served.verdicts())) == 18

    page.open(served.url("Ann"))
    assert page.run("return [...stacks].filter(([, s]) => s.length).map(([i, s]) => [i, s.at(-1).verdict])") == before
    assert page.text("count").startswith("18 of 38 judged")

    page.press("c")
    page.saved()
    served.kill()
    for key in "cs":
        page.press(key)
    page.until("document.getElementById('saved').className === 'late'")
    assert page.run("return unsent.length") == 2
    served.start()
    page.press("c")
    page.saved()
    served.kill()
    served.start()
    lines = served.verdicts()
    assert len(lines) == 24
    assert len({line.id for line in lines}) == 24
    assert {line.reviewer for line in lines} == {"Ann"}

    # The page is closed before the server is back: what was not sent waits in the browser.
    served.kill()
    page.press("c")
    page.run("window.onbeforeunload = null; unsent = []")
    page.driver.get("about:blank")
    served.start()
    page.open(served.url("Ann"))
    page.saved()
    assert len(served.verdicts()) == 25
    assert page.run("return own.length") == 25


def test_two_reviewers_differ_and_see_it_once_both_have_judged(page: Page, served: Server) -> None:
    page.open(served.url("Ann"))
    for key in "cccc":
        page.press(key)
    page.saved()
    page.open(served.url("Ben"))
    assert page.text("me") == "Ben"
    assert page.text("others") == ""
    for key in "bccsoc":
        page.press(key)
    page.saved()
    page.run("document.getElementById('state').value = 'conflict'; refilter(false)")
    assert page.run("return shown.length") == 2
    assert "Ann: confirmed" in page.text("others")
    assert len(settled_outcomes(served.verdicts())) == 3
    page.press("r")
    page.until("document.getElementById('agreement').textContent.includes('Ann and Ben')")
    assert "50.0 %" in page.text("agreement")
    page.until("document.getElementById('accuracy').textContent.includes('label checks are open')")
    assert "interval" not in page.text("accuracy")
    assert page.complaints() == []


def test_blind_hides_the_model_until_the_verdict(page: Page, served: Server) -> None:
    page.open(served.url("Ann"))
    item = page.run("return shown[at]")
    suggested = page.run("return title(shown[at].suggested)")
    # With controls in the queue it is hidden unless asked for.
    assert suggested not in page.text("facts")
    page.press("b")
    assert suggested in page.text("panel")
    page.press("b")
    assert suggested not in page.text("facts")
    page.press("sh")
    assert page.run("return own.length") == 0
    assert page.text("heatword") == "heat map hidden: blind"
    page.press("c")
    page.saved()
    page.press("k")
    assert page.run("return shown[at].id") == item["id"]
    assert suggested in page.text("facts")
    assert [line.blind for line in served.verdicts()] == ["yes"]


def test_header_strings_are_text_and_the_regions_are_found_by_typing(page: Page, served: Server) -> None:
    page.open(served.url("Ann"))
    while MARKUP not in page.text("note"):
        page.press("j")
    assert page.driver.title == "radray review"
    assert page.run("return document.querySelectorAll('#panel script, #filters script').length") == 0
    page.press("x")
    page.press("knee\ue007")
    page.saved()
    (line,) = served.verdicts()
    assert line.region == "knee"
    page.press("g")
    page.until("document.querySelectorAll('#cells button').length === 38")
    page.press("c")
    page.saved()
    assert len(standing_verdicts(served.verdicts())) == 38
    for _ in range(3):
        page.press("z")
    page.saved()
    assert len(standing_verdicts(served.verdicts())) == 35
    assert page.complaints() == []


def test_window_size_and_heat_map(page: Page, tmp_path: Path) -> None:
    from selenium.webdriver import ActionChains

    bundle = str(tmp_path / "bundle")
    bundle_of("resnet10", side=48).save(bundle)
    server = Server(write_small_queue(tmp_path, suspects=4, controls=2, bundle_url=bundle))
    try:
        page.open(server.url("Ann"))
        frame = page.driver.find_element("id", "frame")
        ActionChains(page.driver).drag_and_drop_by_offset(frame, -120, 60).perform()
        slope = page.run("return +document.querySelector('#windowing feFuncR').getAttribute('slope')")
        assert slope > 1.3
        assert page.run("return getComputedStyle(picture).filter").startswith("url(")
        page.press("i")
        assert page.run("return +document.querySelector('#windowing feFuncR').getAttribute('slope')") == -slope
        page.press("+")
        assert page.run("return view.getBoundingClientRect().height / frame.clientHeight") > 1
        page.press("0")
        assert page.run("return getComputedStyle(picture).filter") == "none"

        box = page.run("const b = frame.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]")
        for kind, apart in (("touchStart", 40), ("touchMove", 70), ("touchMove", 120), ("touchEnd", None)):
            fingers = [] if apart is None else [{"x": box[0] + side * apart, "y": box[1]} for side in (-1, 1)]
            page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
        page.until("look.zoom > 2 && look.zoom < 4 && look.width === 1")
        page.press("0")

        page.press("b")
        drawn = "!heat.hidden && heat.dataset.item === shown[at].id"
        ink = "return heat.getContext('2d').getImageData(0, 0, heat.width, heat.height).data.reduce((a, b) => a + b, 0)"
        page.press("h")
        page.until(drawn)
        assert page.text("heatword").startswith("what speaks for")
        first = page.run(ink)
        page.press("h")
        page.until(f"{drawn} && heatword.textContent === 'what speaks for ' + title(shown[at].label)")
        time.sleep(0.2)
        assert page.run(ink) != first > 0
        page.press("]")
        assert page.run("return heat.style.opacity") == "0.7"
        page.press("h")
        assert page.run("return heat.hidden")
        assert page.complaints() == []
    finally:
        server.kill()


def test_keys_pressed_while_the_server_dies_again_and_again_count_once(page: Page, served: Server) -> None:
    page.open(served.url("Ann"))
    for _ in range(3):
        killer = threading.Timer(0.15, served.kill)
        killer.start()
        for _ in range(8):
            page.press("c")
        killer.join()
        page.until("unsent.length > 0 || !sending")
        served.start()
        page.saved()
    assert page.run("return own.length") == 24
    lines = served.verdicts()
    assert len(lines) == len({line.id for line in lines}) == 24
    assert [line.id for line in lines] == page.run("return own.map(v => v.id)")


@pytest.mark.parametrize("size", [TABLET, (390, 844)])
def test_all_that_is_needed_fits_small_screens(page: Page, served: Server, size: tuple[int, int]) -> None:
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 700},
    )
    page.open(served.url("Ann"))
    boxes = page.run(
        "return [...document.querySelectorAll('#picture, #acts button')].map(e => {"
        "const b = e.getBoundingClientRect(); return [e.dataset.act || e.id, b.left, b.top, b.right, b.bottom]; })"
    )
    for name, left, top, right, bottom in boxes:
        assert left >= 0 and top >= 0 and right <= size[0] and bottom <= size[1], (name, left, top, right, bottom)
        assert right - left >= 44 and bottom - top >= 44, (name, right - left, bottom - top)
    assert page.run("return document.documentElement.scrollWidth") <= size[0]


def test_five_thousand_items_are_quick(page: Page, tmp_path: Path) -> None:
    server = Server(write_small_queue(tmp_path, suspects=4000, controls=1000, side=128))
    try:
        page.open(server.url("Ann"))
        interactive_ms = float(page.run("return document.body.dataset.ready"))
        took = []
        for _ in range(30):
            took.append(
                page.driver.execute_async_script(
                    "const done = arguments[0], picture = document.getElementById('picture');"
                    "const id = shown[at].id, began = performance.now();"
                    "document.body.dispatchEvent(new KeyboardEvent('keydown', { key:'c', bubbles:true }));"
                    "(function look() { if (picture.dataset.item !== id && picture.dataset.item === shown[at].id"
                    "  && picture.complete) requestAnimationFrame(() => done(performance.now() - began));"
                    "  else setTimeout(look, 0); })();"
                )
            )
            time.sleep(0.15)
        page.saved()
        took.sort()
        middle, worst = took[len(took) // 2], took[-1]
        print(f"\n5,000 items: interactive after {interactive_ms:.0f} ms, next picture {middle:.0f} to {worst:.0f} ms")
        assert len(server.verdicts()) == 30
        assert interactive_ms < 1000
        assert middle < 100
    finally:
        server.kill()


def test_the_one_file_keeps_exports_and_takes_in_verdicts(page: Page, tmp_path: Path) -> None:
    findings = write_small_queue(tmp_path, station=MARKUP)
    page.open("file://" + findings + "/review.html")
    page.press("c")
    assert page.text("saved") == "first say who you are"
    page.press("Cleo\ue007")
    page.run("document.getElementById('comment').value = 'a \"quoted\", one'")
    for key in "bcsczu":
        page.press(key)
    page.open("file://" + findings + "/review.html")
    assert page.text("count").startswith("3 of 30 judged")
    page.run("document.getElementById('export').click()")
    file = tmp_path / "verdicts.csv"
    end = time.monotonic() + 20
    while not file.exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    lines = parse_verdicts(file.read_bytes(), "file")
    assert len(lines) == 5
    assert len(standing_verdicts(lines)) == 3
    assert lines[0].comment == 'a "quoted", one'
    assert re.fullmatch(r"/archive/SMITH\^JOHN/\d{5}\.dcm", lines[0].uri)

    other = tmp_path / "other.csv"
    other.write_text(f"uri,reviewer,verdict,region\n{lines[0].uri},Dora,out_of_domain,\n/not/here,Dora,unsure,\n")
    page.run("document.getElementById('import').hidden = false")
    page.driver.find_element("id", "import").send_keys(str(other))
    page.until("document.getElementById('saved').textContent.includes('1 verdicts taken in, 1 left out')")
    page.run("document.getElementById('state').value = 'conflict'; refilter(false)")
    assert page.run("return shown.length") == 1
    assert "Dora: out of domain" in page.text("others")
    assert page.complaints() == []

    # The same file again adds nothing, and an older verdict does not replace a later one.
    page.driver.find_element("id", "import").send_keys(str(other))
    page.until("document.getElementById('saved').textContent.includes('0 verdicts taken in, 2 left out')")
    lines = [Verdict(uri="/ü", reviewer="a,b", verdict="unsure"), Verdict(uri="/ü", reviewer="a,b", verdict="unsure")]
    given = [{name: value for name, value in vars(line).items() if name != "id"} for line in lines]
    assert page.run("return numberLines(arguments[0]).map(v => v.id)", given) == [v.id for v in number_lines(lines)]
    times = [[{"time": t} for t in part] for part in (("2026-01-01T00:00:05Z", ""), ("2026-01-01 00:00:04", "x"))]
    merged = page.run("return mergeLines(arguments[0], arguments[1]).map(v => v.time)", *times)
    assert merged == ["2026-01-01 00:00:04", "x", "2026-01-01T00:00:05Z", ""]
    page.run("document.getElementById('state').value = ''; refilter(false)")
    assert page.complaints() == []


def test_a_refused_verdict_stays_and_is_exported(page: Page, served: Server, tmp_path: Path) -> None:
    page.open(served.url("Ann"))
    page.run("record('feedfeedfeedfeed', 'out_of_domain', '', '', false)")
    page.press("c")
    page.until("!sending && unsent.length === 0")
    assert page.run("return refused.map(v => v.item)") == ["feedfeedfeedfeed"]
    assert page.text("saved") == "saved · 1 refused, see Export"
    assert len(served.verdicts()) == 1
    page.open(served.url("Ann"))
    page.until("refused.length === 1 && !sending")
    assert "not among these findings" in page.text("saved")
    page.run("document.getElementById('export').click()")
    file, end = tmp_path / "verdicts.csv", time.monotonic() + 20
    while not file.exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    (line,) = parse_verdicts(file.read_bytes(), "file")
    assert (line.uri, line.reviewer, line.verdict) == ("item:feedfeedfeedfeed", "Ann", "out_of_domain")


def test_a_neighbour_s_label_is_that_of_the_reviewer_s_verdict(page: Page, served: Server) -> None:
    page.open(served.url("Ann"))
    page.press("b")
    number = "data.items.findIndex(i => i.near.some(([, , id]) => data.items.some(o => o.id === id)))"
    page.run(f"at = {number}; showItem()")
    near = "document.querySelectorAll('#near figcaption')[place].textContent"
    place = "const place = shown[at].near.findIndex(([, , id]) => data.items.some(o => o.id === id));"
    before = page.run(f"{place} return {near}")
    page.run(f"{place} record(shown[at].near[place][2], 'out_of_domain', '', '', false); showItem()")
    assert page.run(f"{place} return {near}") == "out of domain" != before
    page.saved()


def test_the_progress_is_not_cut_off(page: Page, tmp_path: Path) -> None:
    server = Server(write_small_queue(tmp_path, suspects=900, controls=198))
    try:
        page.driver.set_window_size(1360, 900)
        page.open(server.url("Ann"))
        page.run("at = 1097; showProgress(); pace.textContent = '12 a minute · 91 min left'")
        assert page.text("count") == "0 of 1098 judged · 1098/1098 in view"
        told = "const told = document.querySelector('.told');"
        for side in ("Width", "Height"):
            assert page.run(f"{told} return told.scroll{side} - told.client{side}") <= 0
        assert page.run(f"{told} return count.getBoundingClientRect().right - told.getBoundingClientRect().right") <= 0
    finally:
        server.kill()
