"""The page in a real browser: it sorts, filters, complains of nothing, and fits a phone. Skipped without Chromium."""

from __future__ import annotations

import shutil

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


def test_the_page_works(browser, swept, tmp_path):
    from selenium.webdriver.common.by import By

    page = write_report(collect([swept]), tmp_path / "report")
    browser.set_window_size(1200, 900)
    browser.get(page.absolute().as_uri())
    assert column(browser, 0) == ["0", "0.3", "0.3", "0.6", "0.6"]
    heads = browser.find_elements(By.CSS_SELECTOR, "#t1 th button")
    heads[0].click()
    heads[0].click()
    assert column(browser, 0) == ["0.6", "0.6", "0.3", "0.3", "0"]
    assert browser.find_element(By.CSS_SELECTOR, "#t1 th").get_attribute("aria-sort") == "descending"
    heads[1].send_keys("\n")  # by keyboard
    assert column(browser, 1) == sorted(column(browser, 1))
    rates = [float(text.split()[0]) for text in column(browser, 2)]
    heads[2].click()
    assert [float(text.split()[0]) for text in column(browser, 2)] == sorted(rates)
    search = browser.find_element(By.CSS_SELECTOR, "input[data-filter=t1]")
    search.send_keys("shrink 0.3")
    assert column(browser, 0) == ["0.3"] and column(browser, 1) == ["shrink"]
    assert browser.find_element(By.CSS_SELECTOR, "[data-count=t1]").text == "1 of 5 rows"
    search.clear()
    search.send_keys("shrink")
    assert column(browser, 1) == ["shrink"] * 2
    browser.set_window_size(500, 900)  # the narrowest that headless Chromium has
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.get_log("browser") == [], "nothing on the console"
