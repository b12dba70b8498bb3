"""What a driver owes the core (`killswitch.core.events`), and what can happen to a process, tried with a machine that follows a script."""

from __future__ import annotations

import pytest

from harness.shared.history import VOCABULARY
from harness.shared.implementation import Killswitch
from killswitch.core.events import (
    AcknowledgeTask,
    Boot,
    DiskFailed,
    Durable,
    Effect,
    Exit,
    Input,
    Receive,
    Send,
    SetTimer,
    Signal,
    SignalKind,
    Spawn,
    Submit,
    Timer,
)
from killswitch.core.messages import Task, Token
from scenarios import load
from scenarios.draw import draw
from scenarios.schedule import Tape as TapeSpec
from sim.driver import play
from sim.node import TIMER_LAG_NS
from sim.processes import KILL_NS, SPAWN_NS
from tests.sim.stage import ASK, BENIGN, MS, SYNC_NS, Stage

TOKEN = Token(1, 1, "a")


# -- durability


def test_a_send_waits_for_its_record_and_no_longer() -> None:
    stage = Stage()
    stage.follow(Boot=lambda _: [Send("later", ASK, 1), Send("now", ASK), stage.append(), Send("last", ASK, 2), stage.append()])
    stage.node.boot_up()
    stage.play(100 * MS)
    assert stage.sends() == [(0, "now"), (SYNC_NS, "later"), (2 * SYNC_NS, "last")]


def test_what_waited_leaves_before_what_the_news_of_durability_brings_about() -> None:
    stage = Stage()
    stage.follow(Boot=lambda _: [stage.append(), Send("waited", ASK, 1)], Durable=[Send("answer", ASK)])
    stage.node.boot_up()
    stage.play(100 * MS)
    assert stage.taken(Durable) == [SYNC_NS]
    assert stage.sends() == [(SYNC_NS, "waited"), (SYNC_NS, "answer")]


def test_nothing_leaves_a_process_after_its_exit() -> None:
    stage = Stage()
    stage.follow(Boot=lambda _: [stage.append(), Send("goodbye", ASK, 1), Exit(0, 1), Send("ghost", ASK, 1)], Durable=[Send("ghost", ASK)])
    stage.agent.boot_up()
    stage.play(100 * MS)
    assert [what for _, what in stage.sends()] == ["goodbye"]


def test_a_send_does_not_wait_for_an_earlier_one_that_waits_for_more() -> None:
    stage = Stage()
    stage.follow(Boot=lambda _: [stage.append(), stage.append(), Send("two", ASK, 2), Send("one", ASK, 1)])
    stage.node.boot_up()
    stage.play(100 * MS)
    assert stage.sends() == [(SYNC_NS, "one"), (2 * SYNC_NS, "two")]


@pytest.mark.parametrize("power", [False, True])
def test_what_waits_dies_with_the_process(power: bool) -> None:
    stage = Stage(tape=TapeSpec(seed="7", benign=(*BENIGN, "disk.survives/sidecar/acme/1")))  # the record itself outlives the power loss
    stage.follow(Boot=lambda event: [] if event.records else [stage.append(), Send("never", ASK, 1), AcknowledgeTask("task", 1), Exit(0, 1)])
    stage.node.boot_up()
    stage.play(5 * MS)
    stage.node.die(power=power)
    stage.node.boot_up()
    assert stage.play(100 * MS) == []
    assert [kind for _, kind, _ in stage.facts] == ["log-folded", "node-crashed"]


def test_acknowledgements_and_exits_wait_like_sends() -> None:
    stage = Stage()
    stage.follow(Boot=lambda _: [stage.append(), AcknowledgeTask("task", 1), Exit(3, 1)])
    stage.agent.boot_up()
    stage.play(9 * MS)
    assert stage.did == []
    stage.play(100 * MS)
    assert [entry[1:] for entry in stage.did] == [("acknowledge", "task"), ("exit", 3)]
    assert not stage.agent.running


def test_nothing_is_durable_after_a_failed_sync() -> None:
    stage = Stage()
    stage.follow(Boot=lambda _: [stage.append(), Send("never", ASK, 1)], Receive=lambda _: [stage.append(), Send("nor this", ASK, 2)])
    stage.node.disk.failing |= {"f"}
    stage.node.boot_up()
    stage.play(20 * MS)
    stage.node.disk.failing = frozenset()
    stage.node.receive(Receive("x", ASK))
    stage.play(200 * MS)
    assert stage.taken(DiskFailed) == [SYNC_NS]
    assert stage.taken(Durable) == []
    assert stage.did == []


