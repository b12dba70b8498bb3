"""What faults of agents do: each run with the fault differs from the one without it in the way that its row says."""

from __future__ import annotations

from typing import Any

import pytest

from scenarios.schedule import Entry
from sim.driver import Played
from tests.live.schedules import SIDECAR, fault, order
from tests.sim.worlds import MS, SECOND, facts_of, played

AGENT = "agent/acme/1"
STOP = order("soft", 1500 * MS)
GRACE_NS = 2 * SECOND


def on_agent(what: str, for_ns: int = 2 * SECOND, **settings: Any) -> Entry:
    return fault("f", what, SECOND, for_ns, targets=(AGENT,), **settings)


def run_of(*timeline: Entry) -> Played:
    return played(*timeline, duration_ns=8 * SECOND)


def stages(run: Played) -> list[str]:
    return [fact.body["stage"] for fact in facts_of(run, "evidence-sent", SIDECAR)]


def reaped_ns(run: Played) -> int:
    return facts_of(run, "process-reaped", SIDECAR)[0].at_ns


def test_without_a_fault_the_stop_is_clean_and_quick() -> None:
    run = run_of(STOP)
    assert stages(run)[-1] == "STOPPED_CLEAN"
    assert reaped_ns(run) < 1500 * MS + GRACE_NS // 2


def test_who_does_not_listen_works_on_until_it_is_killed() -> None:
    run = run_of(STOP, on_agent("ignore-stop", 6 * SECOND))
    assert stages(run)[-1] == "STOPPED_FORCED"
    assert reaped_ns(run) > 1500 * MS + GRACE_NS * 9 // 10
    assert facts_of(run, "process-killed", SIDECAR)


def test_who_drains_slowly_thinks_longer_before_each_step() -> None:
    def steps(*timeline: Entry) -> int:
        return sum(SECOND < fact.at_ns < 3 * SECOND for fact in facts_of(run_of(*timeline), "task-intent", AGENT))

    assert 0 < steps(on_agent("drain-slowly", by_ns=500 * MS)) < steps() // 2


@pytest.mark.parametrize("longer_ns", [MS, 300 * MS])
def test_children_hold_the_way_out_and_outlive_the_agent(longer_ns: int) -> None:
    run = run_of(STOP, on_agent("fork", 6 * SECOND, linger_ns=longer_ns))
    (crashed,) = facts_of(run, "node-crashed", AGENT)[:1]
    assert longer_ns <= reaped_ns(run) - crashed.at_ns < longer_ns + MS
    assert run.fired["f"] >= 1


@pytest.mark.parametrize("after", ["written", "renamed", "synced"])
@pytest.mark.parametrize("power", [0, 1])
def test_a_checkpoint_that_was_cut_short_is_never_told_of(after: str, power: int) -> None:
    run = run_of(STOP, on_agent("die-mid-checkpoint", after=after, power=power))
    begun = facts_of(run, "checkpoint-begun", AGENT)
    durable = [fact.body["generation"] for fact in facts_of(run, "checkpoint-durable", AGENT)]
    assert begun[0].body["generation"] not in durable[:1]
    assert stages(run)[-1] == "STOPPED_FORCED"


@pytest.mark.parametrize("how", ["leaves", "stays"])
def test_a_lie_is_not_believed(how: str) -> None:
    run = run_of(order("soft", 1270 * MS), on_agent("lie", 6 * SECOND, how=how))
    assert stages(run)[-1] == "STOPPED_FORCED"
    assert (reaped_ns(run) < 1600 * MS) is (how == "leaves")


def test_what_hangs_in_the_kernel_is_said_to_live_until_it_wakes_up_and_is_gone() -> None:
    run = run_of(order("hard", 1500 * MS), on_agent("unkillable", 3 * SECOND))
    assert stages(run)[-2:] == ["KILL_FAILED", "STOPPED_FORCED"]
    assert reaped_ns(run) >= 4 * SECOND
    assert facts_of(run, "node-paused", AGENT)
