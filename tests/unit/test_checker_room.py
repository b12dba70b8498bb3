"""S11 on hand-made histories: what a disk takes that has no room but a reserve."""

from __future__ import annotations

import pytest

from harness.checkers.bounds import HOST_LAG_NS
from harness.checkers.room import PERMISSIONS, PROHIBITIONS
from harness.verdict import Verdict
from killswitch.core import audit
from tests.unit.histories import SECOND, SIDECAR, Story


def full(node: str = SIDECAR) -> Story:
    story = Story()
    story.start_all()
    story.at(SECOND).say("disk-full", node, lsn=4)
    return story


def record(story: Story, lsn: int, kind: str, node: str = SIDECAR, *, own: bool = False) -> int:
    return story.say("recorded-without-room", node, lsn=lsn, what=kind, own=own)


def use(story: Story, lsn: int, kind: str, node: str = SIDECAR) -> int:
    return story.say("reserve-used", node, lsn=lsn, what=kind)


def test_what_the_protocol_reserves_room_for_is_what_the_core_does() -> None:
    assert {kind for kind in PROHIBITIONS | PERMISSIONS if audit.is_reserved(kind)} == PROHIBITIONS == audit.RESERVED


@pytest.mark.parametrize("kind", sorted(PERMISSIONS))
def test_no_permission_is_recorded_before_there_is_room(kind: str) -> None:
    story = full()
    recorded = record(story, 5, kind)
    finding = story.judged("S11")
    assert (finding.verdict, finding.witness) == (Verdict.INVALID, (recorded,))


@pytest.mark.parametrize(("kind", "own", "verdict"), [
    ("POLICY_ROLLOUT", True, Verdict.INVALID), ("POLICY_INSTALLED", True, Verdict.INVALID),
    ("POLICY_ROLLOUT", False, Verdict.VALID),  # a peer's
    ("POLICY_ROLLBACK", True, Verdict.VALID),  # its guard's
])  # fmt: skip
def test_no_rollout_is_taken_on_before_there_is_room(kind: str, own: bool, verdict: Verdict) -> None:
    story = full("replica/1")
    recorded = record(story, 5, kind, "replica/1", own=own)
    finding = story.judged("S11")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (recorded,)


@pytest.mark.parametrize("node", [SIDECAR, "replica/1"])
def test_prohibitions_use_the_reserve_and_with_them_whatever_waited(node: str) -> None:
    story = full(node)
    record(story, 5, "LEASE_LOST", node)
    record(story, 6, "EVIDENCE", node)
    use(story, 6, "EVIDENCE", node)
    assert (story.judged("S11").verdict, story.judged("S11").examined) == (Verdict.VALID, 4)


def test_nothing_else_uses_it() -> None:
    story = full()
    record(story, 5, "LEASE_LOST")
    used = use(story, 5, "LEASE_LOST")
    assert (story.judged("S11").verdict, story.judged("S11").witness) == (Verdict.INVALID, (used,))


def kept_waiting(waits_ns: int, *, first: str = "EVIDENCE") -> Story:
    """A record is not durable before another comes, so long after it."""
    story = full()
    record(story, 5, first)
    story.at(story.at_ns + waits_ns)
    record(story, 6, "GATE_CHANGE")
    use(story, 6, "GATE_CHANGE")
    return story


@pytest.mark.parametrize(("waits_ns", "verdict"), [(HOST_LAG_NS, Verdict.VALID), (HOST_LAG_NS + 1, Verdict.INVALID)])
def test_no_prohibition_waits_for_another(waits_ns: int, verdict: Verdict) -> None:
    finding = kept_waiting(waits_ns).judged("S11")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (9, 11)


def test_what_is_no_prohibition_waits() -> None:
    assert kept_waiting(60 * SECOND, first="LEASE_LOST").judged("S11").verdict is Verdict.VALID


@pytest.mark.parametrize("excuse", ["slow", "crashed", "freed", "failed"])
def test_what_may_have_kept_it_waiting(excuse: str) -> None:
    story = full()
    if excuse == "slow":
        story.fault("disk-slow", SIDECAR)
    record(story, 5, "EVIDENCE")
    if excuse == "crashed":
        story.crash(SIDECAR)
        story.start(SIDECAR, boot="boot-2", instance="b")
    elif excuse == "freed":
        story.say("disk-freed", SIDECAR)
    elif excuse == "failed":
        story.say("disk-failed", SIDECAR, lsn=5)
    story.at(60 * SECOND).say("disk-full", SIDECAR, lsn=6)
    record(story, 6, "EVIDENCE")
    use(story, 6, "EVIDENCE")
    assert story.judged("S11").verdict is Verdict.VALID


def test_a_reserve_that_is_spent_keeps_everything_waiting() -> None:
    story = full()
    record(story, 5, "EVIDENCE")
    story.at(60 * SECOND)
    record(story, 6, "EVIDENCE")
    assert story.judged("S11").verdict is Verdict.VALID
