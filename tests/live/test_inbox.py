"""What a node takes next, where more has come than it can take."""

from __future__ import annotations

import asyncio

import pytest

from killswitch.core.events import Durable, Input, ProcessExited, Receive, Submit, Timer
from killswitch.core.messages import GateNotice, Message, Order, OrderPush, Task
from killswitch.live.inbox import LANE_MAX, Inbox

pytestmark = pytest.mark.live

PUSH = OrderPush((Order(b"raw", "replica/1", b"signature"),), ())
WORK = Submit(Task("t", "sink/acme/ledger", 1, 0))
GONE = ProcessExited(0, False)


def said(sender: str, *numbers: int) -> list[Receive]:
    return [Receive(sender, GateNotice(number)) for number in numbers]


def taken(*came: Input) -> list[Input]:
    """In which order a node takes what ``came`` before it could take any of it."""

    async def scene() -> list[Input]:
        inbox: Inbox[Input] = Inbox()
        for event in came:
            if isinstance(event, Receive):
                await inbox.receive(event)
            else:
                inbox.put(event)
        return [await asyncio.wait_for(inbox.take(), 1) for _ in came]

    return asyncio.run(scene())


def test_what_came_of_own_steps_is_first_then_prohibitions_then_whoever_sends_in_turn() -> None:
    loud, quiet, stop = said("sidecar/acme/1", 1, 2, 3), said("sidecar/globex/1", 1), Receive("replica/2", PUSH)
    assert taken(*loud, *quiet, stop, Timer("gossip"), Durable(7)) == [Timer("gossip"), Durable(7), stop, loud[0], *quiet, *loud[1:]]


def test_prohibitions_of_several_senders_take_turns_too() -> None:
    one, other = Receive("replica/1", PUSH), Receive("replica/2", PUSH)
    assert taken(one, one, other) == [one, other, one]


def test_that_an_agent_is_gone_comes_after_all_that_it_said() -> None:
    words = said("agent/acme/1", 1, 2, 3)
    order = taken(*words, GONE, *said("replica/1", 1))
    assert order[-1] == GONE and [event for event in order if event in words] == words


def test_what_upstream_hands_over_waits_in_turn_like_anybodys_word() -> None:
    assert taken(WORK, WORK, *said("sidecar/acme/1", 1)) == [WORK, *said("sidecar/acme/1", 1), WORK]


def test_who_has_said_too_much_waits_and_nobody_else_does() -> None:
    async def scene() -> None:
        inbox: Inbox[Input] = Inbox()
        message: Message = GateNotice(0)
        for _ in range(LANE_MAX):
            await asyncio.wait_for(inbox.receive(Receive("loud", message)), 1)
        held = asyncio.create_task(inbox.receive(Receive("loud", message)))
        await asyncio.wait_for(inbox.receive(Receive("quiet", message)), 1)
        await asyncio.sleep(0)
        assert not held.done()
        assert (await inbox.take(), await inbox.take()) == (Receive("loud", message), Receive("quiet", message))
        await asyncio.wait_for(held, 1)

    asyncio.run(scene())


def test_whoever_takes_waits_until_something_comes() -> None:
    async def scene() -> Input:
        inbox: Inbox[Input] = Inbox()
        asyncio.get_running_loop().call_later(0.02, inbox.put, Timer("late"))
        return await asyncio.wait_for(inbox.take(), 5)

    assert asyncio.run(scene()) == Timer("late")
