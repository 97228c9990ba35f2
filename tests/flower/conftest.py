"""A pipeline under beat with Flower beside it, and a real browser that looks at it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver

from tasks.receiver import Fault
from tasks.stack import FLOWER_COLUMNS
from tests.engines import free_port
from tests.pipeline.deploying import deploy, watch
from tests.pipeline.deployment import CELERY, Deployment
from tests.pipeline.feeds import HOUR, ORIGIN
from tests.pipeline.nodes import ProcessContainer

USER, PASSWORD = "trader", "s3cret"
INSTRUMENTS = ("GOLD", "SILVER", "COPPER", "EURUSD")
SPEED = 360.0
LEAD_S = 12
WIDTH, HEIGHT = 1400, 800


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--screenshots docs/images`` renews the pictures of the README."""
    parser.addoption("--screenshots", type=Path, default=None, help="folder to write Flower's screenshots to")


@dataclass(frozen=True)
class Watched:
    """A running pipeline and the address of its Flower."""

    deployment: Deployment
    port: int

    def url(self, path: str = "/", login: str = f"{USER}:{PASSWORD}@") -> str:
        """The address of a page, with the credentials in it."""
        return f"http://{login}127.0.0.1:{self.port}{path}"


@pytest.fixture(scope="module")
def flower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Two workers, two beats and Flower have worked two closes; the API refused one signal and lost another one."""
    home = tmp_path_factory.mktemp("flower")
    last = ORIGIN + HOUR
    with deploy(home, [watch(*INSTRUMENTS)], speed=SPEED, lead_s=LEAD_S, **_settings(last)) as deployment:
        for instrument in INSTRUMENTS:
            deployment.feed(instrument, [ORIGIN + hour * HOUR for hour in range(-1, 3)])
        watched = Watched(deployment, free_port())
        _start(watched)
        _settled(deployment, ORIGIN)
        deployment.receiver.faults.put(Fault("error_before_commit", status=422), Fault("drop_reply"))
        _settled(deployment, last)
        deployment.until(lambda: _told(watched), "events of all that was worked")
        yield watched


def _settings(last: datetime) -> dict[str, str]:
    # Market durations, at that speed.
    hours = {"HORIZON": 240, "SIGNAL_MAX_AGE": 200, "CANDLE_TTL": 500, "CANDLE_CHECK_WINDOW": 1}
    spans = {name: str(3600 * count) for name, count in hours.items()}
    return spans | {"WATCH_UNTIL": last.isoformat(), "ON_UNKNOWN": "hold", "SWEEP_INTERVAL": "4"}


def _settled(deployment: Deployment, close: datetime) -> None:
    candles = deployment.closed(INSTRUMENTS, "1h", close - HOUR, close)
    deployment.until(lambda: all(map(deployment.signal_outcome, candles)), f"the signals of {close}", timeout_s=90)


def _told(watched: Watched) -> bool:
    tasks = requests.get(watched.url("/api/tasks"), timeout=10).json().values()
    return all(task["result"] or task["name"] == "sweep" for task in tasks)


def _start(watched: Watched) -> None:
    deployment = watched.deployment
    env = {
        "FLOWER_BASIC_AUTH": f"{USER}:{PASSWORD}",
        "FLOWER_TASKS_COLUMNS": FLOWER_COLUMNS,
    }
    argv = [*CELERY, "flower", "--address=127.0.0.1", f"--port={watched.port}"]
    page = ProcessContainer(argv, deployment.env | env, deployment.home, "flower", prompt="Visit me at")
    deployment.processes["flower"] = page
    page.start()
    for number in (1, 2):
        deployment.worker(f"worker{number}", wait=False)
        deployment.beat(f"beat{number}", wait=False)
    for process in deployment.processes.values():
        process.ready()


@pytest.fixture(scope="module")
def browser() -> Iterator[WebDriver]:
    """Debian's Chromium without a window. Nothing is downloaded."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    options = Options()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.add_argument(f"--window-size={WIDTH},{HEIGHT}")
    browser = webdriver.Chrome(options=options, service=Service(executable_path=driver))
    browser.set_page_load_timeout(60)
    try:
        yield browser
    finally:
        browser.quit()


@pytest.fixture(scope="module")
def screenshots(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures go."""
    given: Path | None = request.config.getoption("--screenshots", None)
    folder = given or tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
