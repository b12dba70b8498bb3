"""The sidecar: every row of its mode table, every overtaking of orders, restarts, disk failures, gates at the very nanosecond (protocol 3.6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from msgspec import structs

from killswitch.core.events import Append, DiskFailed, DiskFreed, DiskFull, ProcessExited, Send, Signal, SignalKind, Timer
from killswitch.core.intent import HARD, ISOLATE, QUIESCE, RUN, SOFT, Severity
from killswitch.core.messages import (
    Apply,
    ApplyResult,
    Challenge,
    ChallengeRequest,
    EffectClass,
    EffectRequest,
    EffectResult,
    Evidence,
    LeaseReply,
    LeaseRequest,
    Order,
    Query,
    QueryResult,
    ResolveRequest,
    ResolveResult,
    StopRequest,
    Token,
)
from killswitch.core.sidecar import state as sidecar
from killswitch.core.sidecar.state import PAYLOAD_MAX, PERMITS_MAX
from tests.unit import pair
from tests.unit.one_sided import LEASE, answers, ask, grant, push, signals, stages
from tests.unit.pair import AGENT, AGENT_NODE, BANK, LEDGER, PARAMETERS, POST, REPLICAS, SECOND, SIDECAR, Link, Seat, config, guarded, mode

# -- the mode table ------------------------------------------------------------------------------------------------------------------------


def booted() -> Link:
    link = Link(SIDECAR, agent_boots=False)
    link.boot()
    return link


def after(*orders: Order, then_ns: int = 0) -> Callable[[], Link]:
    def story() -> Link:
        link = guarded()
        push(link, *orders)
        link.run(then_ns)
        return link

    return story


def lease_lost() -> Link:
    link = guarded()
    link.run(LEASE)
    return link


def disk_failed() -> Link:
    link = guarded()
    link.give(SIDECAR, DiskFailed(99))
    return link


def disk_full() -> Link:
    link = guarded()
    link.give(SIDECAR, DiskFull(99))
    return link


def disk_freed() -> Link:
    link = disk_full()
    link.give(SIDECAR, DiskFreed())
    return link


def exited() -> Link:
    link = guarded()
    link.give(SIDECAR, ProcessExited(0, signalled=False))
    return link


@pytest.mark.parametrize(
    ("story", "gate", "name"),
    [
        (booted, "CLOSED", "BOOT"),
        (guarded, "OPEN", "RUNNING"),
        (after(pair.order(ISOLATE)), "CLOSED", "STANDBY"),
        (lease_lost, "CLOSED", "STANDBY"),
        (disk_failed, "CLOSED", "STANDBY"),
        (disk_full, "CLOSED", "STANDBY"),
        (disk_freed, "OPEN", "RUNNING"),
        (after(pair.order(SOFT)), "DRAIN", "DRAINING"),
        (after(pair.order(SOFT), then_ns=LEASE), "CLOSED", "QUIESCING"),
        (after(pair.order(QUIESCE)), "CLOSED", "QUIESCING"),
        (after(pair.order(HARD)), "CLOSED", "KILLING"),
        (after(pair.order(SOFT, grace_ns=SECOND), then_ns=SECOND), "CLOSED", "KILLING"),
        (exited, "CLOSED", "STOPPED"),
    ],
)
def test_every_row_of_the_mode_table(story: Callable[[], Link], gate: str, name: str) -> None:
    assert mode(story()) == (gate, name)


@pytest.mark.parametrize(
    ("orders", "gate", "name"),
    [
        ((SOFT, HARD), "CLOSED", "KILLING"),
        ((HARD, SOFT), "CLOSED", "KILLING"),
        ((ISOLATE, SOFT), "CLOSED", "QUIESCING"),
        ((SOFT, ISOLATE), "CLOSED", "QUIESCING"),
        ((ISOLATE, ISOLATE), "CLOSED", "STANDBY"),
        ((QUIESCE, SOFT), "CLOSED", "QUIESCING"),
        ((ISOLATE, HARD, SOFT), "CLOSED", "KILLING"),
    ],
)
def test_orders_that_follow_each_other(orders: tuple[Severity, ...], gate: str, name: str) -> None:
    link = guarded()
    for number, severity in enumerate(orders):
        push(link, pair.order(severity, nonce=f"{number}"))
        push(link, pair.order(severity, nonce=f"{number}"))
    assert mode(link) == (gate, name)
    assert signals(link).count(SignalKind.TERM) <= 1
    assert signals(link).count(SignalKind.KILL) <= 1


def test_duplicates_of_a_kill_do_nothing_but_the_retry_until_reaped() -> None:
    link = guarded()
    hard = pair.order(HARD)
    for _ in range(5):
        push(link, hard)
    assert signals(link).count(SignalKind.KILL) == 1
    link.run(pair.PARAMETERS.kill_retry_ns)
    assert signals(link).count(SignalKind.KILL) == 2
    link.give(SIDECAR, ProcessExited(-9, signalled=True))
    link.run(5 * SECOND)
    assert signals(link).count(SignalKind.KILL) == 2
    assert link[SIDECAR].kinds().count("ORDER_LEARNED") == 1
    assert link[SIDECAR].kinds().count("PROC_KILL") == 1


def test_soft_twice_takes_the_earlier_deadline_and_no_second_term() -> None:
    link = guarded()
    push(link, pair.order(SOFT, grace_ns=20 * SECOND))
    push(link, pair.order(SOFT, grace_ns=9 * SECOND, nonce="sooner"))
    push(link, pair.order(SOFT, grace_ns=40 * SECOND, nonce="later"))
    assert link[SIDECAR].state.stop_by_ns == link.now + 9 * SECOND
    link.run(8 * SECOND)
    push(link, pair.order(SOFT, grace_ns=9 * SECOND, nonce="sooner"))
    link.run(SECOND - 1)
    assert mode(link)[1] == "QUIESCING"
    link.run(1)
    assert mode(link)[1] == "KILLING"
    assert signals(link).count(SignalKind.TERM) == 1


def test_a_stop_that_is_lifted_is_carried_through() -> None:
    link = guarded()
    soft = pair.order(SOFT)
    push(link, soft)
    push(link, certificates=(pair.resume(soft),))
    assert link[SIDECAR].state.intent.lifted == {pair.id_of(soft)}
    assert mode(link) == ("DRAIN", "DRAINING"), "who was asked to stop, stops"


def test_the_stop_request_is_repeated_until_somebody_hears_it() -> None:
    """A process that was spawned and has not come up yet hears no first request; it must not pay for that with its life (L4)."""
    link = Link(*REPLICAS, *pair.SINKS, SIDECAR, AGENT_NODE, agent_boots=False)
    link.boot()
    link.run(3 * SECOND)
    push(link, pair.order(SOFT))
    link.agent_boots = True
    link.boot_agent(link[SIDECAR].state.token)
    link.settle()
    link.run(3 * SECOND)
    assert stages(link)[-1] == "STOPPED_CLEAN"
    assert signals(link).count(SignalKind.KILL) == 0


# -- the gate, at the nanosecond -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("offset_ns", "admitted"), [(-1, True), (0, False), (1, False)])
def test_the_gate_closes_at_the_end_of_the_lease(offset_ns: int, admitted: bool) -> None:
    link = guarded()
    state = link[SIDECAR].state
    assert sidecar.admit(state, EffectClass.NEW, state.lease_until_ns + offset_ns) is admitted
    link.now = state.lease_until_ns + offset_ns  # no timer has fired: the clock alone decides
    ask(link)
    assert bool(link[SIDECAR].sent(Apply)) is admitted


@pytest.mark.parametrize(("offset_ns", "admitted"), [(-1, True), (0, False), (1, False)])
def test_the_drain_ends_at_its_deadline(offset_ns: int, admitted: bool) -> None:
    link = guarded()
    push(link, pair.order(SOFT, grace_ns=SECOND))
    link.now += SECOND + offset_ns
    assert link.now < link[SIDECAR].state.lease_until_ns
    ask(link, cls="inflight")
    assert bool(link[SIDECAR].sent(Apply)) is admitted


@pytest.mark.parametrize(
    ("severity", "admitted"),
    [(RUN, {"new", "inflight", "undo"}), (SOFT, {"inflight", "undo"}), (ISOLATE, set()), (QUIESCE, set()), (HARD, set())],
)
def test_which_effects_each_severity_lets_through(severity: Severity, admitted: set[str]) -> None:
    for cls in ("new", "inflight", "undo"):
        link = guarded()
        push(link, pair.order(severity)) if severity != RUN else None
        ask(link, cls=cls)
        assert bool(link[SIDECAR].sent(Apply)) is (cls in admitted)


def test_an_order_acts_in_the_step_that_brings_it_and_is_written_after() -> None:
    link = guarded()
    link[SIDECAR].disk = "stuck"
    ask(link, sink=BANK)
    effects = push(link, pair.order(HARD))
    withdrawn = next(index for index, effect in enumerate(effects) if isinstance(effect, Send) and isinstance(effect.message, EffectResult))
    written = next(index for index, effect in enumerate(effects) if isinstance(effect, Append))
    assert withdrawn < written
    assert Signal(SignalKind.KILL) in effects, "and the kill waits for no disk"
    assert all(send.after_lsn > 0 for send in effects if isinstance(send, Send) and isinstance(send.message, Evidence))


def test_a_challenge_that_comes_after_the_order_is_answered_with_nothing() -> None:
    link = guarded()
    ask(link, sink=BANK)
    assert link[SIDECAR].sent(ChallengeRequest, BANK)
    push(link, pair.order(ISOLATE))
    link.tell(SIDECAR, Challenge(BANK, "k", "n"), BANK)
    assert not link[SIDECAR].sent(Apply)
    assert answers(link) == ["DENIED"]


def test_a_challenge_is_answered_only_while_the_lease_lives() -> None:
    link = guarded()
    ask(link, sink=BANK)
    link.now = link[SIDECAR].state.lease_until_ns
    link.tell(SIDECAR, Challenge(BANK, "k", "n"), BANK)
    assert not link[SIDECAR].sent(Apply)
    assert answers(link) == ["DENIED"]


def test_a_challenged_effect_carries_its_nonce_once() -> None:
    link = guarded()
    ask(link, sink=BANK)
    for nonce in ("n", "n", "m"):
        link.tell(SIDECAR, Challenge(BANK, "k", nonce), BANK)
    assert [apply.nonce for apply in link[SIDECAR].sent(Apply)] == ["n"]


@pytest.mark.parametrize(("size", "admitted"), [(0, True), (PAYLOAD_MAX, True), (PAYLOAD_MAX + 1, False)])
@pytest.mark.parametrize("sink", [LEDGER, BANK])
def test_what_a_sink_is_to_do_travels_with_the_effect_up_to_a_size(sink: str, size: int, admitted: bool) -> None:
    link = guarded()
    link.tell(SIDECAR, EffectRequest("task", 0, "k", "new", sink, b"x" * size), AGENT_NODE)
    link.tell(SIDECAR, Challenge(BANK, "k", "n"), BANK)
    assert [len(apply.payload) for apply in link[SIDECAR].sent(Apply)] == ([size] if admitted else [])
    assert answers(link) == ([] if admitted else ["DENIED"])


def test_more_effects_than_it_keeps_permits_for_are_denied() -> None:
    link = guarded()
    for number in range(PERMITS_MAX + 1):
        link.tell(SIDECAR, EffectRequest("task", 0, f"k{number}", "new", LEDGER), AGENT_NODE)
    assert len(link[SIDECAR].sent(Apply)) == PERMITS_MAX
    assert answers(link) == ["DENIED"]


def test_another_sinks_word_counts_for_nothing() -> None:
    link = guarded()
    ask(link, sink=BANK)
    link.tell(SIDECAR, Challenge(LEDGER, "k", "n"), LEDGER)
    link.tell(SIDECAR, Challenge(BANK, "k", "n"), LEDGER)
    link.tell(SIDECAR, ApplyResult(LEDGER, "k", "APPLIED"), LEDGER)
    link.tell(SIDECAR, ApplyResult(BANK, "k", "APPLIED"), LEDGER)
    assert not link[SIDECAR].sent(Apply)
    assert not answers(link)
    link.tell(SIDECAR, ResolveRequest("r", BANK), AGENT_NODE)
    link.tell(SIDECAR, QueryResult(LEDGER, "r", "ABSENT"), LEDGER)
    assert not link[SIDECAR].sent(ResolveResult)


# -- retrying, and being in doubt ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sink", "applies", "status"), [(LEDGER, 2, []), (POST, 1, ["IN_DOUBT"])])
def test_what_goes_unanswered_is_tried_again_only_where_that_is_harmless(sink: str, applies: int, status: list[str]) -> None:
    link = guarded()
    ask(link, sink=sink)
    link.run(pair.PARAMETERS.renew_ns)
    assert len(link[SIDECAR].sent(Apply)) == applies
    assert answers(link) == status


def test_a_sent_answer_to_a_challenge_is_in_doubt_when_nothing_comes_back() -> None:
    link = guarded()
    ask(link, sink=BANK)
    link.run(pair.PARAMETERS.renew_ns)
    assert len(link[SIDECAR].sent(ChallengeRequest)) == 2, "nothing left yet, so asking again is harmless"
    link.tell(SIDECAR, Challenge(BANK, "k", "n"), BANK)
    link.run(2 * pair.PARAMETERS.renew_ns)
    assert len(link[SIDECAR].sent(Apply)) == 1
    assert answers(link) == ["IN_DOUBT"]


@pytest.mark.parametrize(("said", "again"), [("ABSENT", "DONE"), ("APPLIED", "IN_DOUBT"), ("UNKNOWN", "IN_DOUBT")])
def test_a_step_in_doubt_is_done_again_only_if_its_sink_says_that_it_never_took_place(said: str, again: str) -> None:
    link = guarded()
    ask(link, sink=BANK)
    link.tell(SIDECAR, Challenge(BANK, "k", "n"), BANK)
    link.run(2 * pair.PARAMETERS.renew_ns)
    assert answers(link) == ["IN_DOUBT"]
    link.tell(SIDECAR, ResolveRequest("k", BANK), AGENT_NODE)
    link.tell(SIDECAR, QueryResult(BANK, "k", said, "r", link[SIDECAR].sent(Query)[-1].nonce), BANK)
    ask(link, sink=BANK)
    link.tell(SIDECAR, Challenge(BANK, "k", "m"), BANK)
    link.tell(SIDECAR, ApplyResult(BANK, "k", "APPLIED", "r"), BANK)
    assert len(link[SIDECAR].sent(Apply)) == (2 if again == "DONE" else 1)
    assert answers(link)[-1] == ("APPLIED" if again == "DONE" else "IN_DOUBT")


def test_a_retry_is_an_admission_of_its_own() -> None:
    link = guarded()
    ask(link)
    push(link, pair.order(ISOLATE))
    link.run(3 * SECOND)
    assert len(link[SIDECAR].sent(Apply)) == 1


@pytest.mark.parametrize("sink", [LEDGER, BANK, POST])
def test_a_question_that_crosses_its_answer_is_no_second_effect(sink: str) -> None:
    """The agent asks again (a stop came, the gate opened) while the answer is on its way to it: at class U that would do it twice."""
    link = guarded()
    ask(link, sink=sink)
    link.tell(SIDECAR, Challenge(sink, "k", "n"), sink)
    ask(link, sink=sink)
    link.tell(SIDECAR, ApplyResult(sink, "k", "APPLIED", "receipt"), sink)
    ask(link, sink=sink)
    assert len(link[SIDECAR].sent(Apply)) == 1
    assert link[SIDECAR].sent(EffectResult) == [EffectResult("k", "APPLIED", "receipt")] * 2


def test_an_unknown_sink_is_no_way_out() -> None:
    link = guarded()
    ask(link, sink="sink/globex/ledger")
    link.tell(SIDECAR, ResolveRequest("k", "sink/globex/ledger"), AGENT_NODE)
    assert not link[SIDECAR].sent(Apply)
    assert answers(link) == ["DENIED"]
    assert link[SIDECAR].sent(ResolveResult) == [ResolveResult("k", "IN_DOUBT")]


@pytest.mark.parametrize(("said", "status"), [("APPLIED", "APPLIED"), ("ABSENT", "ABSENT"), ("UNKNOWN", "IN_DOUBT"), ("perhaps", "IN_DOUBT")])
def test_a_sinks_answer_about_an_intent(said: str, status: str) -> None:
    link = guarded()
    link.tell(SIDECAR, ResolveRequest("k", LEDGER), AGENT_NODE)
    link.run(pair.PARAMETERS.renew_ns)
    assert len(link[SIDECAR].sent(Query)) == 2, "asked until answered"
    nonce = link[SIDECAR].sent(Query)[-1].nonce
    link.tell(SIDECAR, QueryResult(LEDGER, "k", "APPLIED" if said == "ABSENT" else "ABSENT", "r", "an earlier question"), LEDGER)
    for _ in range(2):
        link.tell(SIDECAR, QueryResult(LEDGER, "k", said, "r", nonce), LEDGER)
    assert link[SIDECAR].sent(ResolveResult) == [ResolveResult("k", status, "r")]


# -- leases --------------------------------------------------------------------------------------------------------------------------------


def test_a_lease_counts_from_its_request() -> None:
    link = guarded()
    link.run(LEASE)
    link.give(SIDECAR, Timer("renew"))
    sent = link.now
    link.now += 2 * SECOND
    grant(link)
    assert mode(link) == ("OPEN", "RUNNING")
    assert link[SIDECAR].state.lease_until_ns == sent + LEASE


def test_a_fleet_that_was_started_at_once_does_not_ask_in_step() -> None:
    """Each asks at once, and again at a time of its own within the interval; from there on once an interval."""
    at_ns: list[int] = []
    for start in range(40):
        seat = Seat(config(SIDECAR))
        seat.starts = start
        seat.boot(SECOND)
        assert any(isinstance(effect, Send) and isinstance(effect.message, LeaseRequest) for effect in seat.effects)
        at_ns.append(seat.timers["renew"])
        seat.take(Timer("renew"), at_ns[-1])
        assert seat.timers["renew"] == at_ns[-1] + PARAMETERS.renew_ns
    assert all(SECOND < each <= SECOND + PARAMETERS.renew_ns for each in at_ns)
    quarters = Counter((each - SECOND - 1) * 4 // PARAMETERS.renew_ns for each in at_ns)
    assert min(quarters[quarter] for quarter in range(4)) >= 4


@pytest.mark.parametrize(
    "spoil",
    [
        lambda reply: structs.replace(reply, replica="replica/1"),
        lambda reply: structs.replace(reply, replica="replica/9"),
        lambda reply: structs.replace(reply, nonce="another round"),
        lambda reply: structs.replace(reply, token=Token(1, 99, "x")),
        lambda reply: structs.replace(reply, len_ns=0),
        lambda reply: structs.replace(reply, len_ns=-5),
        lambda reply: structs.replace(reply, complete=False),
        lambda reply: structs.replace(reply, agent="acme/2"),
        lambda reply: structs.replace(reply, orders=(structs.replace(pair.order(SOFT), signature=b"unreadable here"),)),
    ],
)
def test_what_does_not_count_as_a_grant(spoil: Callable[[LeaseReply], LeaseReply]) -> None:
    link = guarded()
    link.run(LEASE)
    asked = link[SIDECAR].sent(LeaseRequest)[-1]
    good = LeaseReply(AGENT, asked.nonce, asked.token, "replica/1", LEASE, "", "", asked.token, 0)
    link.tell(SIDECAR, good, "replica/1")
    link.tell(SIDECAR, spoil(structs.replace(good, replica="replica/2")), "replica/2")
    assert mode(link) == ("CLOSED", "STANDBY")
    link.tell(SIDECAR, structs.replace(good, replica="replica/2"), "replica/2")
    assert mode(link) == ("OPEN", "RUNNING"), "the story is sound but for what was spoiled"


def test_nobody_grants_in_anothers_name() -> None:
    link = guarded()
    link.run(LEASE)
    asked = link[SIDECAR].sent(LeaseRequest)[-1]
    for replica in REPLICAS:
        link.tell(SIDECAR, LeaseReply(AGENT, asked.nonce, asked.token, replica, LEASE, "", "", asked.token, 0), "replica/1")
        link.tell(SIDECAR, LeaseReply(AGENT, asked.nonce, asked.token, replica, LEASE, "", "", asked.token, 0), LEDGER)
    assert mode(link) == ("CLOSED", "STANDBY")


def test_a_drain_lease_that_ends_closes_the_gate_and_says_so_to_the_agent() -> None:
    link = guarded()
    push(link, pair.order(SOFT))
    assert link[SIDECAR].sent(StopRequest)[-1] == StopRequest(drain=True)
    link.run(LEASE)
    assert mode(link) == ("CLOSED", "QUIESCING")
    assert link[SIDECAR].sent(StopRequest)[-1] == StopRequest(drain=False)
