"""Orders that every replica has lost, and a sidecar still holds: they come back to whoever lacks them (protocol 3.7)."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from killswitch.core import intent
from killswitch.core.certificates import ResumeCertificate, ResumeSubmit
from killswitch.core.intent import HARD, SOFT
from killswitch.core.messages import LeaseReply, LeaseRequest, Order, OrderPush
from killswitch.core.scopes import Scope
from tests.unit import pair
from tests.unit.one_sided import accept, push
from tests.unit.pair import AGENT, REPLICAS, SECOND, SIDECAR, Link, cell, guarded, id_of, mode

KILL = pair.order(HARD)
OTHER = pair.order(SOFT, nonce="another")


def handed_back(link: Link, replica: str = "replica/1") -> list[tuple[Order, ...]]:
    return [message.orders for message in link[SIDECAR].sent(OrderPush, replica)]


def answer(link: Link, *orders: Order, certificates: tuple[ResumeCertificate, ...] = (), **changed: Any) -> None:
    """A replica answers the latest heartbeat, with a view of these orders."""
    asked = link[SIDECAR].sent(LeaseRequest)[-1]
    known = intent.Intent()
    for order in orders:
        read = intent.read_order(order)
        assert read is not None
        intent.add_order(known, read)
    view = intent.view(known, link[SIDECAR].state.identity).digest
    reply = LeaseReply(AGENT, asked.nonce, asked.token, "replica/1", 0, "ordered", view, asked.token, 0, True, orders, certificates)
    link.tell(SIDECAR, structs.replace(reply, **changed))


def test_what_all_replicas_lost_comes_back_and_can_be_lifted() -> None:
    link = cell()
    push(link, KILL)
    link.run(2 * SECOND)
    assert mode(link) == ("CLOSED", "STOPPED")
    assert all(id_of(KILL) in link[replica].state.intent.orders for replica in REPLICAS)
    for replica in REPLICAS:
        link.tell(replica, ResumeSubmit(replica, pair.resume(KILL)), "operator")
    link.run(20 * SECOND)
    assert mode(link) == ("OPEN", "RUNNING")


def test_where_nothing_is_missing_nothing_is_handed_back() -> None:
    link = cell()
    accept(link, KILL, *REPLICAS)
    link.run(10 * SECOND)
    assert mode(link) == ("CLOSED", "STOPPED")
    assert not link[SIDECAR].sent(OrderPush)


def test_it_goes_to_the_replica_that_lacks_it_with_each_answer_to_a_heartbeat() -> None:
    link = guarded()
    push(link, KILL, OTHER)
    link.run(SECOND)
    answer(link, OTHER)
    answer(link, OTHER)
    assert handed_back(link) == [(KILL,), (KILL,)]
    assert not handed_back(link, "replica/2")
    answer(link, KILL, OTHER)
    assert len(handed_back(link)) == 2


@pytest.mark.parametrize(
    "changed", [{"complete": False}, {"nonce": "of an earlier start"}, {"replica": "replica/2"}], ids=["part of a view", "late", "another's word"]
)
def test_what_a_replica_lacks_only_its_own_full_answer_to_a_heartbeat_says(changed: dict[str, Any]) -> None:
    link = guarded()
    push(link, KILL)
    link.run(SECOND)
    answer(link, **changed)
    assert not link[SIDECAR].sent(OrderPush)


@pytest.mark.parametrize(("scope", "missing"), [(pair.WHOLE_TENANT, False), (Scope("agent", "acme/2"), True)])
def test_what_a_certificate_is_about_to_lift_is_not_missed(scope: Scope, missing: bool) -> None:
    link = guarded()
    push(link, KILL)
    link.run(SECOND)
    link[SIDECAR].disk = "stuck"
    answer(link, certificates=(pair.resume(KILL, scope=scope),))
    assert bool(handed_back(link)) is missing


def test_a_replica_takes_an_order_from_whoever_has_it_and_believes_none_that_is_forged() -> None:
    link = Link(*REPLICAS)
    link.boot()
    link.tell("replica/1", OrderPush((structs.replace(OTHER, signature=bytes(32)), KILL), ()), SIDECAR)
    assert [list(link[replica].state.intent.orders) for replica in REPLICAS] == [[id_of(KILL)]] * 3
