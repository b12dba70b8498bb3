"""Twins: the clean core is the same whatever must not matter, and each twin sees the mistake that it is there for."""

from __future__ import annotations

from functools import lru_cache

import pytest
from msgspec.structs import replace

from harness import twins
from harness.checkers import CHECKERS
from harness.planted.bug import PlantedBug
from harness.shared.implementation import Killswitch
from harness.single import simulate
from harness.verdict import Finding, Verdict
from harness.version import version
from killswitch.core import intent
from killswitch.core.intent import Intent, KnownOrder
from killswitch.core.replica import grants
from killswitch.core.replica.state import Replica
from scenarios import load
from scenarios.draw import draw
from scenarios.schedule import Schedule
from sim.driver import play

TENANTS = "late-joiner-under-tenant-order"


@lru_cache
def drawn(name: str, seed: int = 1) -> Schedule:
    return draw(load.load(load.find(name)), seed, version())


def found(bug: PlantedBug | Killswitch, schedule: Schedule, invariant: str) -> Finding | None:
    (finding, *_) = [*twins.findings(schedule, bug, play(schedule, bug), (invariant,)), None]
    return finding


@pytest.mark.parametrize(("invariant", "name"), [("S5", "resume-race"), ("S14", TENANTS), ("S24", TENANTS)])
def test_the_clean_core_is_the_same_whatever_must_not_matter(invariant: str, name: str) -> None:
    finding = found(Killswitch(), drawn(name), invariant)
    assert finding is not None
    assert (finding.verdict, finding.why) == (Verdict.VALID, "")
    assert finding.examined > 1


def test_what_no_single_run_shows_is_named_where_no_twin_was_played() -> None:
    assert set(twins.ALONE) == twins.TWINS.keys() - CHECKERS.keys()
    schedule = drawn("isolate-then-soft")
    assert simulate(schedule, Killswitch()).result.not_judged == ("S24",)
    assert simulate(schedule, Killswitch(), ("S24",)).result.not_judged == ()
    narrow = replace(schedule, expect=replace(schedule.expect, invariants=("S1",)))
    assert simulate(narrow, Killswitch()).result.not_judged == ()


def test_another_process_plays_the_same() -> None:
    finding = found(Killswitch(), drawn("isolate-then-soft"), "S27")
    assert finding is not None
    assert finding.verdict is Verdict.VALID
    assert finding.examined > 1000


def test_what_another_process_cannot_load_is_undecided() -> None:
    class Nameless(Killswitch):
        name = "something else"

    finding = found(Nameless(), drawn("isolate-then-soft"), "S27")
    assert finding is not None
    assert finding.verdict is Verdict.UNKNOWN
    assert "by which it is loaded, module:object" in finding.why


def test_a_scenario_of_one_tenant_has_no_neighbour_to_lose() -> None:
    assert found(Killswitch(), drawn("isolate-then-soft"), "S14") is None


def test_a_lease_that_hangs_on_all_tenants_orders_is_seen_by_s14() -> None:
    original = grants.lease

    def shorter_for_all(state: Replica, *rest: object) -> tuple[int, str]:
        length, why = original(state, *rest)  # type: ignore[arg-type]  # passed on as they came
        return max(length - len(state.intent.orders), 0), why

    bug = PlantedBug("X14", "a lease is shorter the more is ordered anywhere", {"replica.grants:lease": shorter_for_all})
    seen = [found(bug, drawn(TENANTS, seed), "S14") for seed in range(1, 9)]
    assert any(finding is not None and finding.verdict is Verdict.INVALID for finding in seen)
    why = next(finding.why for finding in seen if finding is not None and finding.verdict is Verdict.INVALID)
    assert why.startswith("without tenant acme")


def test_an_intent_that_keeps_the_first_three_orders_is_seen_by_s5() -> None:
    original = intent.add_order

    def only_the_first(held: Intent, known: KnownOrder) -> bool:
        return len(held.orders) < 3 and original(held, known)

    bug = PlantedBug("X5", "an intent holds three orders", {"intent:add_order": only_the_first})
    schedule = drawn("many-orders")
    finding = next(iter(twins.findings(schedule, bug, play(schedule, Killswitch()), ("S5",))))
    assert finding.verdict is Verdict.INVALID
    assert "in another sequence" in finding.why


def test_the_findings_of_twins_come_in_where_the_single_run_was_content() -> None:
    result = simulate(drawn("isolate-then-soft"), Killswitch(), ("S5", "S24")).result
    by_name = {finding.invariant: finding for finding in result.findings}
    assert by_name["S24"].verdict is Verdict.VALID
    assert by_name["S24"].examined > 1000
    plain = {finding.invariant: finding for finding in simulate(drawn("isolate-then-soft"), Killswitch()).result.findings}
    assert "S24" not in plain
    assert by_name["S5"].examined > plain["S5"].examined
    assert [finding for name, finding in by_name.items() if name not in ("S5", "S24")] == [plain[name] for name in plain if name != "S5"]


def test_a_violation_in_the_single_run_is_not_hidden_by_a_content_twin() -> None:
    bad = Finding(invariant="S5", verdict=Verdict.INVALID, why="seen")
    good = Finding(invariant="S5", verdict=Verdict.VALID, examined=3)
    assert twins.merged([bad], [good]) == (bad,)
    assert twins.merged([good], [bad])[0].verdict is Verdict.INVALID


def test_a_run_that_was_ended_early_or_asks_for_other_invariants_has_no_twins() -> None:
    schedule = drawn("isolate-then-soft")
    played = play(schedule, Killswitch())
    asking = replace(schedule, expect=replace(schedule.expect, invariants=("S1",)))
    assert twins.findings(asking, Killswitch(), played) == []
    played.ended = "stop condition: facts above 3"
    assert twins.findings(schedule, Killswitch(), played) == []


def test_every_twin_is_of_the_table() -> None:
    assert list(twins.TWINS) == ["S5", "S14", "S24", "S27"]
