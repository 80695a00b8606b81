"""The page in a real browser: it sorts, filters, copies, plays, suits a screen reader and a phone.

Skipped without Chromium.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mam.report.collect import collect
from mam.report.page import write_report

selenium = pytest.importorskip("selenium")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver here"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture
def browser(tmp_path):
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def column(browser, place: int) -> list[str]:
    rows = "[...document.querySelectorAll('#t1 tbody tr')].filter(row => !row.hidden)"
    return browser.execute_script(f"return {rows}.map(row => row.cells[{place}].innerText)")


@pytest.fixture
def page(browser, swept, tmp_path):
    """The page of a sweep, opened."""
    path = write_report(collect([swept]), tmp_path / "report")
    browser.set_window_size(1280, 900)
    browser.get(path.absolute().as_uri())
    return path


@pytest.mark.usefixtures("page")
def test_the_table_sorts_and_filters(browser):
    from selenium.webdriver.common.by import By

    assert column(browser, 0) == ["0", "0.3", "0.3", "0.6", "0.6"]
    heads = browser.find_elements(By.CSS_SELECTOR, "#t1 th button")
    heads[0].click()
    heads[0].click()
    assert column(browser, 0) == ["0.6", "0.6", "0.3", "0.3", "0"]
    assert browser.find_element(By.CSS_SELECTOR, "#t1 th").get_attribute("aria-sort") == "descending"
    heads[1].send_keys("\n")  # by keyboard
    assert column(browser, 1) == sorted(column(browser, 1))
    rates = [float(text.split()[0]) for text in column(browser, 4)]
    heads[4].click()
    assert [float(text.split()[0]) for text in column(browser, 4)] == sorted(rates)
    search = browser.find_element(By.CSS_SELECTOR, "input[data-filter=t1]")
    search.send_keys("shrink 0.3")
    assert column(browser, 0) == ["0.3"] and column(browser, 1) == ["shrink"]
    assert browser.find_element(By.CSS_SELECTOR, "[data-count=t1]").text == "1 of 5 rows"
    search.clear()
    search.send_keys("shrink")
    assert column(browser, 1) == ["shrink"] * 2
    assert browser.get_log("browser") == [], "nothing on the console"


@pytest.mark.usefixtures("page")
def test_commands_are_copied(browser):
    copied = """
        const done = arguments[0], words = [];
        const clipboard = { writeText: text => { words.push(text); return Promise.resolve(); } };
        Object.defineProperty(navigator, "clipboard", { value: clipboard, configurable: true });
        document.querySelectorAll("details").forEach(one => { one.open = true; });
        const button = document.querySelector("code.command + button.copy");
        button.click();
        setTimeout(() => done([words[0], document.querySelector("code.command").textContent, button.textContent]), 50);
    """
    text, command, label = browser.execute_async_script(copied)
    assert text == command and command.startswith("mam run ") and label == "Copied"


@pytest.mark.usefixtures("page")
def test_recordings_can_be_played(browser):
    """Utterances are closed until asked for; each has its recording, which the browser reads."""
    assert not browser.execute_script("return [...document.querySelectorAll('details')].some(one => one.open)")
    seconds = browser.execute_async_script("""
        const done = arguments[0], audio = document.querySelector("audio");
        audio.onloadedmetadata = () => done(audio.duration);
        audio.onerror = () => done(audio.error.message);
        audio.load();
    """)
    assert isinstance(seconds, float) and seconds > 0.1, seconds


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.usefixtures("page")
def test_anyone_can_read_it(browser, scheme, width):
    axe = pytest.importorskip("axe_core_python")
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.refresh()
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    browser.execute_script("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    browser.execute_script((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = browser.execute_async_script("axe.run().then(arguments[0])")["violations"]
    assert not found, [(one["id"], one["nodes"][0]["html"]) for one in found]
