"""When the lines of a timeline play: at a time, after a fact, or in a state; each once."""

from __future__ import annotations

from typing import Any

import pytest

from harness.shared.history import Fact
from harness.shared.triggers import Triggers, matches
from scenarios.schedule import Entry, Fault, Trigger

SECOND = 1_000_000_000
LEASE_NS = 5 * SECOND
ANY = Fault(what="pause", targets=("sidecar/acme/1",))


def entry(name: str = "e", **trigger: Any) -> Entry:
    return Entry(id=name, trigger=Trigger(**trigger), action=ANY)


def say(kind: str, node: str = "sidecar/acme/1", **body: Any) -> Fact:
    return Fact(0, kind, node, 0, body)


def triggers(*entries: Entry) -> Triggers:
    return Triggers(entries, LEASE_NS)


def test_entries_of_a_time_are_known_from_the_start_and_never_come_again() -> None:
    found = triggers(entry("a", at_ns=5), entry("b", at_ns=0), entry("c", after="healed"))
    assert [(at, each.id) for at, each in found.timed] == [(5, "a"), (0, "b")]
    assert not found.waiting
    assert [each.id for _, each in found.see(say("healed"))] == ["c"]


def test_an_entry_comes_after_the_fact_that_it_waits_for_with_its_delay_and_once() -> None:
    waiting = entry(after="order-durable", where={"node": "replica/2"}, delay_ns=7)
    found = triggers(waiting)
    assert found.see(say("order-durable", "replica/1", order="o")) == []
    assert found.see(say("order-learned", "replica/2", order="o")) == []
    assert found.see(say("order-durable", "replica/2", order="o")) == [(7, waiting)]
    assert found.see(say("order-durable", "replica/2", order="o")) == []


def test_an_entry_can_wait_for_the_third_of_its_facts() -> None:
    found = triggers(entry(after="lease-opened", where={"agent": "acme/1"}, count=3))
    facts = [
        say("lease-opened", agent=agent, nonce="n", token=[1, 1, "a"], until_ns=1) for agent in ("acme/1", "acme/2", "acme/1", "acme/1", "acme/1")
    ]
    assert [len(found.see(fact)) for fact in facts] == [0, 0, 0, 1, 0]


def test_one_fact_can_release_several_entries() -> None:
    found = triggers(entry("a", after="healed"), entry("b", after="healed"))
    assert [each.id for _, each in found.see(say("healed"))] == ["a", "b"]


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ({}, True),
        ({"node": "n"}, True),
        ({"node": "m"}, False),
        ({"what": "pause"}, True),
        ({"what": "pause", "fault": "g"}, False),
        ({"no such": 1}, False),
    ],
)
def test_what_is_asked_of_a_fact_must_be_so_and_what_is_not_may_be_anything(where: dict[str, Any], holds: bool) -> None:
    assert matches(say("fault-on", "n", fault="f", what="pause", target=[]), where) is holds


@pytest.mark.parametrize(("quantity", "wanted"), [("gate", "DRAIN"), ("mode", "DRAINING")])
def test_a_state_is_waited_for_agent_by_agent(quantity: str, wanted: str) -> None:
    found = triggers(entry(when=(quantity, "acme/1", "is", wanted)))
    assert found.poll(lambda _: 0) == []
    found.see(say("gate-changed", "sidecar/acme/2", agent="acme/2", token=None, gate="DRAIN", mode="DRAINING"))
    assert found.poll(lambda _: 0) == []
    found.see(say("gate-changed", agent="acme/1", token=None, gate="DRAIN", mode="DRAINING"))
    assert len(found.poll(lambda _: 0)) == 1
    assert not found.waiting
    assert found.poll(lambda _: 0) == []


def test_a_lease_is_measured_on_the_sidecars_own_clock() -> None:
    found = triggers(entry(when=("lease.left", "acme/1", "<", "50000")))  # under 5 %
    readings = {"sidecar/acme/1": 0}
    assert found.poll(readings.__getitem__) == []  # no lease: nothing of it is left, which is not little of it
    found.see(say("lease-opened", agent="acme/1", nonce="n", token=None, until_ns=LEASE_NS))
    for clock_ns, holds in (
        (0, False),
        (LEASE_NS * 95 // 100, False),
        (LEASE_NS, False),
        (LEASE_NS + 1, False),
        (LEASE_NS * 95 // 100 + 1000_000, True),
    ):
        readings["sidecar/acme/1"] = clock_ns
        assert bool(found.poll(readings.__getitem__)) is holds, clock_ns


def test_a_renewed_lease_counts_anew() -> None:
    found = triggers(entry(when=("lease.left", "acme/1", "<", "50000")))
    for until in (LEASE_NS, 2 * LEASE_NS):
        found.see(say("lease-opened", agent="acme/1", nonce="n", token=None, until_ns=until))
    assert found.poll(lambda _: LEASE_NS - 1) == []
    assert len(found.poll(lambda _: 2 * LEASE_NS - 1)) == 1


@pytest.mark.parametrize("deadline_first", [True, False])
def test_a_drain_is_measured_against_the_grace_of_its_order(deadline_first: bool) -> None:
    """In one step the deadline is observed before or after the order that sets it."""
    facts = [
        say("drain-deadline", agent="acme/1", order="o", deadline_ns=10 * SECOND, boot="b"),
        say("order-learned", order="o", grace_ns=10 * SECOND),
    ]
    found = triggers(entry(when=("drain.left", "acme/1", "<", "100000")))
    for fact in facts if deadline_first else reversed(facts):
        found.see(fact)
    assert found.poll(lambda _: 8 * SECOND) == []
    assert len(found.poll(lambda _: 9 * SECOND + 1)) == 1


def test_of_several_deadlines_the_earliest_counts() -> None:
    found = triggers(entry(when=("drain.left", "acme/1", "<", "100000")))
    for order, deadline_ns in (("a", 10 * SECOND), ("b", 4 * SECOND), ("c", 20 * SECOND)):
        found.see(say("order-learned", order=order, grace_ns=10 * SECOND))
        found.see(say("drain-deadline", agent="acme/1", order=order, deadline_ns=deadline_ns, boot="b"))
    assert found.poll(lambda _: 2 * SECOND) == []
    assert len(found.poll(lambda _: 3 * SECOND + 1)) == 1
