"""Orders that kill whoever reads them, and logs that another version wrote: how a node that was restarted goes on (protocol 3.7)."""

from __future__ import annotations

import pytest
from msgspec import structs

from killswitch.core import audit, intent, trust
from killswitch.core.attempts import ATTEMPT, ATTEMPT_OVER
from killswitch.core.certificates import ResumeSubmit
from killswitch.core.events import Record
from killswitch.core.intent import HARD, SOFT
from killswitch.core.messages import (
    ASK_ANOTHER,
    Gossip,
    IntentRead,
    IntentReply,
    LeaseReply,
    LeaseRequest,
    Order,
    OrderPush,
    OrderRequest,
)  # fmt: skip
from killswitch.core.scopes import Scope
from tests.unit import pair
from tests.unit.one_sided import ONE, TWO, alone, draft, drafts
from tests.unit.pair import REPLICAS, SECOND, SIDECAR, Link, cell, guarded, id_of, mode

POISON = pair.order(HARD, nonce="nobody outlives reading this")


def restarted(marks: int = 0, order: Order = POISON) -> Link:
    """A sidecar that starts again, with so many marks on its log of having begun to read ``order``."""
    link = Link(SIDECAR, agent_boots=False)
    link.boot()
    for _ in range(marks):
        last = link[SIDECAR].records[-1]
        link[SIDECAR].records.append(audit.seal(last, ATTEMPT, link.now, "boot-1", {"order": id_of(order)}))
    link[SIDECAR].durable = len(link[SIDECAR].records)
    link.boot()
    return link


def test_in_the_midst_of_its_work_a_sidecar_reads_at_once() -> None:
    link = guarded()
    link[SIDECAR].disk = "stuck"
    link.tell(SIDECAR, OrderPush((POISON,), ()))
    assert id_of(POISON) in link[SIDECAR].state.intent.orders
    assert ATTEMPT not in link[SIDECAR].kinds()


def test_after_a_restart_it_reads_what_is_new_once_its_mark_is_durable() -> None:
    link = restarted()
    link[SIDECAR].disk = "stuck"
    link.tell(SIDECAR, OrderPush((POISON, POISON), ()))
    link.tell(SIDECAR, OrderPush((POISON,), ()))
    assert link[SIDECAR].kinds().count(ATTEMPT) == 1
    assert not link[SIDECAR].state.intent.orders
    link.sync(SIDECAR)
    assert id_of(POISON) in link[SIDECAR].state.intent.orders
    assert not link[SIDECAR].state.attempts.open


def test_a_disk_that_takes_no_mark_is_not_waited_for() -> None:
    link = restarted()
    link[SIDECAR].disk = "stuck"
    link.tell(SIDECAR, OrderPush((POISON,), ()))
    link[SIDECAR].fail(link.now)
    assert id_of(POISON) in link[SIDECAR].state.intent.orders


@pytest.mark.parametrize(("marks", "quarantined"), [(0, False), (1, False), (2, True), (5, True)])
def test_two_readings_that_nobody_outlived_are_enough(marks: int, quarantined: bool) -> None:
    link = restarted(marks)
    link.tell(SIDECAR, OrderPush((POISON,), ()))
    assert (id_of(POISON) not in link[SIDECAR].state.intent.orders) is quarantined
    assert (link[SIDECAR].state.floors.severity == intent.ISOLATE) is quarantined
    assert ("QUARANTINE" in link[SIDECAR].kinds()) is quarantined
    assert [fields["order"] for fields in link[SIDECAR].observed("order-quarantined")] == [id_of(POISON)] * quarantined


def test_a_quarantine_holds_up_no_other_order_and_ends_with_a_certificate_that_lists_it() -> None:
    link = restarted(marks=2)
    other = pair.order(SOFT, nonce="a later one")
    link.tell(SIDECAR, OrderPush((POISON, other), ()))
    assert list(link[SIDECAR].state.intent.orders) == [id_of(other)]
    link.tell(SIDECAR, OrderPush((), (pair.resume(POISON, tenant="globex", scope=pair.WHOLE_TENANT, nonce="not theirs"),)))
    assert link[SIDECAR].state.floors.severity == intent.ISOLATE
    link.tell(SIDECAR, OrderPush((), (pair.resume(POISON, other),)))
    assert link[SIDECAR].state.floors.severity == intent.RUN
    link.boot()
    assert link[SIDECAR].state.floors.severity == intent.RUN


@pytest.mark.parametrize("lifted", [False, True])
def test_who_was_out_of_reach_when_its_quarantine_was_lifted_hears_of_it_with_the_next_answer(lifted: bool) -> None:
    link = restarted(marks=2)
    assert [id_of(POISON)] == list(link[SIDECAR].state.floors.held)
    link.seats |= {replica: pair.Seat(pair.config(replica)) for replica in REPLICAS}
    link.cut = pair.cut_off(SIDECAR)
    link.boot(*REPLICAS)
    for replica in REPLICAS:
        link.tell(replica, OrderPush((POISON,), ()), SIDECAR)
        assert id_of(POISON) in link[replica].state.intent.orders
        if lifted:
            link.tell(replica, ResumeSubmit("r", pair.resume(POISON)), "operator")
    link.run(20 * SECOND)
    assert link[SIDECAR].state.floors.severity == intent.ISOLATE
    link.cut = lambda sender, to, message: False
    link.run(2 * SECOND)
    assert id_of(POISON) not in link[SIDECAR].state.intent.orders
    assert link[SIDECAR].state.floors.severity == (intent.RUN if lifted else intent.ISOLATE)


