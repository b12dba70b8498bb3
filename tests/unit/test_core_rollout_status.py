"""What whoever asked for a rollout is told of it: accepted, effective, superseded (protocol 3.9)."""

from __future__ import annotations

import pytest

from killswitch.core.bundles import RolloutRequest, RolloutStatus
from tests.unit.one_sided import ONE, THREE, TWO, control_plane
from tests.unit.pair import SECOND
from tests.unit.test_core_rollouts import CAREFUL, LAX, in_force, roll, said, to_canary


def test_whoever_asked_is_told_when_k_replicas_hold_it_and_not_before() -> None:
    link = control_plane()
    for node in (TWO, THREE):
        link[node].disk = "stuck"
    link.tell(ONE, roll("CANARY", CAREFUL), "operator")
    link.run(3 * SECOND)
    assert said(link) == [("ACCEPTED", 2)], "the others have it in memory alone"
    link[TWO].disk = "prompt"
    link.sync(TWO)
    link.run(2 * SECOND)
    assert said(link) == [("ACCEPTED", 2), ("EFFECTIVE", 2)], "once, and without being asked again"


def test_who_asks_again_is_told_how_it_stands() -> None:
    link = to_canary(CAREFUL)
    link.tell(ONE, roll("CANARY", CAREFUL), "operator")
    assert said(link)[-1] == ("EFFECTIVE", 2)
    link.tell(ONE, roll("ROLLED_BACK", name="back"), "operator")
    link.run(SECOND)
    link.tell(ONE, roll("CANARY", CAREFUL), "operator")
    assert said(link)[-1] == ("SUPERSEDED", 2)
    assert "rollout 3 to ROLLED_BACK" in link[ONE].sent(RolloutStatus)[-1].why


def test_a_rollout_whose_place_another_of_its_number_took_is_superseded() -> None:
    """Two replicas that do not hear each other take a step each; when they do, one of the two is in force, and the other's asker is told."""
    link = control_plane()
    link.cut = lambda sender, to, message: ONE in (sender, to)
    link.tell(ONE, roll("CANARY", CAREFUL, name="one"), "operator")
    link.tell(TWO, roll("CANARY", LAX, name="two"), "operator")
    link.run(2 * SECOND)
    assert (said(link, ONE), said(link, TWO)) == ([("ACCEPTED", 2)], [("ACCEPTED", 2), ("EFFECTIVE", 2)])
    link.cut = lambda sender, to, message: False
    link.run(3 * SECOND)
    won = in_force(link).salt
    assert in_force(link, TWO).salt == won
    words = [said(link, node)[-1][0] for node in (ONE, TWO)]
    assert words == (["EFFECTIVE", "SUPERSEDED"] if won == "alice/one" else ["SUPERSEDED", "EFFECTIVE"]), "be it that it was effective"


def test_who_was_told_that_his_rollout_is_effective_hears_no_more_of_steps_that_follow_it() -> None:
    link = to_canary(CAREFUL)
    link.tell(ONE, roll("STABLE", name="on"), "operator")
    link.run(SECOND)
    link.tell(TWO, roll("ROLLED_BACK", name="back"), "operator")
    link.run(2 * SECOND)
    assert (in_force(link).seq, said(link)) == (4, [("ACCEPTED", 2), ("EFFECTIVE", 2), ("ACCEPTED", 3), ("EFFECTIVE", 3)])


@pytest.mark.parametrize(
    ("here", "there", "words"),
    [(["ROLLED_BACK"], ["STABLE", "SHADOW"], [("EFFECTIVE", 3), ("SUPERSEDED", 3)]), (["STABLE", "SHADOW"], ["ROLLED_BACK"], [("EFFECTIVE", 4)])],
)
def test_of_two_lines_that_were_made_apart_the_longer_one_stands(here: list[str], there: list[str], words: list[tuple[str, int]]) -> None:
    """Whatever the rank of the two of one number: what is in force goes on from one of them, and the other is superseded."""
    link = to_canary(CAREFUL)
    link.cut = lambda sender, to, message: THREE in (sender, to)
    for node, steps in ((ONE, here), (THREE, there)):
        for step in steps:
            link.tell(node, roll(step, LAX if step == "SHADOW" else "", name=f"{step} {node}"), "operator")
            link.run(SECOND)
    link.cut = lambda sender, to, message: False
    link.run(3 * SECOND)
    assert in_force(link).stage == "SHADOW"
    assert said(link)[-len(words) :] == words


@pytest.mark.parametrize(
    "other", [roll("CANARY", LAX), roll("CANARY", CAREFUL, percent=10), roll("CANARY", CAREFUL, guard=1), roll("STABLE"), roll("SHADOW", CAREFUL)]
)
def test_a_request_that_asks_for_something_else_under_a_used_name_is_refused(other: RolloutRequest) -> None:
    link = to_canary(CAREFUL)
    link.tell(ONE, other, "operator")
    assert link[ONE].sent(RolloutStatus)[-1].stage == "REFUSED"
    assert "asked for something else" in link[ONE].sent(RolloutStatus)[-1].why
    assert (in_force(link).seq, in_force(link).stage) == (2, "CANARY")
    link.tell(ONE, roll("CANARY"), "operator")
    assert said(link)[-1] == ("EFFECTIVE", 2), "the text may be left out: it is on trial already"
