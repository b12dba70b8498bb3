"""The operator's client: asking until somebody has answered for good, and carrying a resume through (protocol 3.7, 3.8)."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

import pytest
from msgspec import structs

from killswitch.core import operator as client
from killswitch.core import trust
from killswitch.core.certificates import ResumeCertificate, ResumeDraft, ResumeDraftRequest, ResumeStatus, ResumeSubmit
from killswitch.core.events import Command, Send
from killswitch.core.intent import HARD, ISOLATE, SOFT
from killswitch.core.keys import KeyedHash
from killswitch.core.messages import COUNTER_MAX, OrderRequest, OrderStatus
from killswitch.core.stamps import Reading
from tests.unit import pair
from tests.unit.pair import REPLICAS, SECOND, TRUST, Link, cell, mode

STOP = Command("order", "stop-1", "alice", "acme", "tenant", "acme", 2, 0, 0, "runaway")
RESUME = Command("resume", "resume-1", "alice", "acme", "tenant", "acme", reason="all clear", approvers=("bob", "carol"))


def alone() -> Link:
    link = Link("operator")
    link.boot("operator")
    return link


def asked(link: Link, kind: type = OrderRequest) -> list[str]:
    """Which replicas were asked, in turn."""
    return [effect.to for effect in link["operator"].effects if isinstance(effect, Send) and isinstance(effect.message, kind)]


def test_a_stop_and_a_resume_from_command_to_effect() -> None:
    link = cell("operator")
    link.give("operator", STOP)
    link.run(SECOND)
    assert mode(link) == ("CLOSED", "STANDBY")
    assert not link["operator"].state.errands
    link.give("operator", RESUME)
    link.run(2 * SECOND)
    assert mode(link) == ("OPEN", "RUNNING")
    assert not link["operator"].state.errands


def test_it_asks_every_replica_in_turn_with_ever_longer_waits() -> None:
    link = alone()
    link.give("operator", STOP)
    started, times = link.now, []
    for _ in range(9):
        link.run(link["operator"].timers["stop-1"] - link.now)
        times.append(link.now - started)
    assert asked(link) == [REPLICAS[turn % 3] for turn in range(10)]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == client.RETRY_MAX_NS
    assert len({request.request for request in link["operator"].sent(OrderRequest)}) == 1, "the same request, so the same order"


def test_a_replica_that_is_named_is_asked_first() -> None:
    link = alone()
    for index, replica in enumerate(("replica/3", "no such replica")):
        link.give("operator", Command("order", f"r{index}", "alice", "acme", "tenant", "acme", 2, 2, 0, "now", replica=replica))
    assert asked(link) == ["replica/3", "replica/1"]


@pytest.mark.parametrize(("stage", "final"), [("ACCEPTED", False), ("EFFECTIVE", True), ("REFUSED", True), ("ALREADY_COVERED", True)])
def test_which_answers_end_an_errand(stage: str, final: bool) -> None:
    link = alone()
    link.give("operator", STOP)
    link.tell("operator", OrderStatus("another", "o", stage, 2), "replica/1")
    assert link["operator"].state.errands
    link.tell("operator", OrderStatus("stop-1", "o", stage, 2), "sink/acme/ledger")
    assert link["operator"].state.errands, "nobody but a replica answers for the control plane"
    link.tell("operator", OrderStatus("stop-1", "o", stage, 2), "replica/1")
    assert bool(link["operator"].state.errands) is not final
    assert bool(link["operator"].timers) is not final


@pytest.mark.parametrize(("stage", "final"), [("ASK_ANOTHER", False), ("REFUSED", True), ("NOTHING_TO_COVER", True)])
def test_who_cannot_draft_sends_it_to_the_next(stage: str, final: bool) -> None:
    link = alone()
    link.give("operator", RESUME)
    link.tell("operator", ResumeDraft("resume-1", stage, b"", 0, "why not"), "replica/1")
    assert bool(link["operator"].state.errands) is not final
    link.run(5 * SECOND)
    assert asked(link, ResumeDraftRequest)[:2] == (["replica/1"] if final else ["replica/1", "replica/2"])


def test_a_draft_is_approved_by_the_keys_at_hand_and_handed_in_where_it_came_from() -> None:
    link = alone()
    link["operator"].machine.state.trust = TRUST._replace(signer=KeyedHash(b"a cell of fakes", {"alice", "bob", "carol"}))
    link.give(
        "operator", Command("resume", "r", "alice", "acme", "tenant", "acme", approvers=("bob", "carol", "dave", "mallory"), replica="replica/2")
    )
    raw = pair.resume(pair.order(HARD)).raw
    link.tell("operator", ResumeDraft("r", "DRAFTED", raw, 2), "replica/2")
    (submit,) = link["operator"].sent(ResumeSubmit, "replica/2")
    assert [each.approver for each in submit.certificate.approvals] == ["alice", "bob", "carol"], "somebody without a key approves nothing"
    assert trust.read_certificate(TRUST, submit.certificate) is not None


def test_approvers_take_their_time_and_nothing_is_asked_again_meanwhile() -> None:
    link = alone()
    link.give("operator", structs.replace(RESUME, approve_after_ns=3 * client.RETRY_NS))
    raw = pair.resume(pair.order(HARD)).raw
    link.tell("operator", ResumeDraft("resume-1", "DRAFTED", raw, 2), "replica/1")
    link.run(2 * client.RETRY_NS)
    link.tell("operator", ResumeDraft("resume-1", "DRAFTED", pair.resume(pair.order(SOFT)).raw, 2), "replica/2")
    assert not link["operator"].sent(ResumeSubmit)
    link.run(2 * client.RETRY_NS)
    assert {submit.certificate.raw for submit in link["operator"].sent(ResumeSubmit)} == {raw}


@pytest.mark.parametrize("stage", ["NOTHING_TO_COVER", "REFUSED"])
def test_a_draft_that_comes_to_nothing_ends_the_errand(stage: str) -> None:
    link = alone()
    link.give("operator", RESUME)
    link.tell("operator", ResumeDraft("resume-1", stage, b"", 0), "replica/1")
    assert not link["operator"].state.errands


def test_people_approve_anew_what_they_were_not_shown() -> None:
    link = alone()
    link.give("operator", RESUME)
    link.tell("operator", ResumeDraft("resume-1", "DRAFTED", pair.resume(pair.order(SOFT)).raw, 2), "replica/1")
    link.tell("operator", ResumeStatus("resume-1", "c", "NEEDS_CONTEXT", ("another order",)), "replica/1")
    assert len(asked(link, ResumeDraftRequest)) == 2
    link.tell("operator", ResumeDraft("resume-1", "DRAFTED", pair.resume(pair.order(SOFT), pair.order(ISOLATE)).raw, 2), "replica/2")
    assert len({submit.certificate.raw for submit in link["operator"].sent(ResumeSubmit)}) == 2
    link.tell("operator", ResumeStatus("resume-1", "c", "ACCEPTED"), "replica/2")
    assert not link["operator"].state.errands


def test_somebody_without_a_key_asks_without_a_signature() -> None:
    link = alone()
    link["operator"].machine.state.trust = TRUST._replace(signer=KeyedHash(b"a cell of fakes", {"bob"}))
    link.give("operator", STOP)
    (request,) = link["operator"].sent(OrderRequest)
    assert request.signature == b""


@pytest.mark.parametrize("command", [STOP, RESUME, Command("policy", "try-1", "alice", "", "global", "", stage="ROLLED_BACK")])
def test_one_command_too_many_is_refused_aloud_and_costs_no_other_its_answer(command: Command) -> None:
    link = alone()
    for number in range(client.OPEN_MAX):
        link.give("operator", Command("order", f"{number}", "alice", "acme", "tenant", "acme", 2, 2, 0, "now"))
    sent = len(asked(link))
    link.give("operator", command)
    assert list(link["operator"].state.errands) == [f"{number}" for number in range(client.OPEN_MAX)]
    assert len(asked(link)) == sent
    assert command.request not in link["operator"].timers
    (told,) = link["operator"].observed("command-refused")
    assert (told["request"], told["verb"]) == (command.request, command.verb)
    for word in (command.request, str(client.OPEN_MAX), "ask again"):
        assert word in str(told["why"])
    assert not [fields for kind in ("order-requested", "resume-requested", "rollout-requested") for fields in link["operator"].observed(kind)
                if fields["request"] == command.request], "what was not sent was not asked for"  # fmt: skip


def test_a_retry_of_what_is_under_way_is_not_too_many_and_an_answer_makes_room() -> None:
    link = alone()
    for number in range(client.OPEN_MAX):
        link.give("operator", Command("order", f"{number}", "alice", "acme", "tenant", "acme", 2, 2, 0, "now"))
    sent = len(asked(link))
    link.give("operator", Command("order", "7", "alice", "acme", "tenant", "acme", 2, 2, 0, "now"))
    assert len(asked(link)) == sent + 1
    link.tell("operator", OrderStatus("7", "an order", "EFFECTIVE", 2), "replica/1")
    link.give("operator", STOP)
    assert STOP.request in link["operator"].state.errands
    assert link["operator"].observed("command-refused") == []


@pytest.mark.parametrize("other", [{"gate": 1, "life": 0}, {"grace_ns": 1}, {"reason": "another"}, {"scope_value": "other"}, {"tenant": "other"}])
def test_something_else_under_the_name_of_what_is_under_way_is_refused_aloud(other: dict[str, Any]) -> None:
    """Or the answer to the one would be the end of the other, which might be the kill."""
    link = alone()
    link.give("operator", STOP)
    sent = len(asked(link))
    link.give("operator", structs.replace(STOP, **other))
    assert link["operator"].state.errands[STOP.request].command == STOP
    assert len(asked(link)) == sent
    (told,) = link["operator"].observed("command-refused")
    assert "a name of its own" in str(told["why"])
    link.tell("operator", OrderStatus(STOP.request, "an order", "EFFECTIVE", 2), "replica/1")
    link.give("operator", structs.replace(STOP, **other))
    assert len(asked(link)) == sent + 1, "what is answered is under way no more"


def test_the_same_again_is_a_retry_whoever_is_asked_first() -> None:
    link = alone()
    link.give("operator", STOP)
    link.give("operator", structs.replace(STOP, replica="replica/2", approvers=("bob",)))
    assert link["operator"].observed("command-refused") == []


def test_a_restart_forgets_every_errand() -> None:
    link = alone()
    link.give("operator", STOP)
    link.boot("operator")
    assert not link["operator"].state.errands


def drafted(*ends: str) -> tuple[Link, ResumeSubmit]:
    """A resume that was approved, the draft of which heard those replicas."""
    link = alone()
    link.give("operator", RESUME)
    heard = [Reading(each, "boot-1", COUNTER_MAX) for each in ends]
    link.tell("operator", ResumeDraft("resume-1", "DRAFTED", pair.resume(pair.order(SOFT), ends=heard).raw, 2), "replica/1")
    (submit,) = link["operator"].sent(ResumeSubmit)
    return link, submit


def send_on(link: Link, submit: ResumeSubmit, sender: str, certificate: str = "") -> None:
    certificate = certificate or hashlib.sha256(submit.certificate.raw).hexdigest()
    link.tell("operator", ResumeStatus("resume-1", certificate, "ASK_ANOTHER", why="the draft did not hear this replica"), sender)


@pytest.mark.parametrize(
    ("heard", "answers", "asks_anew"),
    [
        (REPLICAS[:1], (2, 3, 0, 2), True),  # replica/1 was asked in between, and is silent
        (REPLICAS[:1], (2, 0, 3), True),
        (REPLICAS[:1], (2, 3, 0), False),
        (REPLICAS[:1], (2, 3), False),
        (REPLICAS, (2, 3, 0, 2), False),  # each may let it in, once it believes its clock
    ],
)
def test_what_nobody_is_left_to_let_in_is_drafted_anew(heard: tuple[str, ...], answers: tuple[int, ...], asks_anew: bool) -> None:
    """``answers``: who sends it on, try by try; 0: nobody answers."""
    link, submit = drafted(*heard)
    for replica in answers:
        link.run(link["operator"].timers["resume-1"] - link.now)
        for _ in range(3 if replica else 0):
            send_on(link, submit, f"replica/{replica}")  # said several times it counts once
    assert (len(asked(link, ResumeDraftRequest)) > 1) is asks_anew
    assert "resume-1" in link["operator"].state.errands


def test_what_is_said_of_an_earlier_certificate_counts_for_no_later_one() -> None:
    link, submit = drafted("replica/1")
    for _ in range(8):
        send_on(link, submit, "replica/2", certificate="another")
        link.run(link["operator"].timers["resume-1"] - link.now)
    assert len(asked(link, ResumeDraftRequest)) == 1


@pytest.mark.parametrize(
    "message",
    [
        ResumeDraft("stop-1", "DRAFTED", b"", 2),
        ResumeStatus("another", "c", "ACCEPTED"),
        ResumeDraft("another", "DRAFTED", b"", 2),
        ResumeCertificate(b"", ()),
    ],
)
def test_answers_to_what_was_not_asked_change_nothing(message: ResumeDraft | ResumeStatus | ResumeCertificate) -> None:
    link = alone()
    link.give("operator", STOP)
    sent = len(link["operator"].effects)
    link.tell("operator", message, "replica/1")
    assert list(link["operator"].state.errands) == ["stop-1"]
    assert len(link["operator"].effects) == sent


def test_whom_a_replica_sends_on_hands_in_the_same_at_the_next_in_its_time() -> None:
    link = alone()
    link.give("operator", RESUME)
    link.tell("operator", ResumeDraft("resume-1", "DRAFTED", pair.resume(pair.order(SOFT)).raw, 2), "replica/1")
    (submit,) = link["operator"].sent(ResumeSubmit)
    link.tell("operator", ResumeStatus("resume-1", "c", "ASK_ANOTHER", why="this replica doubts its clock"), "replica/1")
    assert link["operator"].state.errands
    link.run(5 * client.RETRY_NS)
    assert len(link["operator"].sent(ResumeSubmit)) > 1
    assert {each.certificate for each in link["operator"].sent(ResumeSubmit)} == {submit.certificate}
