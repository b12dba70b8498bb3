"""Every rare state is recognised where it happens and not where it nearly does; a campaign that should have seen one and has not says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.rarities import RARITIES, Rarity, recognised
from harness.shared.history import VOCABULARY, Fact
from scenarios import load
from scenarios.draw import draw
from tests.live.schedules import both_ways, fault, order, short

SECOND = 1_000_000_000
SIDECAR, OTHER = "sidecar/acme/1", "sidecar/acme/2"
TOKEN, LATER = [1, 1, "1.1"], [1, 2, "1.2"]
BY_NAME = {rarity.name: rarity for rarity in RARITIES}


def at(when: int, kind: str, node: str = SIDECAR, **body: Any) -> Fact:
    return Fact(when, kind, node, when, body)


def gate(when: int, mode: str, node: str = SIDECAR) -> Fact:
    return at(when, "gate-changed", node, agent="acme/1", token=TOKEN, gate="CLOSED", mode=mode)


def learned(when: int, life: int = 2, node: str = SIDECAR, order: str = "o1") -> Fact:
    return at(when, "order-learned", node, order=order, life=life)


def checkpoint(when: int, kind: str, generation: int) -> Fact:
    return at(when, f"checkpoint-{kind}", agent="acme/1", generation=generation)


# {rare state: (histories that reach it, histories that nearly do)}
CASES: dict[str, tuple[list[list[Fact]], list[list[Fact]]]] = {
    "soft-overtaken-by-hard": (
        [[gate(1, "DRAINING"), learned(2)], [gate(1, "DRAINING"), gate(2, "KILLING"), learned(2)]],
        [[gate(1, "DRAINING"), gate(2, "KILLING"), learned(3)], [gate(1, "DRAINING"), learned(2, life=1)],
         [gate(1, "DRAINING"), learned(2, node=OTHER)]],
    ),
    "lease-regained": (
        [[at(1, "lease-lost", agent="acme/1", token=TOKEN), at(2, "lease-opened", agent="acme/1", token=TOKEN)]],
        [[at(1, "lease-opened", agent="acme/1", token=TOKEN)],
         [at(1, "lease-lost", agent="acme/1", token=TOKEN), at(2, "lease-opened", agent="acme/1", token=LATER)]],
    ),
    "escalated-at-once": (
        [[at(1, "escalated", "replica/1", child="c"), at(2, "escalated", "replica/2", child="c")]],
        [[at(1, "escalated", "replica/1", child="c"), at(2, "escalated", "replica/1", child="c")],
         [at(1, "escalated", "replica/1", child="c"), at(2, "escalated", "replica/2", child="d")]],
    ),
    "only-copy-lost-its-holder": (
        [[at(1, "order-durable", "replica/1", order="o"), at(2, "node-crashed", "replica/1")]],
        [[at(1, "order-durable", "replica/1", order="o"), at(2, "order-durable", "replica/2", order="o"), at(3, "node-crashed", "replica/1")],
         [at(1, "order-durable", SIDECAR, order="o"), at(2, "node-crashed", SIDECAR)]],
    ),
    "kill-races-resume": (
        [[at(1, "resume-requested", "operator", request="r"), learned(2)]],
        [[learned(1), at(2, "resume-requested", "operator", request="r"), learned(3, node=OTHER)],
         [at(1, "resume-requested", "operator", request="r"), at(2, "certificate-durable", certificate="c"), learned(3)]],
    ),
    "sidecar-died-in-drain": (
        [[gate(1, "DRAINING"), at(2, "node-crashed")]],
        [[gate(1, "DRAINING"), gate(2, "STOPPED"), at(3, "node-crashed")], [gate(1, "DRAINING"), at(2, "node-crashed", OTHER)]],
    ),
    "late-write-fenced": (
        [[at(1, "effect-rejected", "sink/acme/ledger", why="REJECTED_FENCED")]], [[at(1, "effect-rejected", "sink/acme/ledger", why="no challenge")]],
    ),
    "answered-again": (
        [[at(1, "effect-applied", "sink/acme/ledger", again=True)]], [[at(1, "effect-applied", "sink/acme/ledger", again=False)]],
    ),
    "doubt-resolved": (
        [[at(1, "task-in-doubt", task="t"), at(2, "task-rolled-back", task="t")], [at(1, "task-in-doubt", task="t"), at(2, "task-done", task="t")]],
        [[at(1, "task-in-doubt", task="t"), at(2, "task-done", task="u")]],
    ),
    "lease-out-in-pause": (
        [[at(1, "lease-opened", until_ns=5), at(2, "node-paused"), at(9, "node-resumed")]],
        [[at(1, "lease-opened", until_ns=5), at(2, "node-paused"), at(4, "node-resumed")],
         [at(1, "lease-opened", until_ns=5), at(7, "node-paused"), at(9, "node-resumed")]],
    ),
    "grant-meets-order": (
        [[at(1000, "lease-granted", "replica/1", len_ns=500), learned(1004, node="replica/1")]],
        [[at(1000, "lease-granted", "replica/1", len_ns=500), learned(1005, node="replica/1")],
         [at(1000, "lease-granted", "replica/1", len_ns=500), learned(1001, node="replica/2")]],
    ),
    "checkpoint-interrupted": (
        [[checkpoint(1, "begun", 3), checkpoint(2, "recovered", 2)]],
        [[checkpoint(1, "begun", 3), checkpoint(2, "durable", 3), checkpoint(3, "recovered", 2)],
         [checkpoint(1, "begun", 3), checkpoint(2, "recovered", 3)]],
    ),
    "presumed-stopped": ([[at(1, "declared", "replica/1", order="o", agent="acme/1")]], [[learned(1)]]),
}  # fmt: skip


def times(rarity: Rarity, facts: list[Fact]) -> int:
    """How often ``facts`` reach it, whatever schedule they are of."""
    always = Rarity(rarity.name, rarity.meaning, rarity.kinds, rarity.recognise, lambda schedule: True)
    return recognised(short(), facts, (always,))[rarity.name]


def test_every_rare_state_has_its_cases_and_asks_for_facts_that_there_are() -> None:
    assert set(CASES) == set(BY_NAME)
    for rarity in RARITIES:
        assert set(rarity.kinds) <= set(VOCABULARY)


def test_the_page_for_operators_lists_every_rare_state_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    rows = "\n".join(f"|`{rarity.name}`|{rarity.meaning}|{rarity.within:,}|" for rarity in RARITIES)
    assert f"|---|---|--:|\n{rows}\n\n" in page


@pytest.mark.parametrize("name", CASES)
def test_a_rare_state_is_recognised_where_it_happens_and_nowhere_else(name: str) -> None:
    reaching, near = CASES[name]
    for facts in reaching:
        assert times(BY_NAME[name], facts) == 1, facts
    for facts in near:
        assert times(BY_NAME[name], facts) == 0, facts


def test_what_a_schedule_cannot_reach_is_not_asked_of_it() -> None:
    assert recognised(short(), []) == {}
    cut = fault("f", "partition", SECOND, SECOND, links=both_ways(SIDECAR, "replica/1"))
    assert set(recognised(short(cut), [])) == {"lease-regained"}
    assert "soft-overtaken-by-hard" in recognised(short(order("soft", SECOND), order("hard", SECOND)), [])
    assert "soft-overtaken-by-hard" not in recognised(short(order("hard", SECOND)), [])


def test_the_library_makes_every_rare_state_possible() -> None:
    possible = {name for path in load.library().values() for seed in range(4) for name in recognised(draw(load.load(path), seed, "test"), [])}
    assert possible == set(BY_NAME)
