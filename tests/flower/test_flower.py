"""Flower as a person sees it: real pages in a real browser, of a pipeline that really runs.

``pytest tests/flower --screenshots docs/images`` renews the README's pictures.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from tests.flower.conftest import HEIGHT, WIDTH, Watched
from tests.pipeline.waiting import eventually

pytestmark = pytest.mark.timeout(300)

CANDLE = re.compile(r"^(GOLD|SILVER|COPPER|EURUSD) 1h 2025-01-04T(09:00Z–10:00Z|10:00Z–11:00Z)")  # noqa: RUF001
Row = dict[str, str]


@pytest.fixture(scope="module")
def rows(flower: Watched, browser: WebDriver, screenshots: Path) -> list[Row]:
    """The task list: every row's columns by their names, newest first."""
    browser.get(flower.url("/tasks"))
    eventually(lambda: len(table(browser)) == 15, "the first rows")
    picture(browser, screenshots / "flower-tasks.png")
    Select(find(browser, "#tasks-table_length select")).select_by_value("100")
    eventually(lambda: len(table(browser)) > 15, "more rows")
    found = table(browser)
    return found


@pytest.fixture
def page(flower: Watched, browser: WebDriver) -> Callable[[str], dict[str, WebElement]]:
    """Opens a task's page and gives its rows by their labels in small letters."""

    def opened(uuid: str) -> dict[str, WebElement]:
        browser.get(flower.url(f"/task/{uuid}"))
        labelled = find(browser, "#task-page").find_elements(By.CSS_SELECTOR, ".detail-row")
        return {
            row.find_element(By.TAG_NAME, "dt").text.lower(): row.find_element(By.TAG_NAME, "dd") for row in labelled
        }

    return opened


def find(browser: WebDriver, selector: str) -> WebElement:
    """The first such element, once it is there."""
    return eventually(lambda: browser.find_elements(By.CSS_SELECTOR, selector), selector)[0]


def table(browser: WebDriver) -> list[Row]:
    """Rows of the task list as they are at this moment, with the class of the state's badge."""
    script = """
        const names = [...document.querySelectorAll('#tasks-table th')].map(one => one.dataset.column);
        return [...document.querySelectorAll('#tasks-table tbody tr')].map(row => Object.fromEntries(
            [...row.cells].map((cell, at) => [names[at], cell.innerText.trim()])
            .concat([['badge', row.querySelector('.badge')?.className ?? '']])));
    """
    found: list[Row] = browser.execute_script(script)
    return found


def picture(browser: WebDriver, path: Path) -> None:
    """Write the whole page, in as few colours as it takes to stay small."""
    bars = "return window.outerHeight - window.innerHeight"
    browser.set_window_size(WIDTH, HEIGHT)
    height = browser.execute_script("return document.documentElement.scrollHeight")
    browser.set_window_size(WIDTH, height + browser.execute_script(bars))
    with Image.open(io.BytesIO(browser.get_screenshot_as_png())) as shot:
        shot.convert("RGB").quantize(128).save(path, optimize=True)
    assert path.stat().st_size < 200_000


def of(rows: list[Row], **wanted: str) -> list[Row]:
    """The rows with those columns."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_nothing_is_shown_without_the_password(flower: Watched) -> None:
    """No page and no call of Flower's API answers without credentials or with wrong ones."""
    for path in ("/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks"):
        for login in ("", "trader:wrong@"):
            assert requests.get(flower.url(path, login), timeout=10).status_code == 401, (path, login)
    assert requests.get(flower.url("/tasks"), timeout=10).status_code == 200


def test_list_shows_the_candle_of_every_task(rows: list[Row]) -> None:
    """Every evaluation and every signal is listed with its instrument, timeframe and candle from start to close."""
    worked = [row for row in rows if row["name"] in ("evaluate_candle", "publish_signal")]
    assert len(worked) >= 16
    assert [row["args"] for row in worked if not CANDLE.match(row["args"])] == []
    assert {row["args"].split()[-1] for row in of(rows, name="publish_signal")} == {"buy"}