def test_a_quarantine_is_of_the_view_that_replicas_are_told_until_it_ends() -> None:
    link = restarted(marks=2)
    other = pair.order(SOFT, nonce="a later one")
    link.tell(SIDECAR, OrderPush((other,), ()))
    link.run(SECOND)
    assert link[SIDECAR].sent(LeaseRequest)[-1].view == audit.digest_of(sorted([id_of(POISON), id_of(other)]))
    link.tell(SIDECAR, OrderPush((), (pair.resume(POISON),)))
    link.run(SECOND)
    assert link[SIDECAR].sent(LeaseRequest)[-1].view == audit.digest_of([id_of(other)])


def test_what_is_read_and_means_nothing_here_leaves_no_open_mark() -> None:
    link = restarted()
    forged = structs.replace(POISON, signature=bytes(32))
    elsewhere = pair.order(HARD, tenant="globex", scope=Scope("tenant", "globex"))
    link.tell(SIDECAR, OrderPush((forged, elsewhere), ()))
    assert link[SIDECAR].kinds().count(ATTEMPT) == link[SIDECAR].kinds().count(ATTEMPT_OVER) == 1
    assert not link[SIDECAR].state.attempts.open


def test_the_marks_are_of_the_state_that_a_log_gives_back() -> None:
    link = restarted(marks=1)
    link[SIDECAR].disk = "stuck"
    link.tell(SIDECAR, OrderPush((POISON,), ()))
    live = link[SIDECAR].machine.digest()
    fresh = pair.Seat(pair.config(SIDECAR))
    fresh.boot(link.now, records=link[SIDECAR].records)
    assert fresh.machine.digest() == live


def test_a_replica_reads_after_a_restart_in_the_same_way_and_vouches_for_nothing_that_it_does_not_read() -> None:
    link = Link(*REPLICAS)
    link.boot()
    seat = link["replica/1"]
    for marks in (1, 2):
        seat.records.append(audit.seal(seat.records[-1], ATTEMPT, link.now, "boot-1", {"order": id_of(POISON)}))
        seat.durable = len(seat.records)
        link.boot("replica/1")
        seat.disk = "stuck"
        link.tell("replica/1", Gossip("", orders=(POISON,)), "replica/2")
        assert not seat.state.intent.orders
        seat.disk = "prompt"
        link.settle()
        assert (id_of(POISON) in seat.state.intent.orders) is (marks == 1)
        seat.records = [record for record in seat.records if record.seq <= 2 + marks][: 1 + marks]
        seat.durable = len(seat.records)


def test_what_a_replica_issues_itself_needs_no_mark_and_is_learned_once() -> None:
    link = Link(*REPLICAS)
    link.boot()
    link.boot("replica/1")
    seat = link["replica/1"]
    seat.disk = "stuck"
    asked = trust.sign_request(pair.TRUST, OrderRequest("r", "alice", "acme", pair.WHOLE_TENANT, 2, 2, 0, "because"))
    link.tell("replica/2", asked, "operator")
    assert seat.kinds().count(ATTEMPT) == 1
    link.tell("replica/1", asked, "operator")
    assert seat.kinds().count("DECISION") == 1
    seat.disk = "prompt"
    link.settle()
    assert seat.kinds().count("ORDER_ACCEPTED") == 1
    assert not seat.state.attempts.open


def drafting(marks: int = 0) -> Link:
    """A replica that starts again, with so many marks of having begun to read the order, is asked for a draft, and no peer has answered yet."""
    link = alone()
    for _ in range(marks):
        last = link[ONE].records[-1]
        link[ONE].records.append(audit.seal(last, ATTEMPT, link.now, "boot-1", {"order": id_of(POISON)}))
    link[ONE].durable = len(link[ONE].records)
    link.boot(ONE)
    link[ONE].disk = "stuck"
    link.tell(ONE, draft(), "operator")
    return link


def tells(link: Link, *orders: Order) -> None:
    """A peer answers the draft, with all that it knows."""
    link.tell(ONE, IntentReply(link[ONE].sent(IntentRead)[-1].nonce, orders, (), True, 1), TWO)


@pytest.mark.parametrize("ends", ["durable", "failed"])
def test_a_draft_waits_for_what_it_was_told_of_and_has_yet_to_read(ends: str) -> None:
    link = drafting()
    tells(link, POISON)
    assert not drafts(link)
    tells(link)  # whoever answers last, and whatever he knows
    assert not drafts(link)
    link.sync(ONE) if ends == "durable" else link[ONE].fail(link.now)
    (shown,) = drafts(link)
    assert shown.stage == "DRAFTED"
    body = trust.read_draft(shown.raw)
    assert body is not None
    assert body.covers == (id_of(POISON),)


