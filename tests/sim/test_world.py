"""The world as a whole: pipes, upstream, the course of a run, and how one ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from msgspec.structs import replace

from harness.shared.history import Fact
from harness.shared.implementation import Killswitch
from harness.shared.operations import Stopped
from harness.single import simulate
from harness.verdict import Verdict
from killswitch.core import hlc
from killswitch.core.events import Effect, Input, Receive, Send, Submit
from killswitch.core.keys import Signer
from killswitch.core.machine import Machine, NodeConfig
from killswitch.core.messages import StopAck
from scenarios.schedule import Tape
from sim import queue as queues
from sim import world as worlds
from sim.driver import play
from sim.network import Impairment
from sim.queue import Queue, TooMuch
from sim.world import World
from tests.live.schedules import SIDECAR, fault, order, short
from tests.sim.worlds import MS, SECOND, facts_of, played


class Deaf:
    """A machine that takes whatever comes and does nothing."""

    def step(self, event: Input, now_ns: int) -> list[Effect]:
        return []

    def digest(self) -> str:
        return ""


class DeafWorld:
    name = "deaf"

    def machine(self, config: NodeConfig, signer: Signer) -> Machine:
        return Deaf()

    def installed(self) -> AbstractContextManager[None]:
        return nullcontext()


def test_a_run_has_a_beginning_a_heal_and_an_end() -> None:
    run = played(order("hard", SECOND))
    kinds = [fact.kind for fact in run.history]
    assert kinds[:2] == ["run-started", "topology"]
    assert kinds[-1] == "run-ended"
    assert kinds.count("healed") == 1
    assert (run.ended, run.simulated_ns) == ("complete", 5 * SECOND)
    assert facts_of(run, "healed")[0].at_ns == 3 * SECOND
    times = [fact.at_ns for fact in run.history]
    assert times == sorted(times)


def test_at_the_end_every_log_folds_to_what_its_node_holds() -> None:
    folded = facts_of(played(order("isolate", SECOND)), "log-folded")
    assert {fact.node for fact in folded} >= {"replica/1", "replica/2", "replica/3", SIDECAR, "sidecar/acme/2", "sink/acme/ledger"}
    assert all(fact.body["live"] == fact.body["folded"] and fact.body["chain_ok"] for fact in folded)


def test_a_watcher_may_end_the_run_and_the_end_says_why() -> None:
    seen: list[Fact] = []

    def watch(fact: Fact) -> None:
        seen.append(fact)
        if len(seen) == 100:
            raise Stopped("enough")

    run = play(short(), Killswitch(), watch)
    assert run.ended == "enough"
    assert run.history.facts[-1].body == {"reason": "enough"}
    assert run.history.facts[-2].kind == "stop-condition"
    assert run.history.facts[:-2] == seen


def test_a_run_that_records_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worlds, "FACTS_MAX", 200)
    run = play(short(), Killswitch())
    assert (run.ended, run.cut_short) == ("more than 200 facts", True)
    assert run.history.facts[-1].body == {"reason": "more than 200 facts"}
    result = simulate(short(), Killswitch()).result
    assert (result.verdict is Verdict.VALID, result.why) == (False, "cut short: more than 200 facts")


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_the_pipe_between_a_sidecar_and_its_agent_keeps_order_and_knows_no_fault(seed: str) -> None:
    schedule = replace(short(), tape=Tape(seed=seed))
    world = World(schedule, DeafWorld())
    for node in world.nodes.values():
        node.boot_up()
    world.network.block(SIDECAR, "agent/acme/1", "cut", "blackhole")
    for number in range(50):
        world.send(SIDECAR, "agent/acme/1", StopAck(number, ()))
    world.queue.play(MS)
    arrived = [event.message for _, node, event in world.trace.steps() if node == "agent/acme/1" and isinstance(event, Receive)]
    assert arrived == [StopAck(number, ()) for number in range(50)]


def test_only_a_sidecar_and_its_own_agent_share_a_host() -> None:
    world = World(short(), DeafWorld())
    assert world.on_one_host("agent/acme/1", SIDECAR)
    assert world.on_one_host(SIDECAR, "agent/acme/1")
    assert not world.on_one_host(SIDECAR, "agent/acme/2")
    assert not world.on_one_host("replica/1", "replica/1")
    assert not world.on_one_host(SIDECAR, "sink/acme/ledger")


@pytest.mark.parametrize("read_again", [False, True])
def test_a_message_brings_the_stamp_of_when_it_was_sent_though_it_is_read_from_bytes(read_again: bool) -> None:
    world = World(short(), DeafWorld())
    for node in world.nodes.values():
        node.boot_up()
    if read_again:
        world.network.impair(SIDECAR, "replica/1", Impairment("f", spoils=lambda source, target, message: StopAck(2, ())))
    sender, receiver = world.nodes[SIDECAR], world.nodes["replica/1"]
    sent = sender.stamp = hlc.tick(sender.stamp, sender.wall.read_ms(SECOND))
    world.send(SIDECAR, "replica/1", StopAck(1, ()))
    sender.stamp = hlc.tick(sender.stamp, sender.wall.read_ms(2 * SECOND))
    world.queue.play(SECOND // 2)
    assert sent <= receiver.stamp < sender.stamp


def test_a_message_to_a_stranger_goes_nowhere() -> None:
    world = World(short(), DeafWorld())
    world.send(SIDECAR, "sidecar/globex/9", StopAck(1, ()))
    world.queue.play(SECOND)
    assert world.trace.steps() == []


def test_a_task_is_handed_over_again_to_each_new_process_until_it_is_acknowledged() -> None:
    run = played(fault("f", "crash", 1500 * MS, targets=(SIDECAR,), restart_after_ns=100 * MS))
    submitted = {fact.body["task"] for fact in run.history.of("task-submitted")}
    ended = {fact.body["task"] for fact in run.history.of("task-acknowledged", "task-returned")}
    assert len(submitted) == 20
    assert ended == submitted
    handed = Counter(event.task.task for _, node, event in run.trace if node == "agent/acme/1" and isinstance(event, Submit))
    assert 0 < sum(count > 1 for count in handed.values()) < len(handed)


def test_an_implementation_is_in_force_while_it_is_played_and_no_longer() -> None:
    marks: list[str] = []

    class Marked(DeafWorld):
        def installed(self) -> AbstractContextManager[None]:
            class Mark(nullcontext[None]):
                def __enter__(self) -> None:
                    marks.append("in")

                def __exit__(self, *_: object) -> None:
                    marks.append("out")

            return Mark()

        def machine(self, config: NodeConfig, signer: Signer) -> Machine:
            assert marks == ["in"]
            return Deaf()

    play(short(), Marked())
    assert marks == ["in", "out"]


class Stranger(DeafWorld):
    """Somebody's implementation, whose machines do ``step``."""

    def __init__(self, step: Callable[[Input, int], Any]) -> None:
        self._step = step

    def machine(self, config: NodeConfig, signer: Signer) -> Machine:
        made = Deaf()
        made.step = self._step  # type: ignore[method-assign, assignment]
        return made


