"""Numbers at the end of what the wire carries: obeyed or ignored, never the end of the node that hears them (S26, S27)."""

from __future__ import annotations

import pytest
from msgspec import structs

from killswitch.core import codec
from killswitch.core.events import Command, Send
from killswitch.core.intent import HARD, SOFT
from killswitch.core.messages import COUNTER_MAX, Fence, FenceAck, LeaseReply, LeaseRequest, Message, OrderRequest, StartReply, StartRequest, Token
from tests.unit import pair
from tests.unit.one_sided import FIRST, ONE, accept, alone, ask_lease, promise, push
from tests.unit.pair import AGENT, LEDGER, REPLICAS, SECOND, SIDECAR, Link, guarded, mode

GREATEST = 2**64 - 1
ABSURD = Token(1, GREATEST, "x")


def assert_all_fit_on_the_wire(link: Link, node: str) -> None:
    for effect in link[node].effects:
        if isinstance(effect, Send):
            codec.encode(effect.message, node, effect.to, "acme")


@pytest.mark.parametrize(("grace_ns", "name"), [(GREATEST, "DRAINING"), (2**63, "DRAINING"), (-1, "KILLING"), (-(2**63), "KILLING")])
def test_an_order_with_an_absurd_grace_is_obeyed(grace_ns: int, name: str) -> None:
    link = guarded()
    push(link, pair.order(SOFT, grace_ns=grace_ns))
    assert mode(link)[1] == name
    link[SIDECAR].boot(link.now)
    assert len(link[SIDECAR].state.intent.orders) == 1
    replica = alone()
    promise(replica)
    accept(replica, pair.order(SOFT, grace_ns=grace_ns))
    assert ask_lease(replica).len_ns == (pair.PARAMETERS.lease_ns if grace_ns > 0 else 0)
    assert_all_fit_on_the_wire(replica, ONE)


@pytest.mark.parametrize("kind", ["start", "lease", "fence"])
def test_a_token_that_nothing_could_follow_is_not_followed(kind: str) -> None:
    link = Link(SIDECAR, agent_boots=False)
    link.boot()
    link.run(SECOND)
    proposed = link[SIDECAR].sent(StartRequest)[-1].token
    news: dict[str, tuple[Message, str]] = {
        "start": (StartReply(AGENT, proposed, ONE, False, False, "stale token", ABSURD, ""), ONE),
        "lease": (LeaseReply(AGENT, "", FIRST, ONE, 0, "stale token", "", ABSURD, 0), ONE),
        "fence": (FenceAck(LEDGER, AGENT, ABSURD), LEDGER),
    }
    link.tell(SIDECAR, *news[kind])
    link.run(2 * SECOND)
    assert link[SIDECAR].sent(StartRequest)[-1].token.counter < COUNTER_MAX
    assert_all_fit_on_the_wire(link, SIDECAR)


def test_a_replica_neither_promises_nor_fences_beyond_what_can_be_followed() -> None:
    link = alone()
    promise(link, ABSURD)
    assert not link[ONE].state.promised
    link.tell(ONE, LeaseRequest(AGENT, ABSURD, "n", "", 0, ""), SIDECAR)
    accept(link, pair.order(HARD))
    assert link[ONE].sent(Fence)
    assert_all_fit_on_the_wire(link, ONE)


def test_no_grant_is_longer_than_a_lease() -> None:
    link = guarded()
    link.run(pair.PARAMETERS.lease_ns)
    asked = link[SIDECAR].sent(LeaseRequest)[-1]
    for replica in REPLICAS:
        link.tell(SIDECAR, LeaseReply(AGENT, asked.nonce, asked.token, replica, GREATEST, "", "", asked.token, 0), replica)
    assert mode(link) == ("OPEN", "RUNNING")
    assert link[SIDECAR].state.lease_until_ns == asked.sent_ns + pair.PARAMETERS.lease_ns


@pytest.mark.parametrize("number", [GREATEST, 2**64, 10**30, -1, -(10**30)])
def test_what_a_person_types_is_sent_as_what_makes_sense(number: int) -> None:
    link = Link("operator")
    link.boot("operator")
    link.give("operator", structs.replace(Command("order", "r", "alice", "acme", "tenant", "acme"), gate=number, life=number, grace_ns=number))
    (asked,) = link["operator"].sent(OrderRequest)
    assert (asked.gate, asked.life) == (2, 2)
    assert_all_fit_on_the_wire(link, "operator")
