"""The page in a real browser: it says its answer, loads nothing, complains about nothing, and fits a telephone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from harness import results_store
from reports.render import render
from tests.unit import campaigns

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install 'haltproof[dev]')")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(campaigns.write(tmp_path_factory.mktemp("campaign")))


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (400, "light")])
def test_it_answers_without_a_word_from_the_network(browser: Browser, report: Path, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="dark" if scheme == "dark" else "light")
    page = context.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    assert page.locator("h1").inner_text() == "Invalid"
    assert page.locator(".answer p").inner_text() == "S1 StopBound broke in 1 of 3 scenarios. 1 more could not be decided."
    assert page.locator(".failure .badge").count() == 7
    assert page.evaluate("document.documentElement.scrollWidth") == width  # wide parts scroll by themselves, the page does not
    assert [url for url in requests if not url.startswith("data:")] == [report.as_uri()]
    assert complaints == []
    context.close()


def test_the_replay_command_is_copied_whole(browser: Browser, report: Path) -> None:
    context = browser.new_context()
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(report.as_uri())
    page.locator("#failure-1 button[data-copy]").click()
    page.get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "haltproof replay H1-kill-during-partition-7"
    context.close()


def test_it_is_whole_without_scripts(browser: Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("#failure-1 pre").inner_text() == "haltproof replay H1-kill-during-partition-7"
    assert not page.locator("#failure-1 button[data-copy]").is_visible()
    context.close()


def test_the_matrix_of_a_whole_campaign_fits_a_page(browser: Browser, tmp_path: Path) -> None:
    """Safety and liveness each have their own, so that no column of either is out of sight at 1280 px."""
    held = (*(f"S{number}" for number in range(1, 29)), *(f"L{number}" for number in range(1, 12)))
    results = results_store.load(campaigns.write(tmp_path))
    scenario = structs.replace(results.campaign.scenarios[1], invariants=dict.fromkeys(held, (2, 0, 0)))
    results_store.save(tmp_path, structs.replace(results.campaign, scenarios=(scenario,)), results.runs)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(render(tmp_path).as_uri())
    tables = page.locator("table.matrix")
    assert [tables.nth(number).locator("thead th").count() - 1 for number in range(tables.count())] == [28, 11]
    fits = "nodes => nodes.every(node => node.scrollWidth <= node.clientWidth)"
    assert page.locator("div.scroll:has(> table.matrix)").evaluate_all(fits)
    page.close()
