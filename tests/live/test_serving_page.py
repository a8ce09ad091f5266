"""The live view in a real browser, used without a mouse."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.served_endpoint import KEY
from tests.support.synthetic_endpoint import HOSTILE, standing
from tests.support.waiting import HANG_S

pytestmark = pytest.mark.live

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)
PATIENCE_S = HANG_S
QUESTION = "What is 6 × 3 × 7 + 9 × 2 + 4 modulo 10?"


class View:
    """The page in a tab of its own, and a keyboard."""

    def __init__(self, chrome: Chrome) -> None:
        self.chrome = chrome

    def open(self, url: str, width: int = 1280, **media: str) -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": name.replace("_", "-"), "value": v} for name, v in media.items()]
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.chrome.get(url)

    def type(self, *keys: str) -> None:
        self.chrome.switch_to.active_element.send_keys(*keys)

    @property
    def focused(self) -> str:
        element = self.chrome.switch_to.active_element
        return element.get_attribute("id") or element.tag_name

    def tab_to(self, wanted: str, *, back: bool = False) -> None:
        for _ in range(30):
            if self.focused == wanted:
                return
            self.type(*([Keys.SHIFT, Keys.TAB] if back else [Keys.TAB]))
        raise AssertionError(f"{wanted} is not reached by Tab")

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        WebDriverWait(self.chrome, PATIENCE_S, 0.1).until(lambda _: condition(), what)

    def text(self, id: str) -> str:
        return self.chrome.find_element(By.ID, id).text

    def script(self, text: str) -> Any:
        return self.chrome.execute_script(text)

    def ask(self, question: str, **options: int | str) -> None:
        """Fill the form in as a keyboard does, send it, and wait until it is shown."""
        self.wait(lambda: self.focused == "question", "the page is ready")
        for name, value in options.items():
            self.tab_to(name)
            if name != "policy":
                self.type(Keys.CONTROL, "a")
            self.type(str(value))
        self.tab_to("question", back=True)
        self.type(question, Keys.ENTER)
        self.wait(lambda: self.text("asked") == question, "the request is shown")

    def wait_for(self, state: str) -> None:
        self.wait(lambda: self.text("state") == state, f"the request is {state}")


@pytest.fixture(scope="module")
def chrome(tmp_path_factory) -> Iterator[Chrome]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*QUIET.split(), f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with Chrome(options, Service(DRIVER)) as started:
        yield started


@pytest.fixture
def view(chrome) -> Iterator[View]:
    """A tab without memory of others. Nothing the page does may fail unnoticed."""
    first = chrome.current_window_handle
    chrome.switch_to.new_window("tab")
    yield View(chrome)
    said = [entry["message"] for entry in chrome.get_log("browser")]
    chrome.close()
    chrome.switch_to.window(first)
    # An answer of 4xx is told to the user, or means that the request is not known yet.
    assert [text for text in said if "Failed to load resource" not in text] == []


@pytest.fixture(scope="module")
def stand(tmp_path_factory) -> Iterator[str]:
    with standing(tmp_path_factory.mktemp("stand"), keys=[], tokens_per_s=200) as url:
        yield url


def test_a_question_is_asked_watched_and_answered_with_the_keyboard_alone(view, endpoint):
    view.open(endpoint.url)
    view.wait(lambda: view.focused == "key", "the key is asked for")
    view.type("not the key", Keys.ENTER)
    view.wait(lambda: "not accepted" in view.text("problem"), "the wrong key is refused")
    view.type(KEY, Keys.ENTER)
    view.ask(QUESTION)
    view.wait_for("done")
    (told, *_) = endpoint.get("/v1/deepprune/requests").json()["data"]
    assert view.text("asked") == told["question"] == QUESTION
    assert view.text("answer") == told["answer"]
    assert view.text("saved").startswith(f"{100 * told['savings']:.0f}%")
    assert f"\\boxed{{{told['answer']}}}" in view.text("text")
    leader = view.chrome.find_element(By.CSS_SELECTOR, "#votes li")
    assert leader.find_element(By.TAG_NAME, "bdi").text == told["answer"]
    assert f"Answer: {told['answer']}" in view.script("return said.textContent")
    view.wait(lambda: told["answer"] in view.text("past"), "the list has it")
    assert KEY not in view.script("return JSON.stringify([document.cookie, {...localStorage}])")


def test_each_trace_can_be_read_without_eyes_or_mouse(view, stand):
    view.open(stand)
    view.ask("Which way?", n=24)
    view.wait_for("done")
    assert re.search(
        r"24 traces launched.* finished.*cancelled.*Clusters of",
        view.script("return document.getElementById('lanes-said').textContent"),
    )
    view.tab_to("stage")
    view.type(Keys.ARROW_DOWN)
    first = view.text("lane-said")
    view.type(Keys.END)
    assert re.match(r"trace \d+ · .*tokens · finished · answers", first)
    assert view.text("lane-said") != first
    view.tab_to("summary")
    view.type(Keys.ENTER)
    view.wait(lambda: view.chrome.find_elements(By.CSS_SELECTOR, "#rows tr"), "the table is built")
    rows = [row.text for row in view.chrome.find_elements(By.CSS_SELECTOR, "#rows tr")]
    assert any("finished" in row for row in rows) and any("cancelled" in row for row in rows)
    link = view.script("return past.querySelector('a').hash")
    view.tab_to("a")
    view.type(Keys.ENTER)
    assert view.script("return location.hash") == link


def test_text_from_a_model_is_text(view, stand):
    view.open(stand)
    view.ask(f"{HOSTILE}?", policy="cons", n=16)
    view.wait_for("done")
    for id in ("asked", "votes", "text", "past"):
        assert HOSTILE in view.text(id)
    assert view.script("return document.images.length") == 0


def test_the_answer_is_shown_and_the_thought_folded(view, stand):
    view.open(stand)
    view.ask("Which way is 1 + 1? Please think.", policy="cons", n=4)
    view.wait_for("done")
    assert view.text("text").startswith("so it is")
    assert view.text("thought") == "", "folded"
    view.tab_to("thought-summary")
    view.type(Keys.ENTER)
    view.wait(lambda: view.text("thought").startswith("I try way"), "the thought is unfolded")


def test_a_request_is_stopped(view, stand):
    view.open(stand)
    view.ask("Is it slow?", policy="cons", n=4)
    view.wait_for("running")
    view.tab_to("stop")
    view.type(Keys.ENTER)
    view.wait_for("stopped")
    assert "the client left" in view.text("about")
    assert view.focused == "send"


def test_a_dark_calm_narrow_window_of_512_lanes(view, stand):
    view.open(stand, 360, prefers_color_scheme="dark", prefers_reduced_motion="reduce")
    view.ask("How many?", policy="cons", n=512)
    view.wait_for("done")
    assert view.text("traces").startswith("512")
    assert (
        view.script("return getComputedStyle(document.body).backgroundColor") == "rgb(27, 30, 33)"
    )
    assert view.script("return document.documentElement.scrollWidth <= innerWidth")
    assert view.script("return document.getAnimations().length") == 0
    lanes = """
      const canvas = document.querySelector("canvas");
      const pixels = canvas.getContext("2d").getImageData(canvas.width / 3, 0, 1, canvas.height);
      return new Set(new Uint32Array(pixels.data.buffer)).size;
    """
    view.wait(lambda: view.script(lanes) > 3, "lanes have the colours of their answers")