def test_a_boot_comes_first_with_exactly_what_survived() -> None:
    stage = Stage(tape=TapeSpec(seed="7", benign=BENIGN, fixed={"disk.survives/sidecar/acme/1": {"0": 1}}))
    stage.follow(Boot=lambda event: [] if event.records else [stage.append(), stage.append(), stage.append()])
    stage.node.boot_up()
    stage.play(SYNC_NS + 1)
    written = tuple(stage.node.disk.records)
    stage.node.die(power=True)
    stage.node.boot_up()
    boots = [event for _, event in stage.inputs if isinstance(event, Boot)]
    assert [(boot.records, boot.boot, boot.instance) for boot in boots] == [((), "boot-1", "1.1"), (written[:2], "boot-2", "2.2")]
    assert stage.facts[-1] == (SYNC_NS + 1, "node-crashed", {"lost_records": 1, "power": True})
    assert isinstance(stage.inputs[0][1], Boot)


def test_a_restart_on_the_same_boot_of_the_host_keeps_the_clock_running() -> None:
    stage = Stage()
    stage.node.boot_up()
    stage.play(50 * MS)
    stage.node.die(power=False)
    stage.node.boot_up()
    boots = [event for _, event in stage.inputs if isinstance(event, Boot)]
    assert [boot.boot for boot in boots] == ["boot-1", "boot-1"]
    assert len({boot.instance for boot in boots}) == 2
    assert stage.node.clock.read(50 * MS) == 50 * MS
    stage.node.die(power=True)
    assert stage.node.clock.read(50 * MS) == 0


def test_a_process_that_runs_does_not_boot_twice() -> None:
    stage = Stage()
    stage.node.boot_up()
    stage.node.boot_up()
    assert len(stage.taken(Boot)) == 1


def test_a_message_to_nobody_is_lost() -> None:
    stage = Stage()
    stage.node.receive(Receive("x", ASK))
    assert stage.inputs == []


def test_effects_are_carried_out_before_the_next_input() -> None:
    stage = Stage()
    stage.follow(Boot=[Send("first", ASK), Send("second", ASK)], Receive=[Send("third", ASK)])
    stage.node.boot_up()
    stage.node.receive(Receive("x", ASK))
    assert [what for _, what in stage.sends()] == ["first", "second", "third"]


# -- timers


def test_a_timer_comes_at_its_time_on_the_nodes_own_clock() -> None:
    stage = Stage(drift_ppm=250_000)
    stage.follow(Boot=[SetTimer("t", 100 * MS)])
    stage.node.boot_up()
    stage.play(1000 * MS)
    assert stage.taken(Timer) == [80 * MS]


def test_a_timer_may_be_late_by_its_lag_and_never_early() -> None:
    stage = Stage(tape=TapeSpec(seed="7"))
    stage.follow(Boot=[SetTimer(str(number), number * MS) for number in range(100)])
    stage.node.boot_up()
    stage.play(1000 * MS)
    late = [at - int(event.name) * MS for at, event in stage.inputs if isinstance(event, Timer)]
    assert len(late) == 100
    assert all(0 <= by < TIMER_LAG_NS for by in late)
    assert len(set(late)) > 50


@pytest.mark.parametrize(("drift_ppm", "expected"), [(-500_000, 150 * MS), (1_000_000, 100 * MS)])
def test_a_clock_that_changes_its_rate_never_makes_a_timer_early(drift_ppm: int, expected: int) -> None:
    """Half of the time passes at the old rate. A slower clock is waited for; a faster one is noticed late, which a timer may be."""
    stage = Stage()
    stage.follow(Boot=[SetTimer("t", 100 * MS)])
    stage.node.boot_up()
    stage.queue.at(50 * MS, lambda _: stage.node.clock.set_drift(50 * MS, drift_ppm))
    stage.play(1000 * MS)
    assert stage.taken(Timer) == [expected]
    assert stage.node.clock.read(expected) >= 100 * MS


def test_a_step_back_of_the_clock_makes_a_timer_wait() -> None:
    stage = Stage()
    stage.follow(Boot=[SetTimer("t", 100 * MS)])
    stage.node.boot_up()
    stage.queue.at(50 * MS, lambda _: stage.node.clock.step(50 * MS, -30 * MS))
    stage.play(1000 * MS)
    assert stage.taken(Timer) == [130 * MS]


def test_setting_a_timer_again_replaces_it_and_none_cancels_it() -> None:
    stage = Stage()
    effects = [SetTimer("t", 10 * MS), SetTimer("t", 30 * MS), SetTimer("u", 10 * MS), SetTimer("u", None), SetTimer("v", None)]
    stage.follow(Boot=effects)
    stage.node.boot_up()
    stage.play(1000 * MS)
    assert [(at, event) for at, event in stage.inputs[1:]] == [(30 * MS, Timer("t"))]


