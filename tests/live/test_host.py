"""The driver's side of the core's contract, clause by clause, with machines small enough to see through."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from killswitch.core.audit import Chain
from killswitch.core.events import (
    AcknowledgeTask,
    Boot,
    CheckpointDurable,
    DiskFailed,
    Durable,
    Effect,
    Exit,
    Input,
    ProcessExited,
    Receive,
    Send,
    SetTimer,
    Signal,
    SignalKind,
    Spawn,
    Timer,
    WriteCheckpoint,
)
from killswitch.core.messages import NO_TOKEN, GateNotice, Message, Token
from killswitch.live.checkpoint import Checkpoints
from killswitch.live.clock import NodeClock
from killswitch.live.host import EXIT_BUG, Host
from killswitch.live.log import LogFailed, NoRoom, SqliteLog
from killswitch.live.trace import Entry, Raised, Released, Step, TraceReader, TraceWriter

pytestmark = pytest.mark.live

React = Callable[["Scripted", Input, int], list[Effect]]
NOTICE = GateNotice(0)


class Scripted:
    """A machine that answers by a function and remembers what it was given."""

    def __init__(self, react: React) -> None:
        self.react = react
        self.seen: list[tuple[int, Input]] = []
        self.chain = Chain("boot")

    def step(self, event: Input, now_ns: int) -> list[Effect]:
        self.seen.append((now_ns, event))
        return self.react(self, event, now_ns)

    def digest(self) -> str:
        return ""

    def events(self, kind: type) -> list[Input]:
        return [event for _, event in self.seen if isinstance(event, kind)]


class Recorder:
    """Surroundings that write down what was asked of them, and when."""

    def __init__(self) -> None:
        self.acts: list[tuple[str, object]] = []
        self.on_gone: Callable[[int], None] | None = None

    def send(self, to: str, message: Message) -> None:
        self.acts.append(("send", message))

    def spawn(self, token: Token, on_gone: Callable[[int], None]) -> None:
        self.acts.append(("spawn", token))
        self.on_gone = on_gone

    def proceed(self) -> None:
        self.acts.append(("proceed", None))

    def checkpoints_left(self) -> tuple[bytes, ...]:
        return (b"left",)

    def terminate(self) -> None:
        self.acts.append(("terminate", None))

    def kill(self) -> None:
        self.acts.append(("kill", None))
        assert self.on_gone is not None
        self.on_gone(-9)

    def reap_orphans(self) -> bool:
        self.acts.append(("reap_orphans", None))
        return len([act for act, _ in self.acts if act == "reap_orphans"]) > 1  # some take a second try

    def acknowledge(self, task: str, outcome: str) -> None:
        self.acts.append(("acknowledge", (task, outcome)))

    def keyset_turned(self) -> None:
        self.acts.append(("keyset_turned", None))


class Stage:
    """A host on a directory, ready to run one machine."""

    def __init__(self, directory: Path, react: React, clock: NodeClock | None = None) -> None:
        self.machine = Scripted(react)
        self.around = Recorder()
        self.log = SqliteLog(directory / "log.db")
        self.trace = TraceWriter(directory / "trace")
        self.reader = TraceReader(directory / "trace")
        self.host = Host(self.machine, self.log, clock or NodeClock(), self.trace, self.around, Checkpoints(directory / "slots"))

    def run(self, within_s: float = 5.0) -> int:
        return asyncio.run(asyncio.wait_for(self.host.run(Boot(self.log.load()[0], "boot", "instance")), within_s))

    def entries(self) -> list[Entry]:
        return self.reader.read()


def test_what_waits_for_an_lsn_leaves_only_after_the_commit_and_in_order(tmp_path: Path) -> None:
    def react(machine: Scripted, event: Input, now_ns: int) -> list[Effect]:
        if isinstance(event, Boot):
            first, second = machine.chain.append("ONE", {}, 0), machine.chain.append("TWO", {}, 0)
            return [
                Send("peer", GateNotice(2), 2),
                first,
                Send("peer", GateNotice(1), 1),
                second,
                Send("peer", GateNotice(0)),
                AcknowledgeTask("task", 2),
                Exit(3, 2),
            ]
        return []

    stage = Stage(tmp_path, react)
    original = stage.log.append
    committed: list[int] = []

    def slow_append(records: list, stamps: list) -> None:  # type: ignore[type-arg]
        assert [act for act in stage.around.acts if act[1] != GateNotice(0)] == [], "left before its commit"
        time.sleep(0.05)
        original(records, stamps)
        committed.extend(record.seq for record in records)

    stage.log.append = slow_append  # type: ignore[method-assign, assignment]
    assert stage.run() == 3
    assert committed == [1, 2]
    assert stage.around.acts == [
        ("send", GateNotice(0)),
        ("send", GateNotice(2)),
        ("send", GateNotice(1)),
        ("acknowledge", ("task", "COMPLETED")),
    ]
    assert stage.machine.events(Durable) == [Durable(2)]
    entries = stage.entries()
    steps = [type(entry.event).__name__ for entry in entries if isinstance(entry, Step)]
    assert steps == ["Boot", "Durable"]
    assert sum(isinstance(entry, Released) for entry in entries) == 4
    assert [entry.at_ns for entry in entries] == sorted(entry.at_ns for entry in entries)


def test_a_keyset_on_record_is_told_of_at_once(tmp_path: Path) -> None:
    def react(machine: Scripted, event: Input, now_ns: int) -> list[Effect]:
        if isinstance(event, Boot):
            return [machine.chain.append("KEYSET", {}, 0), machine.chain.append("ONE", {}, 0), Exit(0, 2)]
        return []

    stage = Stage(tmp_path, react)
    assert stage.run() == 0
    assert stage.around.acts == [("keyset_turned", None)]


def test_a_failed_sync_is_told_for_good_and_nothing_that_waited_ever_leaves(tmp_path: Path) -> None:
    def react(machine: Scripted, event: Input, now_ns: int) -> list[Effect]:
        if isinstance(event, Boot):
            return [machine.chain.append("ONE", {}, 0), Send("peer", NOTICE, 1)]
        if isinstance(event, DiskFailed) and event.lsn == 1:
            return [machine.chain.append("TWO", {}, 0), Send("peer", NOTICE, 2)]
        return [Exit(0, 0)]

    stage = Stage(tmp_path, react)

    def broken_append(records: object, stamps: object) -> None:
        raise LogFailed("no disk")

    stage.log.append = broken_append  # type: ignore[method-assign, assignment]
    assert stage.run() == 0
    assert stage.machine.events(DiskFailed) == [DiskFailed(1), DiskFailed(2)]
    assert stage.machine.events(Durable) == []
    assert stage.around.acts == []


def test_a_record_that_comes_while_a_full_disk_is_tried_cuts_the_nap_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("killswitch.live.host.NAP_S", 3600.0)  # who sleeps through it does not end within the test
    came = threading.Event()

    def react(machine: Scripted, event: Input, now_ns: int) -> list[Effect]:
        if isinstance(event, Boot):
            return [machine.chain.append("ONE", {}, 0), SetTimer("second", now_ns), Exit(0, 2)]
        if isinstance(event, Timer):
            came.set()
            return [machine.chain.append("TWO", {}, 0)]
        return []

    stage = Stage(tmp_path, react)
    original = stage.log.append
    tries: list[int] = []

    def full_at_first(records: list, stamps: list) -> None:  # type: ignore[type-arg]
        tries.append(len(records))
        if len(tries) == 1:
            assert came.wait(5)
            time.sleep(0.05)  # until the step that it was seen in has been carried out
            raise NoRoom(0)
        original(records, stamps)

    stage.log.append = full_at_first  # type: ignore[method-assign,assignment]
    assert stage.run() == 0 and tries == [1, 2]


@pytest.mark.parametrize("drift_ppm", [-300_000, 0, 300_000])
def test_timers_are_never_early_on_the_nodes_own_clock(tmp_path: Path, drift_ppm: int) -> None:
    due: dict[str, int] = {}

    def react(machine: Scripted, event: Input, now_ns: int) -> list[Effect]:
        if isinstance(event, Boot):
            due.update({f"t{number}": now_ns + number * 7_000_000 for number in range(20)}, late=now_ns + 300_000_000)
            return [SetTimer(name, at_ns) for name, at_ns in due.items()]
        assert isinstance(event, Timer)
        assert now_ns >= due[event.name]
        return [Exit(0, 0)] if event.name == "late" else []

    clock = NodeClock(origin_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME), offset_ns=5, drift_ppm=drift_ppm)
    stage = Stage(tmp_path, react, clock)
    began = time.monotonic()
    assert stage.run() == 0
    assert time.monotonic() - began >= 0.3 / (1 + drift_ppm / 1e6)
    assert len(stage.machine.events(Timer)) == 21


def test_a_replaced_or_cancelled_timer_never_fires_even_if_it_was_due_already(tmp_path: Path) -> None:
    def react(machine: Scripted, event: Input, now_ns: int) -> list[Effect]:
        if isinstance(event, Boot):
            return [SetTimer("replaced", now_ns + 1), SetTimer("cancelled", now_ns + 1), SetTimer("slow", now_ns)]
        if event == Timer("slow"):
            time.sleep(0.02)  # meanwhile the other two have come due
            return [SetTimer("replaced", now_ns + 100_000_000), SetTimer("cancelled", None), SetTimer("end", now_ns + 150_000_000)]
        return [Exit(0, 0)] if event == Timer("end") else []

    stage = Stage(tmp_path, react)

    async def scene() -> int:
        # Both are due before the first turn of the loop, so that all three are in the inbox when "slow" is taken.
        return await asyncio.wait_for(stage.host.run(Boot((), "boot", "instance")), 5)

    asyncio.run(scene())
    fired = [(now_ns, event.name) for now_ns, event in stage.machine.seen if isinstance(event, Timer)]
    names = [name for _, name in fired]
    booted_ns = stage.machine.seen[0][0]
    if names[0] == "slow":
        assert names == ["slow", "replaced", "end"]
    assert all(now_ns - booted_ns >= 100_000_000 for now_ns, name in fired[names.index("slow") + 1 :] if name == "replaced")
    assert "cancelled" not in names[names.index("slow") :]


def test_processes_checkpoints_and_messages_come_back_as_inputs(tmp_path: Path) -> None:
    token = Token(1, 2, "x")

    def react(machine: Scripted, event: Input, now_ns: int) -> list[Effect]:
        match event:
            case Boot():
                return [Signal(SignalKind.REAP_ORPHANS)]
            case ProcessExited() if machine.events(ProcessExited)[1:]:
                return [Exit(0, 0)]
            case ProcessExited():
                return [Spawn(token), WriteCheckpoint(1, b"body")]
            case CheckpointDurable():
                return [Signal(SignalKind.CONT), Signal(SignalKind.TERM), Signal(SignalKind.KILL)]
        return []

    stage = Stage(tmp_path, react)

    async def scene() -> int:
        await stage.host.receive("peer", NOTICE)
        return await asyncio.wait_for(stage.host.run(Boot((), "boot", "instance")), 5)

    assert asyncio.run(scene()) == 0
    reaped = ProcessExited(-9, True, (b"left",))
    assert [event for _, event in stage.machine.seen[1:]] == [Receive("peer", NOTICE), reaped, CheckpointDurable(1), reaped]
    assert [act for act, _ in stage.around.acts] == ["reap_orphans", "reap_orphans", "spawn", "proceed", "terminate", "kill"]
    assert Checkpoints(tmp_path / "slots").load() == (b"body",)


def test_a_machine_that_raises_is_seen_and_ends_the_node(tmp_path: Path) -> None:
    def react(machine: Scripted, event: Input, now_ns: int) -> list[Effect]:
        raise KeyError("never")

    stage = Stage(tmp_path, react)
    assert stage.run() == EXIT_BUG
    (entry,) = stage.entries()
    assert isinstance(entry, Raised) and entry.error == "KeyError: 'never'"


def test_boot_brings_back_exactly_what_was_durable(tmp_path: Path) -> None:
    def react(machine: Scripted, event: Input, now_ns: int) -> list[Effect]:
        if isinstance(event, Boot):
            machine.chain = Chain("boot", event.records[-1] if event.records else None)
            return [machine.chain.append("NOTE", {}, 0), Exit(0, machine.chain.seq)]
        return []

    for life in range(3):
        stage = Stage(tmp_path, react)
        assert stage.run() == 0
        (boot,) = stage.machine.events(Boot)
        assert isinstance(boot, Boot) and len(boot.records) == life
        stage.log.close()


def test_a_trace_is_read_while_it_grows_and_a_torn_end_waits(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    reader = TraceReader(path)
    assert reader.read() == []
    step = Step(1, 2, Boot((), "boot", "instance", token=NO_TOKEN), [Send("peer", NOTICE), SetTimer("t", None)])
    TraceWriter(path).write(step)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:10])
    assert reader.read() == [step]
    assert reader.read() == []
    with path.open("ab") as more:
        more.write(whole[10:])
    assert reader.read() == [step]
