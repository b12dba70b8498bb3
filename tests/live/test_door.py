"""The agent's door, with a sidecar's core played by the test: journal, checkpoints, and programs that say anything at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from killswitch.core import audit, checkpoints
from killswitch.core.messages import EffectRequest, EffectResult, Message, ResolveRequest, ResolveResult, StopAck, StopRequest
from killswitch.live.clock import NodeClock
from killswitch.live.door import LINE_MAX, Door
from killswitch.live.log import SqliteLog

pytestmark = pytest.mark.live


class Core:
    """What a sidecar's core would say to its agent. ``applies``, ``resolves``: what becomes of effects and questions; ``silent``: it says nothing."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self.door: Door | None = None
        self.applied = 0
        self.silent = False
        self.applies = "APPLIED"
        self.resolves = "ABSENT"

    async def deliver(self, sender: str, message: Message) -> None:
        assert sender == "agent/acme/a1" and self.door is not None
        self.heard.append(message)
        if self.silent:
            return
        if isinstance(message, EffectRequest):
            self.applied += 1
            self.door.hear(EffectResult(message.key, self.applies, f"result {self.applied}"))
        elif isinstance(message, ResolveRequest):
            self.door.hear(ResolveResult(message.key, self.resolves, "found"))


class Program:
    """An agent's end of the door."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, **said: Any) -> None:
        self.writer.write(json.dumps(said).encode() + b"\n")

    async def hear(self) -> dict[str, Any]:
        line = await asyncio.wait_for(self.reader.readline(), 3)
        assert line, "the door was closed"
        heard: dict[str, Any] = json.loads(line)
        return heard

    async def ask(self, **said: Any) -> dict[str, Any]:
        self.say(**said)
        return await self.hear()

    def leave(self) -> None:
        self.writer.transport.abort()


Scene = Callable[[Core, Callable[[], Awaitable[Program]]], Awaitable[None]]


def play(directory: Path, scene: Scene) -> None:
    async def staged() -> None:
        core = Core()
        door = core.door = Door("acme/a1", ("sink/acme/ledger",), directory / "sock", directory / "agent", NodeClock(), core.deliver)
        await door.open()
        door.begin()
        programs: list[Program] = []

        async def enter() -> Program:
            programs.append(Program(*await asyncio.open_unix_connection(str(directory / "sock"))))
            return programs[-1]

        try:
            await scene(core, enter)
        finally:
            for program in programs:
                program.leave()
            await door.close()

    asyncio.run(asyncio.wait_for(staged(), 20))


def kinds(directory: Path) -> list[str]:
    log = SqliteLog(directory / "agent" / "agent.db")
    records = log.read_apart()
    log.close()
    assert audit.verify(records) == len(records)
    return [record.kind for record in records]


def test_an_effect_is_intended_durably_before_it_is_asked_for_and_answered_alike_for_ever(tmp_path: Path) -> None:
    effect = {"do": "effect", "task": "t", "step": 0, "sink": "ledger"}

    async def first(core: Core, enter: Callable[[], Awaitable[Program]]) -> None:
        program = await enter()
        deliver, seen = core.deliver, []

        async def looked(sender: str, message: Message) -> None:
            seen.append(kinds(tmp_path))
            await deliver(sender, message)

        assert core.door is not None
        core.door._deliver = looked
        assert await program.ask(id=1, payload={"buy": [1, 2]}, **effect) == {"id": 1, "status": "APPLIED", "result": "result 1"}
        assert seen == [["INTENT"]]
        assert [json.loads(each.payload or b"") for each in core.heard if isinstance(each, EffectRequest)] == [{"buy": [1, 2]}]
        assert await program.ask(id=2, **effect) == {"id": 2, "status": "APPLIED", "result": "result 1"}
        assert core.applied == 1

    async def after_a_restart(core: Core, enter: Callable[[], Awaitable[Program]]) -> None:
        assert (await (await enter()).ask(id=1, **effect))["result"] == "result 1"
        assert core.heard == []

    play(tmp_path, first)
    play(tmp_path, after_a_restart)
    assert kinds(tmp_path) == ["INTENT", "RESULT"]


@pytest.mark.parametrize(("resolves", "status", "applied"), [("ABSENT", "APPLIED", 1), ("APPLIED", "APPLIED", 0), ("IN_DOUBT", "IN_DOUBT", 0)])
def test_what_an_earlier_start_never_heard_of_is_resolved_first(tmp_path: Path, resolves: str, status: str, applied: int) -> None:
    effect = {"do": "effect", "task": "t", "step": 1, "sink": "ledger"}

    async def killed(core: Core, enter: Callable[[], Awaitable[Program]]) -> None:
        core.silent = True
        program = await enter()
        program.say(id=1, **effect)
        while not core.heard:  # noqa: ASYNC110  # a list sets no Event
            await asyncio.sleep(0.01)

    async def recovering(core: Core, enter: Callable[[], Awaitable[Program]]) -> None:
        core.resolves = resolves
        program = await enter()
        assert (await program.ask(id=0, do="hello"))["open"] == [{"task": "t", "step": 1, "sink": "ledger"}]
        assert (await program.ask(id=1, **effect))["status"] == status
        assert [type(message) for message in core.heard] == [ResolveRequest] + [EffectRequest] * applied
        await program.ask(id=2, do="stopping")
        assert core.heard[-1] == StopAck(1, ("t",))  # it was never done

    play(tmp_path, killed)
    play(tmp_path, recovering)


def test_what_is_left_behind_says_what_is_over_and_what_is_not(tmp_path: Path) -> None:
    async def scene(core: Core, enter: Callable[[], Awaitable[Program]]) -> None:
        program = await enter()
        for task in ("finished", "begun"):
            await program.ask(do="effect", task=task, step=0, sink="ledger")
        await program.ask(do="done", task="finished")
        core.applies = "DENIED"
        assert (await program.ask(do="effect", task="refused", step=0, sink="ledger"))["status"] == "DENIED"
        await program.ask(do="checkpoint", state={"n": 1})
        await program.ask(do="stopping", in_doubt=["mine"])
        assert core.heard[-1] == StopAck(2, ("begun", "mine"))

    play(tmp_path, scene)
    slots = [(tmp_path / "agent" / "checkpoints" / f"slot{number}").read_bytes() for number in (0, 1)]
    kept = checkpoints.choose(tuple(slots), 100)
    assert kept is not None
    assert (kept.generation, kept.ended) == (2, {"finished": "COMPLETED", "refused": "ROLLED_BACK"})
    assert {task: (begun.done, begun.in_doubt) for task, begun in kept.open.items()} == {"begun": (1, False), "mine": (0, True)}


def test_checkpoints_survive_and_a_torn_one_gives_way_to_the_one_before(tmp_path: Path) -> None:
    async def writing(core: Core, enter: Callable[[], Awaitable[Program]]) -> None:
        program = await enter()
        assert (await program.ask(id=0, do="hello"))["checkpoint"] is None
        for number in (1, 2, 3):
            assert await program.ask(id=number, do="checkpoint", state={"n": number}) == {"id": number, "generation": number}

    async def reading(core: Core, enter: Callable[[], Awaitable[Program]]) -> None:
        program = await enter()
        assert (await program.ask(id=0, do="hello"))["checkpoint"] == {"generation": 2, "state": {"n": 2}}
        assert (await program.ask(id=1, do="checkpoint", state=4))["generation"] == 3

    play(tmp_path, writing)
    slot = tmp_path / "agent" / "checkpoints" / "slot1"
    slot.write_bytes(slot.read_bytes()[:-3])
    play(tmp_path, reading)


def test_a_program_that_talks_nonsense_hurts_only_itself(tmp_path: Path) -> None:
    async def scene(core: Core, enter: Callable[[], Awaitable[Program]]) -> None:
        program = await enter()
        deep = b"[" * 100_000 + b"\n"
        for line in (deep, b"\n", b"null\n", b"[1]\n", b'{"do": 7}\n', b'{"do": "hello", "sudo": 1}\n', b"\xff\xfe\n", b'{"do": "rm"}\n'):
            program.writer.write(line)
            assert "error" in await program.hear()
        for wrong in ({"sink": "other"}, {"step": -1}, {"task": ""}, {"class": "root"}, {"payload": "x" * (1 << 16)}):
            asked: dict[str, Any] = {"do": "effect", "task": "t", "step": 0, "sink": "ledger"}
            assert "error" in await program.ask(**(asked | wrong))
        for excess in (1, 10, 2 * LINE_MAX):  # with and without its end in the buffer
            program.writer.write(b"x" * (LINE_MAX + excess) + b"\n")
            assert f"a line of more than {LINE_MAX} bytes" in (await program.hear())["error"]
        assert (await program.ask(id=3, do="checkpoint", state=None)) == {"id": 3, "generation": 1}
        assert core.heard == []
        other = await enter()
        assert (await other.ask(id=1, do="hello"))["agent"] == "acme/a1"
        assert core.door is not None
        core.door.hear(StopRequest(True))
        core.door.hear(StopRequest(True))  # the sidecar reminds; the program is told once
        core.door.hear(StopRequest(False))
        assert [(await other.hear())["drain"] for _ in range(2)] == [True, False]
        assert (await other.ask(id=2, do="hello"))["stop"] == {"drain": False}

    play(tmp_path, scene)


def test_what_is_wrong_with_a_request_is_said_to_who_asked_and_nothing_is_lost_by_it(tmp_path: Path) -> None:
    async def scene(_core: Core, enter: Callable[[], Awaitable[Program]]) -> None:
        program = await enter()
        assert (await program.ask(id=1, do="checkpoint", state={"n": 1}))["generation"] == 1
        for asked, why in (
            ({"do": "checkpoint"}, "checkpoint: needs a state"),
            ({"do": "done"}, "done: needs a task"),
            ({"do": "done", "task": "tsak"}, "done: no effect of such a task was ever asked for here, or long ago; open: none (got 'tsak')"),
            ({"do": "effect", "task": "t", "step": -1, "sink": "ledger"}, "step: from 0 on (got -1)"),
            ({"do": "effect", "task": "t", "sink": "lodger"}, "sink: one of ledger (got 'lodger')"),
            ({"do": "effect", "task": 7, "sink": "ledger"}, "no request"),
            ({"do": "hello", "sudo": 1}, "no request"),
        ):
            answer = await program.ask(id="mine", **asked)
            assert answer["id"] == "mine"
            assert why in answer["error"]
        assert (await program.ask(id=2, do="hello"))["checkpoint"] == {"generation": 1, "state": {"n": 1}}
        assert (await program.ask(id=3, do="checkpoint", state=None))["generation"] == 2

    play(tmp_path, scene)


def test_a_step_that_is_asked_for_twice_at_once_is_taken_once(tmp_path: Path) -> None:
    effect = {"do": "effect", "task": "t", "step": 0, "sink": "ledger"}

    async def scene(core: Core, enter: Callable[[], Awaitable[Program]]) -> None:
        program = await enter()
        program.say(id=1, **effect)
        program.say(id=2, **effect)
        answers = {answer.pop("id"): answer for answer in [await program.hear(), await program.hear()]}
        assert answers[1] == {"status": "APPLIED", "result": "result 1"}
        assert "under way already" in answers[2]["error"]
        assert core.applied == 1

    play(tmp_path, scene)
    assert kinds(tmp_path) == ["INTENT", "RESULT"]


def test_checkpoints_that_are_asked_for_at_once_take_a_generation_each(tmp_path: Path) -> None:
    async def scene(_core: Core, enter: Callable[[], Awaitable[Program]]) -> None:
        programs = [await enter() for _ in range(4)]
        for number, program in enumerate(programs):
            program.say(id=number, do="checkpoint", state=number)
        assert sorted([(await program.hear())["generation"] for program in programs]) == [1, 2, 3, 4]

    play(tmp_path, scene)