def test_a_draft_waits_for_no_mark_of_an_order_that_turns_out_to_be_nobodys() -> None:
    link = drafting()
    tells(link, structs.replace(POISON, signature=bytes(32)))
    assert [shown.stage for shown in drafts(link)] == ["NOTHING_TO_COVER"]


def test_who_has_an_order_in_quarantine_that_others_have_in_force_drafts_nothing_and_says_so() -> None:
    link = drafting(marks=2)
    tells(link, POISON)
    assert [(shown.stage, shown.raw) for shown in drafts(link)] == [(ASK_ANOTHER, b"")]
    assert not link[ONE].state.drafts
    link.tell(ONE, draft(), "operator")
    tells(link)
    assert drafts(link)[-1].stage == "NOTHING_TO_COVER", "where it is in force nowhere, it keeps nobody from anything"


# -- logs that another version wrote


def log_with(kind: str, body: dict[str, object], node: str) -> list[Record]:
    seat = pair.Seat(pair.config(node))
    seat.boot(SECOND)
    return [*seat.records, audit.seal(seat.records[-1], kind, SECOND, "boot-1", body)]


STRANGE: dict[str, object] = {"raw": 5, "order": [], "token": "x", "agent": None, "heads": 1, "signatures": {}, "approvals": 7}
KINDS = ("HOLOGRAM", "ORDER_LEARNED", "ORDER_ACCEPTED", "CERT_ACCEPTED", "KEYSET", "TOKEN", "PROMISE", "PROC_REAPED", "COSIG", "FORK_PROOF", ATTEMPT)


@pytest.mark.parametrize("node", [SIDECAR, "replica/1"])
@pytest.mark.parametrize("body", [{}, {"more": 1}, STRANGE])
def test_no_record_keeps_a_node_from_starting(node: str, body: dict[str, object]) -> None:
    for kind in KINDS:
        seat = pair.Seat(pair.config(node))
        assert seat.boot(SECOND, records=log_with(kind, body, node))
        assert "BOOT" in seat.kinds()[2:]


def test_what_a_sidecar_cannot_make_sense_of_may_forbid_and_what_it_has_never_heard_of_does_not() -> None:
    seat = pair.Seat(pair.config(SIDECAR))
    seat.boot(SECOND, records=log_with("ORDER_LEARNED", {"form": 2}, SIDECAR))
    assert seat.state.floors.severity == intent.ISOLATE
    seat.boot(SECOND, records=log_with("HOLOGRAM", {"form": 2}, SIDECAR))
    assert seat.state.floors.severity == intent.RUN


@pytest.mark.parametrize("node", [SIDECAR, "replica/1"])
def test_what_comes_after_a_record_that_nobody_here_understands_is_folded_all_the_same(node: str) -> None:
    accepts = "ORDER_LEARNED" if node == SIDECAR else "ORDER_ACCEPTED"
    known = pair.order(intent.HARD)
    records = log_with(accepts, {"form": 2}, node)
    body = {"raw": known.raw, "signer": known.signer, "signature": known.signature, "deadline": None, "seen": None}
    records.append(audit.seal(records[-1], accepts, SECOND, "boot-1", body))
    seat = pair.Seat(pair.config(node))
    seat.boot(SECOND, records=records)
    assert list(seat.state.intent.orders) == [intent.content_id(known.raw)]


SIGNED: dict[str, object] = {"raw": b"\xc1", "signer": "replica/1", "signature": b"", "signatures": [], "approvals": [], "deadline": None}


@pytest.mark.parametrize(("kind", "floor"), [("ORDER_LEARNED", intent.ISOLATE), ("KEYSET", intent.ISOLATE), ("CERT_ACCEPTED", intent.RUN)])
def test_what_was_signed_in_a_form_that_a_sidecar_does_not_know_may_forbid_unless_it_permits(kind: str, floor: intent.Severity) -> None:
    seat = pair.Seat(pair.config(SIDECAR))
    seat.boot(SECOND, records=log_with(kind, SIGNED, SIDECAR))
    assert seat.state.floors.severity == floor


@pytest.mark.parametrize(("kind", "body"), [("ORDER_ACCEPTED", {"form": 2}), ("ORDER_ACCEPTED", SIGNED), ("KEYSET", SIGNED)])
def test_a_replica_that_cannot_make_sense_of_its_log_grants_nothing(kind: str, body: dict[str, object]) -> None:
    link = cell()
    seat = link["replica/1"]
    seat.records.append(audit.seal(seat.records[-1], kind, link.now, "boot-1", body))
    seat.durable = len(seat.records)
    link.boot("replica/1")
    before = len(seat.sent(LeaseReply))
    link.run(2 * SECOND)
    assert {reply.why for reply in seat.sent(LeaseReply)[before:]} == {"disk failed"}
    assert mode(link) == ("OPEN", "RUNNING")
