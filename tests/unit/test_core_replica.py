"""The replica: accepting and effective orders, honest statuses, leases, promises, escalation, waiting, resumes, anti-entropy (protocol 3.7, 3.8)."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from killswitch.core import intent, trust
from killswitch.core.certificates import ResumeStatus, ResumeSubmit
from killswitch.core.events import DiskFailed, DiskFreed, DiskFull, Send
from killswitch.core.intent import HARD, ISOLATE, QUIESCE, RUN, SOFT, Severity
from killswitch.core.messages import (
    NO_TOKEN,
    Gossip,
    IntentRead,
    IntentReply,
    LeaseReply,
    LeaseRequest,
    OrderPush,
    OrderRequest,
    OrderStatus,
    StartReply,
    StartRequest,
    Token,
)
from killswitch.core.replica import orders
from killswitch.core.scopes import Scope
from tests.unit import pair
from tests.unit.one_sided import (
    FIRST,
    GREATER,
    LEASE,
    ONE,
    RESIDUE,
    SLACK,
    THREE,
    TWO,
    accept,
    alone,
    ask_lease,
    control_plane,
    promise,
    request,
    statuses,
)
from tests.unit.pair import AGENT, LEDGER, REPLICAS, SECOND, SIDECAR, TRUST, Link, id_of

# -- issuing -------------------------------------------------------------------------------------------------------------------------------


def test_an_order_is_accepted_when_durable_here_and_effective_when_at_k() -> None:
    link = control_plane()
    link[ONE].disk = "stuck"
    link.cut = lambda sender, to, message: to in (TWO, THREE)
    link.tell(ONE, request(), "operator")
    assert statuses(link) == [], "in memory is not accepted"
    link.sync(ONE)
    link.settle()
    assert statuses(link) == [("ACCEPTED", 1)]
    link.cut = lambda sender, to, message: False
    link[ONE].disk = "prompt"
    link.run(SECOND)
    assert statuses(link)[-1] == ("EFFECTIVE", 3)
    assert [stage for stage, copies in statuses(link) if copies < 2] == ["ACCEPTED"]


def test_a_replica_whose_disk_failed_forwards_and_never_vouches() -> None:
    link = control_plane()
    link.cut = lambda sender, to, message: sender in (TWO, THREE) and to == ONE
    link[ONE].disk = "broken"
    link.give(ONE, DiskFailed(1))
    link.tell(ONE, request(), "operator")
    link.run(3 * SECOND)
    assert statuses(link) == []
    assert id_of_request(link) in link[TWO].state.intent.orders
    assert id_of_request(link) not in link[ONE].state.durable
    assert all(not gossip.durable for gossip in link[ONE].sent(Gossip))
    assert ask_lease(link).len_ns == 0


def test_a_replica_whose_disk_is_full_records_stops_permits_nothing_and_works_again_when_there_is_room() -> None:
    link = control_plane()
    promise(link)
    link.give(ONE, DiskFull(9))
    link.tell(ONE, request(), "operator")
    link.run(SECOND)
    assert statuses(link)[-1] == ("EFFECTIVE", 3)
    assert ask_lease(link).why == "disk full"
    known = len(link[ONE].records)
    link.tell(ONE, structs.replace(request(), principal="mallory", request="refused"), "operator")
    certificate = pair.resume(*(known.order for known in link[ONE].state.intent.orders.values()))
    link.tell(ONE, ResumeSubmit("r", certificate), "operator")
    link.tell(ONE, Gossip("", certificates=(certificate,)), TWO)
    assert link[ONE].kinds()[known:] == []
    assert [status.stage for status in link[ONE].sent(ResumeStatus)] == ["ASK_ANOTHER"]
    link.give(ONE, DiskFreed())
    link.tell(ONE, ResumeSubmit("r", certificate), "operator")
    assert [status.stage for status in link[ONE].sent(ResumeStatus)] == ["ASK_ANOTHER", "ACCEPTED"]
    assert ask_lease(link).why != "disk full"


def id_of_request(link: Link) -> str:
    (order,) = link[ONE].state.intent.orders
    return str(order)


def test_the_same_request_is_the_same_order_everywhere() -> None:
    link = control_plane()
    for node in (*REPLICAS, ONE, TWO):
        link.tell(node, request(), "operator")
        link.run(SECOND)
    orders = {order for node in REPLICAS for order in link[node].state.intent.orders}
    assert len(orders) == 1
    assert link[ONE].kinds().count("ORDER_ACCEPTED") == 1
    assert {status.order for node in REPLICAS for status in link[node].sent(OrderStatus)} == orders
    link.tell(ONE, request(name="another"), "operator")
    assert len(link[ONE].state.intent.orders) == 2


def test_a_request_whose_order_was_lifted_is_told_so_and_stops_nobody() -> None:
    link = control_plane()
    link.tell(ONE, request(), "operator")
    link.tell(ONE, ResumeSubmit("r", pair.resume(*(known.order for known in link[ONE].state.intent.orders.values()))), "operator")
    link.run(SECOND)
    for node in (ONE, TWO):
        link.tell(node, request(), "operator")
        assert statuses(link, node)[-1][0] == "ALREADY_COVERED"
    assert intent.view(link[ONE].state.intent, link[ONE].state.fleet[AGENT]).severity == RUN


def test_a_certificate_alone_covers_a_request_that_comes_later() -> None:
    """The retry reaches a replica that knows the certificate and never knew the order."""
    first, second = alone(), alone()
    first.tell(ONE, request(), "operator")
    order = next(iter(first[ONE].state.intent.orders.values())).order
    second.tell(ONE, ResumeSubmit("r", pair.resume(order)), "operator")
    second.tell(ONE, request(), "operator")
    assert statuses(second) == [("ALREADY_COVERED", 0)]


@pytest.mark.parametrize(
    "spoiled",
    [
        structs.replace(request(), life=0),
        structs.replace(request(), signature=b""),
        structs.replace(request(), principal="bob"),
        trust.sign_request(TRUST, structs.replace(request(), principal="mallory")),
        trust.sign_request(TRUST, structs.replace(request(), principal=SIDECAR)),
    ],
)
def test_who_may_not_order_is_refused(spoiled: OrderRequest) -> None:
    link = alone()
    link.tell(ONE, spoiled, "operator")
    assert statuses(link) == [("REFUSED", 0)]
    assert not link[ONE].state.intent.orders
    assert link[ONE].kinds()[-1] == "DECISION"


OTHERWISE: list[dict[str, Any]] = [
    {"grace_ns": 5 * SECOND - 1}, {"grace_ns": 5 * SECOND + 1}, {"gate": 2}, {"life": 2}, {"scope": Scope("agent", "acme/1")}, {"reason": "other"},
    {"cleanup": "compensate"}, {"request": "another"},
]  # fmt: skip


@pytest.mark.parametrize("otherwise", [{}, *OTHERWISE])
@pytest.mark.parametrize("lifted", [False, True])
def test_what_is_asked_again_is_the_same_only_if_all_of_it_is(otherwise: dict[str, Any], lifted: bool) -> None:
    link = alone()
    first = request(SOFT, grace_ns=5 * SECOND)
    link.tell(ONE, first, "operator")
    state = link[ONE].state
    (known,) = state.intent.orders.values()
    if lifted:
        state.intent.lifted |= {known.id}
    again = trust.sign_request(TRUST, structs.replace(first, **otherwise, signature=b""))
    assert orders.order_before(state, again) is (None if otherwise else known)
    link.tell(ONE, again, "operator")
    assert len(state.intent.orders) == 1 + bool(otherwise)


def test_grace_is_clamped_when_an_order_is_issued() -> None:
    link = alone()
    link.tell(ONE, request(SOFT, grace_ns=2**62), "operator")
    (known,) = link[ONE].state.intent.orders.values()
    assert known.body.grace_ns == pair.PARAMETERS.grace_max_ns


# -- leases --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("orders", "length_ns"),
    [((), LEASE), ((SOFT,), LEASE), ((ISOLATE,), 0), ((QUIESCE,), 0), ((HARD,), 0), ((ISOLATE, SOFT), 0)],
)
def test_leases_under_each_severity(orders: tuple[Severity, ...], length_ns: int) -> None:
    link = alone()
    promise(link)
    for severity in orders:
        accept(link, pair.order(severity))
    reply = ask_lease(link)
    assert reply.len_ns == length_ns
    assert {id_of(order) for order in reply.orders} == {id_of(pair.order(severity)) for severity in orders}
    assert reply.complete


def test_a_drain_lease_shrinks_with_grace_and_is_nothing_after_a_restart() -> None:
    link = alone()
    promise(link)
    accept(link, pair.order(SOFT, grace_ns=7 * SECOND))
    link.now += 4 * SECOND
    assert ask_lease(link).len_ns == 3 * SECOND
    link.boot(ONE)
    assert ask_lease(link).len_ns == 0
    assert ask_lease(link).orders


@pytest.mark.parametrize(
    ("promised", "asked", "why"),
    [(None, FIRST, "unpromised"), (None, NO_TOKEN, "unpromised"), (FIRST, FIRST, ""), (GREATER, FIRST, "stale token"), (FIRST, GREATER, "unpromised"),
     (FIRST, NO_TOKEN, "stale token"), (FIRST, Token(1, 1, "clone"), "unpromised")],
)  # fmt: skip
def test_leases_go_to_the_promised_token_alone(promised: Token | None, asked: Token, why: str) -> None:
    link = alone()
    if promised:
        promise(link, promised)
    reply = ask_lease(link, token=asked)
    assert (reply.why, reply.len_ns) == (why, 0 if why else LEASE)


def test_only_its_own_sidecar_speaks_for_an_agent() -> None:
    link = alone()
    for message in (LeaseRequest(AGENT, FIRST, "n", "", 0, ""), StartRequest(AGENT, FIRST, "")):
        link.tell(ONE, message, "sidecar/globex/1")
    assert not link[ONE].sent(LeaseReply)
    assert not link[ONE].sent(StartReply)
    assert not link[ONE].state.promised


def test_a_denial_begins_with_learning_and_a_lifting_with_durability() -> None:
    link = alone()
    promise(link)
    isolate = pair.order(ISOLATE)
    link[ONE].disk = "stuck"
    accept(link, isolate)
    assert ask_lease(link).len_ns == 0
    link.tell(ONE, ResumeSubmit("r", pair.resume(isolate)), "operator")
    assert ask_lease(link).len_ns == 0
    assert not [status for status in link.queue if isinstance(status[2], ResumeStatus)]
    link.sync(ONE)
    assert ask_lease(link).len_ns == LEASE


def test_a_long_list_of_orders_is_no_grant_and_is_handed_over_bit_by_bit() -> None:
    link = alone()
    promise(link)
    orders = [pair.order(SOFT, nonce=f"{number}") for number in range(150)]
    for order in orders:
        accept(link, order)
    seen: set[str] = set()
    for _ in range(3):
        reply = ask_lease(link)
        assert not reply.complete
        seen |= {id_of(order) for order in reply.orders}
        link.run(pair.PARAMETERS.renew_ns)
    assert seen == {id_of(order) for order in orders}


def test_every_certificate_reaches_a_sidecar_that_keeps_asking() -> None:
    """However many resumes there have been: one that is never sent leaves its order in force at the sidecar for ever (L6)."""
    link = alone()
    certificates = []
    for number in range(150):
        order = pair.order(ISOLATE, nonce=f"{number}")
        accept(link, order)
        certificates.append(pair.resume(order, nonce=f"{number}"))
        link.tell(ONE, ResumeSubmit("r", certificates[-1]), "operator")
    seen: set[str] = set()
    for _ in range(3):
        seen |= {id_of(certificate) for certificate in ask_lease(link).certificates}
        link.run(pair.PARAMETERS.renew_ns)
    assert seen == {id_of(certificate) for certificate in certificates}


# -- promises ------------------------------------------------------------------------------------------------------------------------------


def test_a_promise_is_durable_before_it_is_given_and_denies_at_once() -> None:
    link = alone()
    promise(link)
    assert ask_lease(link).len_ns == LEASE
    link[ONE].disk = "stuck"
    given = len(link[ONE].sent(StartReply))
    effects = link.tell(ONE, StartRequest(AGENT, GREATER, ""), SIDECAR)
    (reply,) = [effect for effect in effects if isinstance(effect, Send)]
    assert isinstance(reply.message, StartReply)
    assert reply.message.granted
    assert reply.after_lsn == link[ONE].records[-1].seq
    assert link[ONE].records[-1].kind == "PROMISE"
    assert ask_lease(link, token=FIRST).why == "stale token"
    assert ask_lease(link, token=GREATER).why == "unpromised", "in memory is not promised"
    (again,) = [effect for effect in link.tell(ONE, StartRequest(AGENT, GREATER, ""), SIDECAR) if isinstance(effect, Send)]
    assert again.after_lsn >= reply.after_lsn
    link.sync(ONE)
    assert ask_lease(link, token=GREATER).len_ns == LEASE
    assert len(link[ONE].sent(StartReply)) == given + 2


def test_promises_survive_and_never_fall() -> None:
    link = alone()
    promise(link, GREATER)
    link.boot(ONE)
    promise(link, FIRST)
    refused = link[ONE].sent(StartReply)[-1]
    assert (refused.granted, refused.why, refused.promised) == (False, "stale token", GREATER)
    assert ask_lease(link, token=GREATER).len_ns == LEASE


def test_no_start_is_promised_under_an_order() -> None:
    link = alone()
    accept(link, pair.order(SOFT))
    promise(link)
    reply = link[ONE].sent(StartReply)[-1]
    assert (reply.granted, reply.why, [id_of(order) for order in reply.orders]) == (False, "ordered", [id_of(pair.order(SOFT))])


@pytest.mark.parametrize(
    ("waited_ns", "stopped", "ready"), [(0, NO_TOKEN, False), (RESIDUE - 1, NO_TOKEN, False), (RESIDUE, NO_TOKEN, True), (0, FIRST, True)]
)
def test_a_successor_waits_for_its_predecessor(waited_ns: int, stopped: Token, ready: bool) -> None:
    link = alone()
    promise(link, FIRST)
    promise(link, GREATER)
    link.now += waited_ns
    promise(link, GREATER, stopped=stopped)
    assert link[ONE].sent(StartReply)[-1].ready is ready


@pytest.mark.parametrize("restarted", [False, True])
def test_a_proof_of_a_stop_is_none_of_another_start_of_the_same_number(restarted: bool) -> None:
    """Found by S8, once it looked at what each replica says of a predecessor, on two hosts that boot from one snapshot."""
    link = alone()
    elsewhere = structs.replace(GREATER, instance=GREATER.instance + "~2")
    promise(link, GREATER)
    if restarted:
        link.boot(ONE)
    promise(link, elsewhere, stopped=FIRST)
    assert not link[ONE].sent(StartReply)[-1].ready
    link.now += RESIDUE
    promise(link, elsewhere, stopped=FIRST)
    assert link[ONE].sent(StartReply)[-1].ready


def test_a_restart_of_the_replica_starts_that_wait_anew() -> None:
    link = alone()
    promise(link, GREATER)
    link.now += RESIDUE
    link.boot(ONE)
    promise(link, GREATER)
    assert not link[ONE].sent(StartReply)[-1].ready
    link.now += RESIDUE
    promise(link, GREATER)
    assert link[ONE].sent(StartReply)[-1].ready


# -- the log and anti-entropy --------------------------------------------------------------------------------------------------------------


def test_every_prefix_of_the_log_folds_to_what_it_says() -> None:
    link = control_plane()
    promise(link, nodes=REPLICAS)
    link.tell(ONE, request(SOFT, grace_ns=SECOND), "operator")
    link.run(SECOND + SLACK)
    link.tell(ONE, ResumeSubmit("r", pair.resume(*(known.order for known in link[ONE].state.intent.orders.values()))), "operator")
    link.run(SECOND)
    records, digest = list(link[ONE].records), link[ONE].machine.digest()
    for length in range(len(records) + 1):
        link[ONE].boot(link.now, records=records[:length])
        kinds = [record.kind for record in records[:length]]
        assert len(link[ONE].state.intent.orders) == kinds.count("ORDER_ACCEPTED")
        assert len(link[ONE].state.intent.in_force) == kinds.count("CERT_ACCEPTED")
        assert link[ONE].state.seen == {}
    assert link[ONE].machine.digest() == digest


def test_replicas_that_missed_everything_end_equal() -> None:
    link = control_plane()
    link.cut = pair.cut_off(*REPLICAS)
    for number, node in enumerate(REPLICAS):
        for each in range(5):
            accept(link, pair.order(SOFT, nonce=f"{number}/{each}"), node)
    link.tell(ONE, ResumeSubmit("r", pair.resume(*(known.order for known in link[ONE].state.intent.orders.values()))), "operator")
    link.cut = lambda sender, to, message: False
    link.run(2 * SECOND)
    assert len({intent.digest(link[node].state.intent) for node in REPLICAS}) == 1
    assert len(link[ONE].state.intent.orders) == 15
    before = len(link[ONE].sent(Gossip))
    link.run(20 * SECOND)
    assert 20 <= len(link[ONE].sent(Gossip)) - before <= 60, "at rest, a digest to each peer now and then, where every round would make 80"


def test_replicas_that_cannot_believe_each_other_do_not_talk_without_end() -> None:
    """Two keysets in the middle of a rotation: each holds an order that the other rejects. That is no reason for a storm (L8)."""
    link = Link(ONE, TWO)
    for node in (ONE, TWO):
        other = TWO if node == ONE else ONE
        link[node].keyset = structs.replace(TRUST.keyset, grants={key: each for key, each in TRUST.keyset.grants.items() if key != other})
    link.boot()
    accept(link, pair.order(SOFT, signer=ONE), ONE)
    accept(link, pair.order(HARD, signer=TWO), TWO)
    sent = len(link[ONE].sent(Gossip)) + len(link[TWO].sent(Gossip))
    link.run(10 * pair.PARAMETERS.gossip_ns)
    assert len(link[ONE].sent(Gossip)) + len(link[TWO].sent(Gossip)) - sent < 200


def test_each_sidecar_is_told_what_concerns_its_agent_and_nothing_else() -> None:
    link = control_plane()
    mine = pair.order(HARD, scope=pair.THIS_AGENT)
    theirs = pair.order(HARD, scope=Scope("agent", "globex/1"), tenant="globex")
    lifts = pair.resume(theirs, scope=Scope("tenant", "globex"), tenant="globex")
    link.tell(ONE, Gossip("", orders=(mine, theirs), certificates=(lifts,)), TWO, settle=False)
    assert [push.orders for push in link[ONE].sent(OrderPush, SIDECAR)] == [(mine,)]
    assert [push.orders for push in link[ONE].sent(OrderPush, "sidecar/globex/1")] == [(theirs,)]


@pytest.mark.parametrize(("agent", "told"), [(AGENT, True), ("globex/1", False)])
def test_a_certificate_of_orders_yet_unknown_goes_to_nobody_of_whom_it_may_not_speak(agent: str, told: bool) -> None:
    link = alone()
    lifts = pair.resume(pair.order(HARD))
    link.tell(ONE, Gossip("", certificates=(lifts,)), TWO)
    assert ask_lease(link, agent=agent).certificates == ((lifts,) if told else ())


def test_strangers_are_told_nothing_and_vouch_for_nothing() -> None:
    link = alone()
    hard = pair.order(HARD)
    accept(link, hard)
    for stranger in (SIDECAR, "replica/9", LEDGER):
        link.tell(ONE, IntentRead("n"), stranger)
        link.tell(ONE, Gossip("", durable=(id_of(hard),), waited=(id_of(hard),)), stranger)
        link.tell(ONE, IntentReply("d", (), ()), stranger)
    assert not link[ONE].sent(IntentReply)
    assert link[ONE].state.durable == {id_of(hard): {ONE}}