class Stillborn(DeafWorld):
    """Machines that cannot be made."""

    def __init__(self, error: BaseException | None) -> None:
        self._error = error

    def machine(self, config: NodeConfig, signer: Signer) -> Machine:
        if self._error is not None:
            raise self._error
        return None  # type: ignore[return-value]


def leave(event: Input, now_ns: int) -> list[Effect]:
    raise SystemExit(0)


@pytest.mark.parametrize(
    ("stranger", "why"),
    [
        (Stranger(leave), "SystemExit: 0"),
        (Stranger(lambda event, now_ns: None), "no list of effects"),
        (Stranger(lambda event, now_ns: [5]), "no list of effects"),
        (Stillborn(SystemExit(0)), "SystemExit: 0 (on machine())"),
        (Stillborn(ValueError("no")), "ValueError: no (on machine())"),
        (Stillborn(None), "it made none"),
    ],
)
def test_an_implementation_that_breaks_the_contract_is_a_finding_and_never_the_end_of_the_harness(stranger: DeafWorld, why: str) -> None:
    judged = simulate(short(), stranger)
    assert judged.result.verdict is Verdict.INVALID
    assert why in judged.history.of("step-raised")[0].body["error"]


def test_a_machine_without_a_digest_is_a_finding() -> None:
    class Mute(Killswitch):
        def machine(self, config: NodeConfig, signer: Signer) -> Machine:
            made = super().machine(config, signer)

            class Muted(Deaf):
                def step(self, event: Input, now_ns: int) -> list[Effect]:
                    return made.step(event, now_ns)

                def digest(self) -> str:
                    raise SystemExit(0)

            return Muted()

    judged = simulate(short(), Mute())
    assert judged.result.verdict is Verdict.INVALID
    assert "the fold of its log" in judged.history.of("step-raised")[0].body["error"]


def test_messages_that_breed_for_ever_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "EVENTS_MAX", 5_000)

    def breed(event: Input, now_ns: int) -> list[Effect]:
        return [Send("replica/1", StopAck(1, ())), Send("replica/2", StopAck(1, ()))]

    result = simulate(short(), Stranger(breed)).result
    assert result.why == "cut short: more than 5000 events"
    assert result.verdict is not Verdict.VALID


def test_time_that_stands_still_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "CROWD_MAX", 500)
    queue = Queue(lambda: 0)

    def again(_: object) -> None:
        queue.at(queue.now, again)

    queue.at(7, again)
    with pytest.raises(TooMuch, match="more than 500 events at one instant, 7 ns"):
        queue.play(8)


def test_as_many_events_as_may_be_at_one_instant_are_played_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "CROWD_MAX", 2)
    queue = Queue(lambda: 0)

    def twice(_: object) -> None:
        for _ in range(2):
            queue.at(queue.now, lambda _: None)

    for at in range(1, 6):
        queue.at(at, twice)
    queue.play(6)
    assert queue.now == 6
