"""The three forms of a report: whole, equal each time, and harmless whatever the names hold."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from msgspec import structs

from harness import results_store
from harness.verdict import Verdict
from reports import markdown
from reports.render import COMMENT, JUNIT, PAGE, render
from reports.words import WHY_SKIPPED
from tests.unit import campaigns


class Page(HTMLParser):
    """Collects the elements of a page and its visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def out(tmp_path: Path) -> Path:
    render(campaigns.write(tmp_path))
    return tmp_path


def test_rendering_again_gives_the_same_bytes(out: Path) -> None:
    first = [(out / name).read_bytes() for name in (PAGE, COMMENT, JUNIT)]
    assert render(out) == out / PAGE
    assert [(out / name).read_bytes() for name in (PAGE, COMMENT, JUNIT)] == first


def test_rendering_elsewhere_gives_the_same_bytes(out: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert render(campaigns.write(elsewhere)).read_bytes() == (out / PAGE).read_bytes()


def test_the_page_shows_the_answer_the_reason_and_the_way_to_see_it_again(out: Path) -> None:
    page = Page((out / PAGE).read_text())
    for wanted in ("Invalid", "S1 StopBound broke in 1 of 3 scenarios.", "A hard kill during a drain ends the drain at once.",
                   "haltproof replay H1-kill-during-partition-7", "Holds the order 5c1f5c1f… durably.", "Demanded and never reached: lease-lost",
                   "never came into force", "bound: t0 + 5.051 s", "HARD, 5 stops"):  # fmt: skip
        assert wanted in page.text


def test_the_page_asks_the_network_for_nothing(out: Path) -> None:
    page = Page((out / PAGE).read_text())
    links = [value for _, attributes in page.elements for name, value in attributes.items() if name in {"src", "href", "action", "data", "srcset"}]
    assert links
    assert all((link or "").startswith(("#", "data:,")) for link in links)
    assert not re.search(r"url\((?!#)|@import", (out / PAGE).read_text())
    assert "http:" not in (out / PAGE).read_text()
    assert "https:" not in (out / PAGE).read_text()


def test_hostile_names_stay_text_in_the_page(out: Path) -> None:
    page = Page((out / PAGE).read_text())
    assert len([tag for tag, _ in page.elements if tag == "script"]) == 1
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert campaigns.HOSTILE_SHOWN in page.text
    assert "\u202e" not in page.text


def test_every_id_is_its_own_and_every_reference_has_one(out: Path) -> None:
    text = (out / PAGE).read_text()
    ids = [attributes["id"] for _, attributes in Page(text).elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) <= set(ids)


def test_junit_maps_the_three_verdicts(out: Path) -> None:
    suites = ElementTree.parse(out / JUNIT).getroot()
    assert suites.attrib == {"name": "haltproof", "tests": "8", "failures": "1", "errors": "2", "skipped": "0"}
    violated, undecided, held = suites
    assert (held.get("name"), held.get("tests"), held.get("failures"), held.get("time")) == ("soft-overtaken-by-hard (sim)", "3", "0", "0.500")
    failure = violated.find("testcase[@name='S1 StopBound']/failure")
    assert failure is not None
    assert failure.text is not None
    assert failure.text.endswith("replay: haltproof replay H1-kill-during-partition-7")
    missed = violated.find("testcase[@name='expectations']/error")
    assert missed is not None
    assert missed.get("message") == "Demanded and never reached: lease-lost"
    assert undecided.find("testcase[@name='S10 InFlight']/error") is not None


def test_junit_names_the_missing_capability(out: Path) -> None:
    results = results_store.load(out)
    scenario = structs.replace(results.campaign.scenarios[0], runs=0, verdict=Verdict.UNKNOWN, invariants={}, missing=("clock-drift",))
    results_store.save(out, structs.replace(results.campaign, scenarios=(scenario,), failures=()), [])
    render(out)
    skipped = ElementTree.parse(out / JUNIT).getroot().find("testsuite/testcase[@name='expectations']/skipped")
    assert skipped is not None
    assert skipped.get("message") == "Not played: sim lacks clock-drift"
    assert "Not played: sim lacks clock-drift" in (out / PAGE).read_text()
    assert "Not played: sim lacks clock-drift" in (out / COMMENT).read_text()


def test_every_format_tells_what_was_skipped_and_what_nobody_judged(tmp_path: Path) -> None:
    page = render(campaigns.with_gaps(tmp_path)).read_text()
    why, needs = WHY_SKIPPED, "Not judged: S24, needs --twins (seeds 1, 11, 21, ...)."
    assert f"Instances skipped, {why}: ⊘ L12 (4), ◐ S1 (1,200)" in page
    assert "4 instances examined, 1200 skipped" in page
    assert f"– {needs}" in page
    comment = (tmp_path / COMMENT).read_text()
    assert "| ⊘ L12 (4); ◐ S1 (1,200) |" in comment
    assert f"skipped, {why}." in comment and needs in comment
    suites = ElementTree.parse(tmp_path / JUNIT).getroot()
    assert (suites.get("tests"), suites.get("skipped"), suites.get("failures"), suites.get("errors")) == ("3", "2", "0", "0")
    told = {case.get("name"): skipped.get("message") for case in suites.iter("testcase") for skipped in case.iter("skipped")}
    assert told == {"S24 WallNI": needs, "L12 Doubt": f"instances skipped: 4, and there were no others, {why}"}


def test_junit_never_passes_a_scenario_that_is_not_valid(out: Path) -> None:
    results = results_store.load(out)
    level = structs.replace(results.campaign.scenarios[0], verdict=Verdict.INVALID, why="p99 of 14 s is not under 12 s")
    results_store.save(out, structs.replace(results.campaign, scenarios=(level,), failures=()), results.runs[:2])
    render(out)
    failure = ElementTree.parse(out / JUNIT).getroot().find("testsuite/testcase[@name='expectations']/failure")
    assert failure is not None
    assert failure.get("message") == "p99 of 14 s is not under 12 s"


def test_markdown_is_a_comment_with_the_answer_first(out: Path) -> None:
    text = (out / COMMENT).read_text()
    assert text.startswith("## ✕ Invalid\n\nS1 StopBound broke in 1 of 3 scenarios. 1 more could not be decided.\n")
    assert "| ✕ invalid | kill-during-partition | 2 | ✕ S1; Demanded and never reached: lease-lost |" in text
    assert "```sh\nhaltproof replay H1-kill-during-partition-7\n```" in text
    assert "| HARD | 5 | 1 | 1.566 s | 5.266 s | 5.266 s | 5.051 s | 1.043 |" in text
    assert len(text) < 60_000


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("a|b", "a&#124;b"),
        ("@all #1 <b>", "&#64;all &#35;1 &#60;b&#62;"),
        ("- item", "&#45; item"),
        ("1. item", "1&#46; item"),
        ("two\nlines", "two lines"),
        ("see https://x.org and www.x.org", "see https&#58;//x.org and www&#46;x.org"),
        ("![x](y)", "!&#91;x&#93;(y)"),
        ("kill-during-partition (p99: 3 s)", "kill-during-partition (p99: 3 s)"),
    ],
)
def test_markdown_escapes_what_would_be_markup(hostile: str, harmless: str) -> None:
    assert markdown.escape(hostile) == harmless


def test_markdown_code_cannot_be_left() -> None:
    assert markdown.code("a``b`") == "``` a``b` ```"
    assert markdown.code("") == "`–`"


def test_markdown_keeps_its_size_under_many_long_failures(out: Path) -> None:
    results = results_store.load(out)
    failure = results.campaign.failures[1]
    many = tuple(structs.replace(failure, scenario=f"s{number}", why="long " * 5_000) for number in range(300))
    scenario = results.campaign.scenarios[1]
    campaign = structs.replace(
        results.campaign, failures=many, scenarios=tuple(structs.replace(scenario, scenario=f"s{n}", why="w" * 9_000) for n in range(300))
    )
    results_store.save(out, campaign, results.runs)
    render(out)
    assert len((out / COMMENT).read_text()) < 60_000


def test_an_empty_campaign_renders(tmp_path: Path) -> None:
    campaign = structs.replace(campaigns.campaign(), verdict=Verdict.UNKNOWN, runs=0, runs_per_s=0.0, scenarios=(), failures=())
    results_store.save(tmp_path, campaign, [])
    assert "Nothing was decided." in render(tmp_path).read_text()
