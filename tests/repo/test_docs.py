"""The documentation says what is so: its map, its marks, its links, and everything that the code cites of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.checkers import CHECKERS
from harness.twins import TWINS
from scenarios import forms
from scripts import module_map
from tests.repo.modules import ROOT, modules

PAGES = sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md"), *(ROOT / "changelog").glob("*.md")])
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text("utf-8")
INVARIANTS = (ROOT / "docs" / "invariants.md").read_text("utf-8")
ROW = re.compile(r"^\|([SL]\d+)\|(✓|   )\|", re.MULTILINE)

CITED_SECTION = re.compile(r"protocol (\d(?:\.\d+)?)")
CITED_NAME = re.compile(r"\b(?:T[1-5]|D(?:10|[1-9])|V[1-6]|J[1-6]|CK[1-4]|A[1-3])\b")
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


def test_the_map_of_modules_is_current() -> None:
    page = module_map.PAGE.read_text("utf-8")
    assert page == module_map.written(page), "run `make map`"


def test_the_list_of_invariants_is_whole() -> None:
    listed = [identity for identity, _ in ROW.findall(INVARIANTS)]
    assert listed == [*(f"S{number}" for number in range(1, 29)), *(f"L{number}" for number in range(1, 15))]


def test_a_scenario_may_name_exactly_those_that_a_run_is_judged_by() -> None:
    assert set(forms.INVARIANTS) == set(CHECKERS)
    assert set(forms.OF_TWINS) == set(TWINS) - set(CHECKERS)


def test_exactly_the_invariants_with_a_checker_are_marked() -> None:
    assert {identity for identity, mark in ROW.findall(INVARIANTS) if mark == "✓"} == set(CHECKERS) | set(TWINS)


def test_a_checker_is_called_as_its_invariant_is() -> None:
    names = dict(re.findall(r"^\|([SL]\d+)\|(?:✓|   )\|(\w+)\|", INVARIANTS, re.MULTILINE))
    assert {identity: checker.title.partition(":")[0] for identity, checker in CHECKERS.items()} == {each: names[each] for each in CHECKERS}


def cited(pattern: re.Pattern[str]) -> set[str]:
    return {found for module in modules() for found in pattern.findall(module.text)}


def test_every_section_that_the_code_cites_is_there() -> None:
    headings = set(re.findall(r"^#{2,3} (\d(?:\.\d+)?)\.? ", PROTOCOL, re.MULTILINE))
    assert cited(CITED_SECTION)
    assert cited(CITED_SECTION) - headings == set()


def test_every_rule_that_the_code_cites_is_there() -> None:
    assert cited(CITED_NAME)
    assert cited(CITED_NAME) - set(CITED_NAME.findall(PROTOCOL)) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = [target for target, _ in LINK.findall(page.read_text("utf-8")) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_and_files_that_a_page_names_exist(page: Path) -> None:
    """`killswitch/core/step.py`, `tests/repo` or `harness.shared.history` in a text is a promise."""
    named = re.findall(r"`((?:killswitch|sim|scenarios|harness|reports|tests|docs|scripts|changelog)[/.][\w/.-]+)`", page.read_text("utf-8"))
    missing = [name for name in named if not any((ROOT / form).exists() for form in (name, name.replace(".", "/"), f"{name.replace('.', '/')}.py"))]
    assert missing == []
