"""Messages as bytes: what each version makes of each other's, what flipped bits become, and 20,000 hostile frames."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from benchmarks import hostile
from killswitch.core.countersigns import CountersignedRequest
from killswitch.core.messages import LeaseReply, LeaseRequest, Message, OrderPush, OrderStatus, Token, UnknownProhibition
from sim import frames
from sim.frames import CRITICAL, CURRENT, NEXT_MAJOR, NEXT_MINOR, PREVIOUS

SENDER, TO = hostile.SENDER, hostile.RECEIVER
PUSH = next(message for message in hostile.TRUE if isinstance(message, OrderPush))
REPLY = next(message for message in hostile.TRUE if isinstance(message, LeaseReply))
REQUEST = LeaseRequest("acme/1", Token(1, 1, "i"), "n", "view", 5, "RUNNING", (), 7)


def across(message: Message, spoken: str, understood: str) -> Message | None:
    return frames.across(message, SENDER, TO, spoken, understood)


def test_one_version_understands_itself() -> None:
    assert [across(message, CURRENT, CURRENT) for message in (*hostile.TRUE, REQUEST)] == [*hostile.TRUE, REQUEST]


@pytest.mark.parametrize(("spoken", "understood"), [(PREVIOUS, CURRENT), (CURRENT, PREVIOUS), (PREVIOUS, NEXT_MINOR), (NEXT_MINOR, PREVIOUS)])
def test_the_previous_version_lacks_what_the_last_one_added_and_nothing_else(spoken: str, understood: str) -> None:
    assert across(PUSH, spoken, understood) == PUSH
    assert across(REPLY, spoken, understood) == REPLY
    assert across(REQUEST, spoken, understood) == REQUEST
    read = across(OrderStatus("r", "o", "EFFECTIVE", 2, "", 1), spoken, understood)
    assert isinstance(read, OrderStatus)
    assert (read.keys, read.copies) == (0, 2)
    assert across(CountersignedRequest("r", b"", b"", ()), spoken, understood) is None


def test_the_next_minor_version_is_read_without_what_it_added() -> None:
    assert [across(message, NEXT_MINOR, CURRENT) for message in (PUSH, REPLY, REQUEST)] == [PUSH, REPLY, REQUEST]


@pytest.mark.parametrize("spoken", [NEXT_MAJOR, CRITICAL])
def test_what_cannot_be_read_is_enforced_if_it_forbids_and_refused_if_it_permits(spoken: str) -> None:
    read = across(PUSH, spoken, CURRENT)
    assert isinstance(read, UnknownProhibition)
    assert (read.gate, read.life, read.sender) == (2, 2, SENDER)
    assert across(REPLY, spoken, CURRENT) is None


@pytest.mark.parametrize("understood", [NEXT_MINOR, NEXT_MAJOR, CRITICAL])
def test_what_is_later_reads_all_that_is_earlier(understood: str) -> None:
    assert across(REQUEST, CURRENT, understood) == REQUEST


def test_a_frame_counts_for_nobody_but_its_ends() -> None:
    frame = hostile.TRUE_FRAMES[0]
    assert frames.read(frame, SENDER, TO) == hostile.TRUE[0]
    assert frames.read(frame, "replica/2", TO) is None
    assert frames.read(frame, SENDER, "sidecar/acme/2") is None


def test_bits_that_flip_cost_the_frame() -> None:
    dice = Random(1)
    changed = [frames.corrupted(message, SENDER, TO, dice.randrange) for message in hostile.TRUE for _ in range(200)]
    assert [message for message in changed if message is not None] == []


def test_hostile_frames_raise_nothing_and_are_believed_in_nothing() -> None:
    fates = Counter(hostile.judged(frame) for frame in hostile.frames(20_000, seed=1))
    assert sum(fates.values()) == 20_000
    assert min(fates.values()) > 500
