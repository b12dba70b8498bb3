"""Three replicas over a link that loses, repeats and reorders what it likes: whatever they were told, they end with the same intent (S5, L10)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from killswitch.core import intent
from killswitch.core.certificates import ResumeCertificate
from killswitch.core.intent import HARD, ISOLATE, SOFT
from killswitch.core.messages import Gossip, Order
from tests.unit import pair
from tests.unit.pair import REPLICAS, SECOND, Link

ORDERS = tuple(
    pair.order(severity, scope=scope, nonce=scope.kind) for severity in (SOFT, ISOLATE, HARD) for scope in (pair.WHOLE_TENANT, pair.THIS_AGENT)
)
CERTIFICATES = (pair.resume(*ORDERS[:2], nonce="one"), pair.resume(*ORDERS[1:5], nonce="two"))
NEWS = st.lists(st.tuples(st.sampled_from(REPLICAS), st.sampled_from([*ORDERS, *CERTIFICATES])), min_size=1, max_size=8)
FATES = st.lists(st.sampled_from(["deliver", "lose", "repeat", "hold"]), min_size=8, max_size=40)


def tell(link: Link, node: str, news: Order | ResumeCertificate) -> None:
    peer = next(replica for replica in REPLICAS if replica != node)
    gossip = Gossip("", orders=(news,)) if isinstance(news, Order) else Gossip("", certificates=(news,))
    link.tell(node, gossip, peer, settle=False)


def unruly(link: Link, fates: list[str]) -> None:
    """Deliver what is under way by the fates, in turn; what is held comes at the very end, after everything sent later."""
    held = []
    for fate in fates:
        for seat in link.seats.values():
            link.sync(seat.node)
        if not link.queue:
            continue
        if fate == "lose":
            link.queue.pop(0)
        elif fate == "hold":
            held.append(link.queue.pop(0))
        else:
            if fate == "repeat":
                link.queue.append(link.queue[0])
            link._deliver(0)
    link.queue += held[::-1]


@settings(max_examples=60)
@given(NEWS, FATES)
def test_replicas_converge(news: list[tuple[str, Order | ResumeCertificate]], fates: list[str]) -> None:
    link = Link(*REPLICAS)
    link.boot()
    for node, each in news:
        tell(link, node, each)
        unruly(link, fates[: len(fates) // 2])
    unruly(link, fates)
    link.settle()
    link.run(4 * pair.PARAMETERS.gossip_ns)  # the link is sound again: digests, ids, bodies
    states = [link[node].state.intent for node in REPLICAS]
    assert {intent.digest(state) for state in states} == {intent.digest(states[0])}
    assert set(states[0].orders) == {pair.id_of(each) for _, each in news if isinstance(each, Order)}
    assert states[0].in_force == {pair.id_of(each) for _, each in news if isinstance(each, ResumeCertificate)}
    views = [{intent.view(state, identity) for identity in link[node].state.fleet.values()} for node, state in zip(REPLICAS, states, strict=True)]
    assert views[0] == views[1] == views[2]
    for node in REPLICAS:
        assert link[node].state.durable == {order: set(REPLICAS) for order in states[0].orders} or states[0].lifted


@settings(max_examples=30)
@given(NEWS, st.integers(0, 2))
def test_a_replica_that_restarts_loses_nothing_it_vouched_for(news: list[tuple[str, Order | ResumeCertificate]], restarts: int) -> None:
    link = Link(*REPLICAS)
    link.boot()
    for node, each in news:
        tell(link, node, each)
        link.settle()
        vouched = {order for gossip in link[REPLICAS[restarts]].sent(Gossip) for order in gossip.durable}
        link.boot(REPLICAS[restarts])
        assert vouched <= set(link[REPLICAS[restarts]].state.intent.orders)
    link.run(SECOND)
    assert len({intent.digest(link[node].state.intent) for node in REPLICAS}) == 1