def test_list_shows_outcome_and_source(rows: list[Row]) -> None:
    """Results begin with the outcome and the store that vouches for it."""
    evaluated = [row for row in of(rows, name="evaluate_candle") if row["result"].startswith("evaluated (redis)")]
    posted = [row for row in of(rows, name="publish_signal") if row["result"].startswith("posted (redis): 201")]
    assert (len(evaluated), len(posted)) == (8, 6)
    assert all("always_buy buy" in row["result"] for row in evaluated)


@pytest.mark.parametrize(("state", "result"), [("HELD", "held (redis): "), ("REFUSED", "rejected (redis): 422")])
def test_what_asks_for_a_look_stands_out(rows: list[Row], state: str, result: str) -> None:
    """A held and a rejected signal have a state of their own, in another colour than the SUCCESS of all others."""
    (found,) = of(rows, state=state)
    assert found["name"] == "publish_signal"
    assert found["result"].startswith(result)
    assert "text-bg-success" not in found["badge"]
    assert {row["state"] for row in rows if "text-bg-success" in row["badge"]} == {"SUCCESS"}


def test_states_are_of_events_alone(flower: Watched, rows: list[Row]) -> None:
    """To Celery a held or refused signal is a task that ended: acknowledged, not retried, SUCCESS with its outcome."""
    deployment = flower.deployment
    for state, outcome in (("HELD", "held"), ("REFUSED", "rejected")):
        (row,) = of(rows, state=state)
        result = deployment.app.AsyncResult(row["uuid"])
        assert (result.state, result.result["outcome"]) == ("SUCCESS", outcome)
    assert deployment.waiting("publish") == []
    assert deployment.engine.client().hlen("unacked") == 0


def test_held_signals_are_found(flower: Watched, browser: WebDriver, rows: list[Row]) -> None:
    """The search `state:HELD` lists the held signals and nothing else."""
    browser.get(flower.url("/tasks"))
    find(browser, "#tasks-table_filter input").send_keys("state:HELD")
    eventually(lambda: [row.get("state") for row in table(browser)] == ["HELD"], "the held signal alone")


def test_page_of_a_signal_leads_to_its_evaluation(
    rows: list[Row], page: Callable[[str], dict[str, WebElement]], browser: WebDriver, screenshots: Path
) -> None:
    """A held signal's page tells its named arguments and why it is held, and links to the evaluation it came from."""
    (held,) = of(rows, state="HELD")
    shown = page(held["uuid"])
    picture(browser, screenshots / "flower-held.png")
    assert shown["status"].text == "HELD"
    assert all(f"{name}=" in shown["keyword arguments"].text for name in ("instrument", "timeframe", "candle", "side"))
    assert shown["result"].text.startswith("held (redis): ")
    parent = page(shown["parent id"].find_element(By.TAG_NAME, "a").get_attribute("href").rpartition("/")[2])
    assert parent["name"].text == "evaluate_candle"
    assert held["args"].startswith(parent["arguments"].text)


def test_page_of_an_evaluation_leads_to_its_signal(
    rows: list[Row], page: Callable[[str], dict[str, WebElement]], browser: WebDriver, screenshots: Path
) -> None:
    """An evaluation's page links to the signal it sent, and to the tick or sweep that it came from."""
    evaluation = next(row for row in of(rows, name="evaluate_candle") if row["result"].startswith("evaluated"))
    shown = page(evaluation["uuid"])
    picture(browser, screenshots / "flower-chain.png")
    (child,) = linked(shown["children"])
    (parent,) = linked(shown["parent id"])
    assert page(child)["name"].text == "publish_signal"
    assert page(parent)["name"].text in ("enqueue_candles", "sweep")


def linked(element: WebElement) -> list[str]:
    """Ids of the tasks that an element links to."""
    found = (link.get_attribute("href") or "" for link in element.find_elements(By.TAG_NAME, "a"))
    return [href.rpartition("/")[2] for href in found]


def test_workers_page(flower: Watched, browser: WebDriver, screenshots: Path) -> None:
    """The workers page shows both workers online, with what they have worked."""
    browser.get(flower.url("/workers"))
    text: Any = eventually(lambda: (seen := find(browser, "body").text).count("Online") >= 2 and seen, "both workers")
    picture(browser, screenshots / "flower-workers.png")
    assert {"worker1", "worker2"} <= set(re.findall(r"worker\d", text))
