"""The end of a resume certificate: counted on the clocks of those heard for its draft, strict where it is handed in, and nowhere else (3.8)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from killswitch.core import codec
from killswitch.core.certificates import ResumeBody, ResumeCertificate, ResumeStatus, ResumeSubmit
from killswitch.core.events import Command, Send
from killswitch.core.intent import HARD, ISOLATE
from killswitch.core.leases import PPM
from killswitch.core.messages import Gossip, IntentRead, IntentReply, Order, OrderPush
from killswitch.core.stamps import NO_READING, Reading
from tests.unit import pair
from tests.unit.one_sided import ONE, THREE, TWO, accept, alone, draft, drafts
from tests.unit.pair import PARAMETERS, REPLICAS, SECOND, Link, cell, id_of, mode, signed

VALID = 60 * SECOND
SHORT = structs.replace(PARAMETERS, approval_ns=VALID)
LEAST = VALID * (PPM - SHORT.drift_ppm) // PPM  # on a clock that is as slow as it may be, this much is all of it
STOP = pair.order(ISOLATE)


def plane(*orders: Order) -> Link:
    link = Link(*REPLICAS, parameters=SHORT)
    link.boot()
    for order in orders or (STOP,):
        accept(link, order, *REPLICAS)
    return link


def drafted(link: Link, node: str = ONE) -> ResumeCertificate:
    """A certificate from a draft that was really made, with its approvals."""
    link.tell(node, draft(), "operator")
    return signed(drafts(link, node)[-1].raw, "bob", "carol")


def body_of(certificate: ResumeCertificate) -> ResumeBody:
    body = codec.unpack(certificate.raw, ResumeBody)
    assert body is not None
    return body


def hand_in(link: Link, certificate: ResumeCertificate, node: str = ONE) -> str:
    """How the replica answers; empty if it does not."""
    before = len(link[node].sent(ResumeStatus))
    link.tell(node, ResumeSubmit("d", certificate), "operator")
    answered = [status.stage for status in link[node].sent(ResumeStatus)[before:]]
    return answered[-1] if answered else ""


# -- the draft --------------------------------------------------------------------------------------------------------------------------------


def test_a_draft_names_its_end_for_each_replica_that_was_heard() -> None:
    link = plane()
    link.run(5 * SECOND)
    ends = body_of(drafted(link)).ends
    assert len(ends) == 2, "n-k+1 were heard, and it was made at once"
    assert {(each.boot, each.clock_ns) for each in ends} == {("boot-1", link.now + LEAST)}


def test_the_answer_to_a_draft_says_when_it_was_given() -> None:
    link = alone(TWO)
    link.run(7 * SECOND)
    link.tell(TWO, IntentRead("d"), ONE)
    assert link[TWO].sent(IntentReply)[-1].read == Reading(TWO, "boot-1", link.now)


def test_two_people_may_call_what_they_ask_for_the_same() -> None:
    link = alone()
    accept(link, STOP)
    for person in ("alice", "erin"):
        link.tell(ONE, draft(by=person), "operator")
    for asked in link[ONE].sent(IntentRead)[::2]:
        link.tell(ONE, IntentReply(asked.nonce, (), (), True, 1, Reading(TWO, "boot-1", link.now)), TWO)
    assert [body_of(ResumeCertificate(each.raw, ())).requester for each in drafts(link)] == ["alice", "erin"]


@pytest.mark.parametrize("read", [NO_READING, Reading(ONE, "boot-1", 1 << 40), Reading(THREE, "boot-1", 1 << 40)])
def test_nobody_answers_for_another_clock_and_an_earlier_version_for_none(read: Reading) -> None:
    link = alone()
    accept(link, STOP)
    link.tell(ONE, draft(), "operator")
    asked = link[ONE].sent(IntentRead)[-1].nonce
    link.tell(ONE, IntentReply(asked, (), (), True, 1, read), TWO)
    (end,) = body_of(ResumeCertificate(drafts(link)[-1].raw, ())).ends
    assert (end.replica, end.clock_ns) == (ONE, link.now + PARAMETERS.approval_ns * (PPM - PARAMETERS.drift_ppm) // PPM)


# -- handing it in ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wait_ns", "stage"), [(0, "ACCEPTED"), (LEAST - 1, "ACCEPTED"), (LEAST, "EXPIRED"), (VALID, "EXPIRED")])
def test_it_is_let_in_before_its_end_and_not_at_it(wait_ns: int, stage: str) -> None:
    link = plane()
    certificate = drafted(link)
    link.run(wait_ns)
    assert hand_in(link, certificate) == stage
    assert (id_of(certificate) in link[ONE].state.intent.in_force) is (stage == "ACCEPTED")


def test_any_replica_that_was_heard_can_tell_and_any_other_leaves_it_to_those() -> None:
    link = plane()
    certificate = drafted(link)
    heard = {each.replica for each in body_of(certificate).ends}
    (unheard,) = set(REPLICAS) - heard
    assert hand_in(link, certificate, unheard) == "ASK_ANOTHER"
    assert not link[unheard].state.intent.certificates
    assert hand_in(link, certificate, max(heard)) == "ACCEPTED"


def test_a_process_that_starts_anew_can_still_tell_and_a_host_cannot() -> None:
    link = plane()
    certificate = drafted(link)
    link.boot(ONE)
    assert hand_in(link, certificate) == "ACCEPTED"
    link = plane()
    certificate = drafted(link)
    link.boot(ONE, boot="boot-2")
    assert hand_in(link, certificate) == "EXPIRED"


def test_who_doubts_his_own_clock_lets_nothing_in() -> None:
    link = plane()
    certificate = drafted(link)
    link[ONE].state.clock.suspected = True
    assert hand_in(link, certificate) == "ASK_ANOTHER"
    assert "doubts its clock" in link[ONE].sent(ResumeStatus)[-1].why
    assert not link[ONE].state.intent.certificates


def test_a_certificate_without_an_end_has_passed_it() -> None:
    link = plane()
    body = structs.replace(body_of(drafted(link)), ends=())
    assert hand_in(link, signed(codec.pack(body), "bob", "carol")) == "EXPIRED"


def test_nobody_puts_the_end_off_without_the_approvers() -> None:
    link = plane()
    certificate = drafted(link)
    later = tuple(structs.replace(each, clock_ns=each.clock_ns + VALID) for each in body_of(certificate).ends)
    forged = ResumeCertificate(codec.pack(structs.replace(body_of(certificate), ends=later)), certificate.approvals)
    link.run(VALID)
    assert hand_in(link, forged) == "REFUSED"


# -- what was let in stays --------------------------------------------------------------------------------------------------------------------


def test_what_was_let_in_stays_and_spreads_after_its_end() -> None:
    link = plane()
    certificate = drafted(link)
    link.cut = lambda sender, to, message: THREE in (sender, to)
    assert hand_in(link, certificate) == "ACCEPTED"
    link.run(2 * VALID)
    assert hand_in(link, certificate) == "ACCEPTED", "asked again it is told what became of it"
    link.cut = lambda sender, to, message: False
    link.run(5 * SECOND)
    assert all(id_of(certificate) in link[node].state.intent.in_force for node in REPLICAS)
    link.boot(ONE, boot="boot-2")
    assert id_of(certificate) in link[ONE].state.intent.in_force


def test_a_sidecar_takes_certificates_from_replicas_alone() -> None:
    link = cell()
    stop = pair.order(ISOLATE)
    link.tell(pair.SIDECAR, OrderPush((stop,), ()), ONE)
    for sender in ("operator", pair.LEDGER, "sidecar/acme/2"):
        link.tell(pair.SIDECAR, OrderPush((), (pair.resume(stop),)), sender)
        assert not link[pair.SIDECAR].state.intent.certificates
    link.tell(pair.SIDECAR, OrderPush((), (pair.resume(stop),)), ONE)
    assert link[pair.SIDECAR].state.intent.certificates


def test_replicas_take_what_a_peer_has_let_in_whatever_its_age() -> None:
    link = alone()
    accept(link, STOP)
    old = pair.resume(STOP, ends=(Reading(ONE, "boot-1", 0), Reading(TWO, "boot-0", 0)))
    link.run(SECOND)
    assert hand_in(link, old) == "EXPIRED"
    link.tell(ONE, Gossip("", certificates=(old,)), TWO)
    assert id_of(old) in link[ONE].state.intent.in_force


@pytest.mark.parametrize("sender", ["operator", pair.SIDECAR, pair.LEDGER, "replica/9"])
def test_replicas_take_no_certificate_from_whoever_has_let_in_none(sender: str) -> None:
    link = alone()
    accept(link, STOP)
    old = pair.resume(STOP, ends=(Reading(ONE, "boot-1", 0),))
    link.tell(ONE, IntentReply("", (pair.order(HARD),), (old,)), sender)
    assert not link[ONE].state.intent.certificates
    assert id_of(pair.order(HARD)) in link[ONE].state.intent.orders, "an order proves itself"


@given(st.integers(0, 2 * VALID), st.integers(-SHORT.drift_ppm, SHORT.drift_ppm), st.booleans())
def test_no_clock_within_the_promise_lets_in_what_is_too_old(waited_ns: int, drift_ppm: int, restarts: bool) -> None:
    link = plane()
    certificate = drafted(link)
    link.now += waited_ns * (PPM + drift_ppm) // PPM  # what the replica's own clock makes of the true time that went by
    if restarts:
        link.boot(ONE)
    stage = hand_in(link, certificate)
    if waited_ns > VALID:
        assert stage == "EXPIRED"
    elif waited_ns < LEAST * PPM // (PPM + SHORT.drift_ppm):
        assert stage == "ACCEPTED"


# -- the operator's client --------------------------------------------------------------------------------------------------------------------


def test_approvers_who_took_too_long_are_asked_again_and_approve_the_new_draft() -> None:
    link = cell("operator", parameters=SHORT)
    link.give("operator", Command("order", "stop", "alice", "acme", "tenant", "acme", int(HARD.gate), int(HARD.life), 0, "now"))
    link.run(SECOND)
    approvers = ("bob", "carol")
    link.give("operator", Command("resume", "go", "alice", "acme", "tenant", "acme", reason="clear", approvers=approvers, approve_after_ns=SECOND))
    link.run(SECOND // 2)
    cut, link.cut = link.cut, lambda sender, to, message: "operator" in (sender, to)
    link.run(2 * VALID)
    link.cut = cut
    link.run(20 * SECOND)
    sends = [effect.message for effect in link["operator"].effects if isinstance(effect, Send)]
    assert len({each.certificate.raw for each in sends if isinstance(each, ResumeSubmit)}) == 2
    stages = [status.stage for node in REPLICAS for status in link[node].sent(ResumeStatus)]
    assert "EXPIRED" in stages
    assert stages.count("ACCEPTED") >= 1
    assert mode(link)[1] == "RUNNING"


def test_a_resume_is_handed_on_once_the_replica_that_let_it_in_holds_it() -> None:
    """What a crash can take back, the decision with it, has lifted nothing elsewhere."""
    link = plane()
    certificate = drafted(link)
    link[ONE].disk = "stuck"
    hand_in(link, certificate)
    link.run(2 * SECOND)
    assert not link[TWO].state.intent.certificates
    assert not link[THREE].state.intent.certificates
    link[ONE].disk = "prompt"
    link.sync(ONE)
    link.settle()
    assert [len(link[node].state.intent.in_force) for node in REPLICAS] == [1, 1, 1]
