"""A replica that may have forgotten something: it vouches for nobody until its peers have taught it (A2, protocol 3.7)."""

from __future__ import annotations

import pytest
from msgspec import structs

from killswitch.core import audit
from killswitch.core.certificates import ResumeDraft
from killswitch.core.events import Record
from killswitch.core.intent import HARD
from killswitch.core.lessons import Lesson, Promised
from killswitch.core.messages import Evidence, IntentReply, LeaseReply, OrderPush, StartReply, StartRequest
from killswitch.core.replica import joining
from tests.unit import pair
from tests.unit.one_sided import draft
from tests.unit.pair import AGENT, REPLICAS, SECOND, SIDECAR, Link, cell, cut_off, id_of, mode

ONE, TWO, THREE = REPLICAS


def comes_back(link: Link, node: str, records: list[Record], *, joins: bool = False) -> None:
    """The node starts on what can be believed of these records."""
    seat = link[node]
    seat.config = structs.replace(seat.config, joins=joins)
    believed, truncated = audit.readable(audit.written(record) for record in records)
    seat.durable = len(believed)
    link.carry_out(seat, seat.boot(link.now, records=believed, truncated=truncated))
    link.settle()


def rotten(records: list[Record], lsn: int) -> list[Record]:
    return [*records[: lsn - 1], structs.replace(records[lsn - 1], clock_ns=records[lsn - 1].clock_ns ^ 1), *records[lsn:]]


def last_reply(link: Link) -> LeaseReply:
    reply = link[ONE].sent(LeaseReply)[-1]
    assert isinstance(reply, LeaseReply)
    return reply


def test_with_an_empty_disk_it_denies_until_enough_peers_have_answered_and_then_grants_again() -> None:
    link = cell()
    link.cut = lambda sender, to, message: isinstance(message, IntentReply)
    comes_back(link, ONE, [], joins=True)
    link.run(2 * SECOND)
    assert (last_reply(link).len_ns, last_reply(link).why) == (0, "joining")
    link.cut = lambda sender, to, message: isinstance(message, IntentReply) and sender == TWO
    link.run(2 * SECOND)
    assert last_reply(link).why == "joining"  # one of two is not enough: the order may have been with the other
    link.cut = lambda sender, to, message: False
    link.run(2 * SECOND)
    assert "JOINED" in link[ONE].kinds()
    assert last_reply(link).len_ns > 0
    assert link[ONE].state.promised[AGENT] == link[TWO].state.promised[AGENT]  # of which it was told
    assert mode(link) == ("OPEN", "RUNNING")


def test_it_drafts_nothing_and_counts_for_no_draft_before_it_has_learned() -> None:
    link = Link(*REPLICAS)
    link.boot()
    link.tell(TWO, OrderPush((pair.order(HARD),), ()), ONE)
    link.cut = lambda sender, to, message: isinstance(message, IntentReply) and THREE in (sender, to)
    comes_back(link, ONE, [], joins=True)
    for node in (ONE, TWO):
        link.tell(node, draft(), "operator")
        assert link[node].sent(ResumeDraft) == []
    link.cut = lambda sender, to, message: False
    link.run(2 * SECOND)
    for node in (ONE, TWO):
        link.tell(node, draft(), "operator")
        assert link[node].sent(ResumeDraft) != []


def test_a_promise_that_it_forgot_is_kept_all_the_same() -> None:
    link = cell()
    promised = link[TWO].state.promised[AGENT]
    comes_back(link, ONE, [], joins=True)
    link.run(2 * SECOND)
    older = structs.replace(promised, counter=promised.counter - 1)
    assert link[ONE].state.promised[AGENT] == promised > older


@pytest.mark.parametrize("restarted", [False, True])
def test_what_came_before_a_token_that_it_was_taught_nobody_told_it(restarted: bool) -> None:
    link = cell()
    comes_back(link, ONE, [], joins=True)
    link.run(2 * SECOND)
    if restarted:
        comes_back(link, ONE, list(link[ONE].records))
    taught = link[ONE].state.promised[AGENT]
    before = structs.replace(taught, counter=taught.counter - 1)
    link.tell(ONE, StartRequest(AGENT, taught, "", before, ()), SIDECAR)
    reply = link[ONE].sent(StartReply)[-1]
    assert isinstance(reply, StartReply)
    assert (reply.granted, reply.ready) == (True, False)


def test_a_log_that_had_to_be_cut_makes_it_learn_and_what_it_learned_is_on_record() -> None:
    link = cell()
    records = list(link[ONE].records)
    promise = next(record.seq for record in records if record.kind == "PROMISE")
    link.cut = lambda sender, to, message: isinstance(message, IntentReply)
    comes_back(link, ONE, rotten(records, promise))
    cut = audit.content(next(record for record in link[ONE].records if record.kind == "RECOVERED"))
    assert (cut["truncated_from"], cut["why"]) == (promise, "unreadable")
    assert link[ONE].state.joining
    comes_back(link, ONE, list(link[ONE].records))  # a clean restart in between teaches nothing
    assert link[ONE].state.joining
    link.cut = lambda sender, to, message: False
    link.run(2 * SECOND)
    digest = link[ONE].machine.digest()
    comes_back(link, ONE, list(link[ONE].records))
    assert not link[ONE].state.joining
    assert link[ONE].machine.digest() == digest


