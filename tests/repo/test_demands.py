"""Every demand that is made of the protocol is met somewhere, held by an invariant, and tried in a scenario; and nothing stands outside the table."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from harness.checkers import CHECKERS
from harness.twins import TWINS
from scenarios import load
from tests.repo.modules import ROOT

DEMANDED = (
    "Staged kill", "Grace", "Policy", "Audit", "Isolation of tenants", "Idempotence", "Security", "Clock drift", "Partial outage", "Misconfiguration",
    "In-flight work", "Stale policy", "Upgrade", "New kinds of agents",
)  # fmt: skip
JUDGED = {*CHECKERS, *TWINS}


class Demand(NamedTuple):
    """A row of the table."""

    name: str
    code: tuple[str, ...]
    invariants: tuple[str, ...]
    scenarios: tuple[str, ...]


def demands() -> list[Demand]:
    page = (ROOT / "docs" / "demands.md").read_text("utf-8")
    rows = re.findall(r"^\|([^|`]+)\|([^|]*`[^|]*)\|([^|]+)\|([^|]+)\|$", page, re.MULTILINE)
    names = re.compile(r"`([^`]+)`")
    return [Demand(name, *(tuple(names.findall(cell)) for cell in cells)) for name, *cells in rows]


def test_every_demand_has_its_row() -> None:
    assert set(DEMANDED) <= {demand.name for demand in demands()}


@pytest.mark.parametrize("demand", demands(), ids=lambda demand: demand.name)
def test_a_demand_names_code_an_invariant_with_a_checker_and_a_scenario_of_the_library(demand: Demand) -> None:
    library = load.library()
    assert demand.code and [place for place in demand.code if not (ROOT / place).exists()] == []
    assert demand.invariants and [each for each in demand.invariants if each not in JUDGED] == []
    assert demand.scenarios and [each for each in demand.scenarios if each not in library] == []


def test_every_checker_and_every_scenario_serves_a_demand() -> None:
    rows = demands()
    assert JUDGED - {each for demand in rows for each in demand.invariants} == set()
    assert set(load.library()) - {each for demand in rows for each in demand.scenarios} == set(), (
        "docs/demands.md: these scenarios serve no demand yet"
    )


def test_the_incidents_are_scenarios_of_the_library() -> None:
    _, _, page = (ROOT / "docs" / "demands.md").read_text("utf-8").partition("|What happened|Scenario|")
    named = re.findall(r"`([^`]+)`", page)
    assert named
    assert set(named) - set(load.library()) == set()
