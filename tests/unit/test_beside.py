"""Live beside simulated: the same things are compared, in the right direction, and a disagreement is said and decides nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from harness import beside, results_store
from harness.results import Campaign, Figure, RunResult, Simulated
from harness.shared import implementation
from harness.shared.history import Fact, History
from harness.single import Judged, simulate
from harness.verdict import Finding, Verdict
from reports import beside as shown
from reports.markdown import markdown
from reports.page import html
from reports.view import build
from scenarios.draw import draw
from scenarios.faults import FAULTS, LIVE
from scenarios.load import find, load
from tests.unit import campaigns
from tests.unit.campaigns import MS, ORDER

NAME = "kill-during-partition"


def judged(history: History, **changes: Any) -> Judged:
    return Judged(result=campaigns.run(NAME, 7, Verdict.VALID, **changes), schedule=campaigns.schedule(), history=history)


def altered(history: History, order: str, late_ms: int) -> History:
    """The same history with another id for its order, and everything about sidecars later by ``late_ms``."""

    def alter(fact: Fact) -> Fact:
        body = {**fact.body, "order": order} if fact.body.get("order") == ORDER else fact.body
        return structs.replace(fact, body=body, at_ns=fact.at_ns + late_ms * MS * fact.node.startswith("sidecar/"))

    return History(sorted(map(alter, history), key=lambda fact: fact.at_ns))  # fmt: skip


def of(figures: tuple[Figure, ...], what: str) -> dict[str, tuple[int | None, int | None]]:
    return {figure.of: (figure.live, figure.simulated) for figure in figures if figure.what == what}


def test_what_is_about_the_same_order_and_agent_is_paired_though_ids_differ() -> None:
    history = campaigns.violated_history()
    other = altered(history, "ab" * 32, 5)
    stop = campaigns.stop(0.5)
    figures = beside.figures(
        judged(history, stop_times=(stop,)),
        judged(other, stop_times=(structs.replace(stop, order="ab" * 32, reaped_ns=None, admissions=4),), faults={"partition": (1, 1, 0)}),
    )
    assert of(figures, "learned_ns") == {"HARD on tenant acme, acme/1": (8_400 * MS, 8_405 * MS), "HARD on tenant acme, acme/2": (52 * MS, 57 * MS)}
    assert of(figures, "stop_ns") == {"HARD on tenant acme, acme/1": (6_000 * MS, stop.last_admission_ns)}
    applied = len(history.of("effect-applied"))
    assert [of(figures, what)[""] for what in ("stops", "applied", "admitted_late", "fired")] == [(1, 1), (applied, applied), (0, 4), (1, 0)]


def test_what_happened_in_one_of_them_is_no_pair() -> None:
    history = campaigns.violated_history()
    never = History(fact for fact in history if not (fact.kind == "order-learned" and fact.node == "sidecar/acme/1"))
    figures = beside.figures(judged(history), judged(never))
    assert of(figures, "learned_ns")["HARD on tenant acme, acme/1"] == (8_400 * MS, None)


def test_orders_of_the_same_words_are_numbered_as_they_come() -> None:
    history = campaigns.violated_history()
    learned = history.of("order-learned")[0]
    again = [structs.replace(learned, body={**learned.body, "order": id_}) for id_ in ("b" * 64, "c" * 64)]
    child = structs.replace(learned, body={**learned.body, "order": "d" * 64, "parent": ORDER, "scope": ["agent", "acme/1"]})
    names = beside.order_names(History([*history, *again, child]))
    assert list(names.values()) == [
        "HARD on tenant acme", "HARD on tenant acme, no. 2", "HARD on tenant acme, no. 3", "HARD on agent acme/1 (escalated)",
    ]  # fmt: skip


def live(seed: int, *figures: Figure, broken: tuple[str, ...] = (), simulated: tuple[str, ...] = (), lacks: tuple[str, ...] = ()) -> RunResult:
    findings = (Finding(invariant=each, verdict=Verdict.INVALID, why="because") for each in broken)
    there = Verdict.INVALID if simulated else Verdict.VALID
    other = Simulated(verdict=there, broken=simulated, ended="complete", lacks=lacks, figures=figures)
    return campaigns.run(NAME, seed, Verdict.INVALID if broken else Verdict.VALID, *findings, driver="live", simulated=other)


def figure(live_: int | None, simulated: int | None, what: str = "stop_ns") -> Figure:
    return Figure(what=what, of="", live=live_, simulated=simulated)


def test_rows_are_medians_and_count_what_has_no_counterpart() -> None:
    made = beside.summarise([
        live(1, figure(10 * MS, 4 * MS), figure(30, 33, "applied")),
        live(2, figure(20 * MS, 8 * MS), figure(900 * MS, None), lacks=("power-cut",)),
        live(3, figure(9 * MS, 8 * MS), figure(None, 7 * MS)),
    ])  # fmt: skip
    assert made is not None
    stops, applied = made.rows
    assert (stops.pairs, stops.live, stops.simulated, stops.difference, stops.widest) == (3, 10 * MS, 8 * MS, 2 * MS, 12 * MS)
    assert (stops.only_live, stops.only_simulated, made.lacks) == (1, 1, {NAME: ("power-cut",)})
    words = shown.view(made)
    assert words is not None
    assert (words.rows[0].live, words.rows[0].difference, words.rows[0].note) == (
        "10 ms",
        "live 2 ms later",
        "1 case only live; 1 case only simulated",
    )
    assert (applied.difference, words.rows[1].difference) == (-3, "live 3 fewer")
    assert words.lacks == (f"{NAME} was simulated without what only live runs have: power-cut.",)


def test_a_verdict_that_differs_is_a_finding_of_its_own_and_changes_no_verdict() -> None:
    runs = [live(1), live(2, broken=("L2", "S1"), simulated=("S1", "S3")), live(3, simulated=("S8",)), live(4, broken=("S1",), simulated=("S1",))]
    made = beside.summarise(runs)
    assert made is not None
    assert [(each.seed, each.only_live, each.only_simulated) for each in made.disagreements] == [(2, ("L2",), ("S3",)), (3, (), ("S8",))]
    words = shown.view(made)
    assert words is not None
    assert words.findings[1] == f"{NAME}, seed 3: live valid, simulated invalid: S8 broke simulated and not live."


def test_a_campaign_without_live_runs_has_nothing_beside_it() -> None:
    assert beside.summarise([campaigns.run(NAME, 1, Verdict.VALID)]) is None
    assert shown.view(None) is None


def test_the_simulator_is_its_own_twin() -> None:
    played = simulate(draw(load(find(NAME)), 3, "test"), implementation.load("killswitch"))
    made = beside.simulated(played, "killswitch")
    assert (made.verdict, made.broken, made.lacks) == (played.result.verdict, (), ())
    assert {each.what for each in made.figures} == set(beside.MEASURES)
    assert [each for each in made.figures if each.live != each.simulated] == []
    assert any(each.live for each in made.figures if each.what == "stop_ns")


def test_a_fault_that_only_live_runs_have_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    played = simulate(draw(load(find(NAME)), 3, "test"), implementation.load("killswitch"))
    monkeypatch.setitem(FAULTS, "partition", replace(FAULTS["partition"], drivers=(LIVE,)))
    made = beside.simulated(played, "killswitch")
    assert made.lacks == ("partition",)
    assert of(made.figures, "fired")[""] == (1, 0)


def test_the_reports_show_it(tmp_path: Path) -> None:
    out = campaigns.write(tmp_path)
    results = results_store.load(out)
    made = beside.summarise([live(1, figure(10 * MS, 4 * MS)), live(2, simulated=("S8",))])
    campaign: Campaign = structs.replace(results.campaign, beside=made)
    results_store.save(out, campaign, [*results.runs, live(2, simulated=("S8",))])
    assert results_store.load(out).campaign.beside == made
    assert results_store.load(out).runs[-1].simulated == live(2, simulated=("S8",)).simulated
    for text in (html(build(out)), markdown(build(out))):
        assert "live 6 ms later" in text and "S8 broke simulated and not live" in text