def test_only_what_peers_say_to_this_start_and_completely_counts() -> None:
    link = cell()
    link.cut = lambda sender, to, message: isinstance(message, IntentReply | Lesson)
    comes_back(link, ONE, [], joins=True)
    now = f"join/{link[ONE].state.instance}"
    for peer in (TWO, THREE):
        link.tell(ONE, IntentReply(now, (), ()), peer)
        link.tell(ONE, Lesson("join/boot-1.1", (Promised(AGENT, 1, 9, "x"),)), peer)
    assert link[ONE].state.joining
    assert AGENT not in link[ONE].state.promised  # what was said to an earlier start may have been overtaken
    comes_back(link, ONE, [], joins=True)
    now = f"join/{link[ONE].state.instance}"
    for peer in (TWO, THREE):
        link.tell(ONE, IntentReply("join/boot-1.1", (), ()), peer)
        link.tell(ONE, Lesson(now, ()), peer)
        link.tell(ONE, IntentReply(now, (), (), complete=False), peer)
    link.tell(ONE, IntentReply(now, (), ()), "replica/9")
    assert link[ONE].state.joining
    for peer in (TWO, THREE):
        link.tell(ONE, IntentReply(now, (), ()), peer)
        link.tell(ONE, Lesson(now, (Promised(AGENT, 1, 1 << 62, "x"),)), peer)
    assert not link[ONE].state.joining
    assert AGENT not in link[ONE].state.promised  # a token that nothing could follow is nobody's


def test_what_is_yet_to_be_read_is_yet_to_be_learned() -> None:
    link = cell()
    hard = pair.order(HARD)
    link.cut = cut_off(ONE)
    comes_back(link, ONE, rotten(list(link[ONE].records), len(link[ONE].records)))
    link[ONE].disk = "stuck"
    now = f"join/{link[ONE].state.instance}"
    for peer in (TWO, THREE):
        link.tell(ONE, IntentReply(now, (hard,), ()), peer)
        link.tell(ONE, Lesson(now, ()), peer)
    link.sync(ONE)
    assert id_of(hard) in link[ONE].state.intent.orders
    assert "JOINED" not in link[ONE].kinds(), "a crash now could take back the order, and must not leave behind that it was learned"
    for peer in (TWO, THREE):
        link.tell(ONE, IntentReply(now, (hard,), ()), peer)
    assert link[ONE].kinds().index("ORDER_ACCEPTED") < link[ONE].kinds().index("JOINED")


@pytest.mark.parametrize("lost", [IntentReply, Lesson])
def test_orders_without_promises_or_promises_without_orders_are_half_a_lesson(lost: type) -> None:
    link = cell()
    link.cut = lambda sender, to, message: isinstance(message, lost)
    comes_back(link, ONE, [], joins=True)
    link.run(2 * SECOND)
    assert link[ONE].state.joining


def test_replicas_that_all_had_to_cut_their_logs_teach_each_other() -> None:
    link = cell()
    for node in REPLICAS:
        comes_back(link, node, rotten(list(link[node].records), len(link[node].records)))
    link.run(2 * SECOND)
    assert [link[node].state.joining for node in REPLICAS] == [False] * 3


def test_a_start_is_denied_while_it_learns() -> None:
    link = Link(*REPLICAS, *pair.SINKS, SIDECAR)
    link.cut = lambda sender, to, message: isinstance(message, IntentReply)
    for node in REPLICAS:
        comes_back(link, node, [], joins=True)
    link.boot(*pair.SINKS, SIDECAR)
    link.run(2 * SECOND)
    assert {(reply.granted, reply.why) for node in REPLICAS for reply in link[node].sent(StartReply)} == {(False, "joining")}


def test_a_sidecar_whose_log_was_cut_calls_nothing_stopped_that_it_has_not_reaped() -> None:
    """A bit that turned took the record of the start: the process outlived its sidecar and was killed, and that was no clean stop."""
    link = cell()
    token = next(record.seq for record in link[SIDECAR].records if record.kind == "TOKEN")
    comes_back(link, SIDECAR, rotten(list(link[SIDECAR].records), token + 1))
    link.tell(SIDECAR, OrderPush((pair.order(HARD),), ()))
    link.run(SECOND)
    assert {proof.stage for proof in link[SIDECAR].sent(Evidence)} == {"STOPPED_FORCED"}


def test_what_comes_while_the_lessons_go_on_record_is_none() -> None:
    """It would be vouched for without being on that record, and forgotten with the next start."""
    link = cell()
    comes_back(link, ONE, [], joins=True)
    state = link[ONE].state
    promised = state.promised[AGENT]
    state.joining, state.lessons.finishing = True, True
    later = Promised(AGENT, promised.epoch, promised.counter + 1, "late")
    link.tell(ONE, Lesson(joining.nonce(state), (later,)), TWO)
    assert state.promised[AGENT] == promised