def test_timers_die_with_the_process() -> None:
    stage = Stage()
    stage.follow(Boot=lambda event: [SetTimer("t", 10 * MS)] if event.instance == "1.1" else [])
    stage.node.boot_up()
    stage.node.die(power=False)
    stage.node.boot_up()
    stage.play(100 * MS)
    assert stage.taken(Timer) == []


# -- its agent's process


def test_a_spawned_agent_starts_under_its_token_and_is_handed_its_tasks() -> None:
    stage = Stage()
    stage.follow(Receive=[Spawn(TOKEN)])
    stage.node.boot_up()
    stage.node.receive(Receive("x", ASK))
    stage.play(100 * MS)
    assert stage.taken(Boot) == [0, SPAWN_NS]
    boot = stage.inputs[-1][1]
    assert isinstance(boot, Boot)
    assert boot.token == TOKEN
    assert stage.did == [(SPAWN_NS, "hand-over", "agent/acme/1")]


def test_a_sidecar_that_dies_before_its_agent_is_up_starts_none() -> None:
    stage = Stage()
    stage.follow(Receive=[Spawn(TOKEN)])
    stage.node.boot_up()
    stage.node.receive(Receive("x", ASK))
    stage.node.die(power=False)
    stage.node.boot_up()
    stage.play(100 * MS)
    assert not stage.agent.running


@pytest.mark.parametrize("kind", [SignalKind.KILL, SignalKind.REAP_ORPHANS])
@pytest.mark.parametrize("alive", [True, False])
def test_a_kill_ends_the_agent_and_is_answered_whether_or_not_there_was_one(kind: SignalKind, alive: bool) -> None:
    stage = Stage()
    stage.follow(Receive=[Signal(kind)])
    stage.node.boot_up()
    if alive:
        stage.agent.boot_up()
    stage.node.receive(Receive("x", ASK))
    stage.play(100 * MS)
    assert not stage.agent.running
    assert stage.did == [(KILL_NS, "reap", -9 if alive else 0)]


@pytest.mark.parametrize("kind", [SignalKind.CONT, SignalKind.TERM])
def test_only_a_continue_wakes_a_stopped_agent(kind: SignalKind) -> None:
    stage = Stage()
    stage.follow(Submit=[Signal(kind)])
    stage.node.boot_up()
    stage.agent.boot_up()
    stage.agent.pause("one")
    stage.agent.pause("two")
    stage.agent.receive(Receive("x", ASK))
    stage.node.receive(Submit(Task("t", "s", 1, 1)))
    assert len(stage.taken(Receive)) == (kind is SignalKind.CONT)


# -- what must not happen


def test_a_step_that_raises_is_a_fact_and_the_end_of_its_process() -> None:
    stage = Stage()

    def fail(_: Input) -> list[Effect]:
        raise KeyError("mine")

    stage.follow(Boot=[SetTimer("t", 10 * MS)], Receive=fail)
    stage.node.boot_up()
    stage.node.receive(Receive("x", ASK))
    stage.play(100 * MS)
    assert [kind for _, kind, _ in stage.facts] == ["step-raised", "node-crashed"]
    assert stage.facts[0] == (0, "step-raised", {"error": "KeyError: 'mine' (on Receive)"})
    assert tuple(stage.facts[0][2]) == VOCABULARY["step-raised"][0]
    assert stage.taken(Timer) == []


def test_who_dies_in_the_middle_of_a_step_is_not_held_against_its_log() -> None:
    """A pause between a decision and its record, and a kill in that pause: the machine was ahead of its log, and nobody had been told (S15)."""
    schedule = draw(load.load(load.find("paused-across-its-lease")), 7000, "test")
    run = play(schedule, Killswitch())
    assert [fact for fact in run.history.of("log-folded") if fact.body["live"] != fact.body["folded"]] == []
    died = [fact for fact in run.history.of("node-crashed") if fact.node == "agent/acme/3"]
    assert died and not any(fact.node == "agent/acme/3" and fact.at_ns == died[0].at_ns for fact in run.history.of("log-folded"))


def test_a_fact_that_brings_on_a_fault_is_the_last_that_its_process_tells() -> None:
    """Faults that strike at a fact strike in the middle of the step that is being told: what it decided is neither on record nor sent (S15)."""
    runs = [play(draw(load.load(load.find("swarm-disks")), seed, "test"), Killswitch()) for seed in (30069, 30151)]
    for run in runs:
        assert [fact for fact in run.history.of("log-folded") if fact.body["live"] != fact.body["folded"]] == []
    struck = next(fact for fact in runs[1].history.of("fault-on") if fact.body["what"] == "disk-torn")
    told = [fact.kind for fact in runs[1].history if fact.node == struck.body["target"][0] and fact.at_ns == struck.at_ns]
    assert told[-1] == "node-crashed"
