"""What a host is that boots from a snapshot of another, which goes on running: one name, two starts, and in the end one of them."""

from __future__ import annotations

import pytest

from harness.shared.doubles import COPY
from scenarios.schedule import Entry
from sim.driver import Played
from tests.live.schedules import SIDECAR, fault
from tests.sim.worlds import SECOND, facts_of, of_fault, played

TWIN = SIDECAR + COPY
CLONED_NS = 2 * SECOND
ENDED_NS = 6 * SECOND


def cloning(fault_id: str = "f", survivor: str = "original", at_ns: int = CLONED_NS) -> Entry:
    return fault(fault_id, "clone", at_ns, ENDED_NS - at_ns, targets=(SIDECAR,), survivor=survivor)


def run_of(*timeline: Entry) -> Played:
    return played(*timeline, duration_ns=9 * SECOND)


def last_ns(run: Played, node: str, kind: str) -> int:
    return max((fact.at_ns for fact in facts_of(run, kind, node)), default=-1)


def test_the_copy_has_the_log_and_the_name_and_starts_anew_beside_the_original() -> None:
    run = run_of(cloning())
    (cloned,) = facts_of(run, "node-cloned")
    original, copy = facts_of(run, "node-started", SIDECAR)[0], facts_of(run, "node-started", TWIN)[0]
    assert cloned.body == {"copy": TWIN, "records": copy.body["records"]}
    assert copy.body["records"] > 0
    assert copy.body["instance"] != original.body["instance"]
    assert copy.body["boot"] != original.body["boot"]
    assert not [fact for fact in facts_of(run, "node-crashed", SIDECAR) if fact.at_ns < ENDED_NS]
    assert {fact.body["agent"] for fact in facts_of(run, "token-opened", TWIN)} == {"acme/1"}


def test_the_older_start_gets_no_lease_once_the_younger_has_one() -> None:
    run = run_of(cloning())
    opened = facts_of(run, "token-opened", TWIN)[0]
    assert not [
        fact for fact in facts_of(run, "lease-granted")
        if fact.body["agent"] == "acme/1" and fact.at_ns > opened.at_ns + SECOND and fact.body["token"] < opened.body["token"]
    ]  # fmt: skip
    assert any(fact.body["why"] == "stale token" for fact in facts_of(run, "lease-denied"))


@pytest.mark.parametrize(("survivor", "ended", "left"), [("original", TWIN, SIDECAR), ("clone", SIDECAR, TWIN)])
def test_one_of_them_is_ended_and_the_other_goes_on_under_the_name(survivor: str, ended: str, left: str) -> None:
    run = run_of(cloning(survivor=survivor))
    (end,) = facts_of(run, "clone-ended")
    assert (end.node, end.body["survivor"]) == (ended, left)
    assert last_ns(run, ended, "lease-requested") <= end.at_ns < last_ns(run, left, "effect-admitted")
    assert [fact.node for fact in facts_of(run, "log-verified") if fact.body["writer"] == SIDECAR] == [left]
    assert [kind for kind, _ in of_fault(run, "f")] == ["fault-armed", "fault-on", "fault-fired", "fault-off"]


def test_their_two_logs_are_found_out() -> None:
    assert {fact.body["origin"] for fact in facts_of(run_of(cloning()), "fork-proven")} == {SIDECAR}


def test_there_are_never_three() -> None:
    run = run_of(cloning(), cloning("g", at_ns=CLONED_NS + SECOND))
    assert len(facts_of(run, "node-cloned")) == 1
    assert "fault-fired" not in [kind for kind, _ in of_fault(run, "g")]
