"""What goes first, how long to wait before saying it again, and who may say how much."""

from __future__ import annotations

from killswitch.core import audit, traffic
from killswitch.core.intent import HARD
from killswitch.core.messages import NO_TOKEN, Fence, Gate, Gossip, LeaseReply, LeaseRequest, Life, OrderPush, OrderRequest, OrderStatus
from killswitch.core.scopes import Scope
from tests.unit import pair
from tests.unit.pair import LEDGER, REPLICAS, SECOND, SIDECAR, Link

ONE = REPLICAS[0]
GOSSIP_NS = pair.PARAMETERS.gossip_ns
HEARTBEAT = LeaseRequest(pair.AGENT, NO_TOKEN, "n", "", 0, "BOOT")


def test_orders_go_first_and_each_peer_waits_in_a_lane_of_its_own() -> None:
    kill = pair.order(HARD)
    assert traffic.lane(OrderPush((kill,), ()), ONE) == (traffic.URGENT, ONE)
    assert traffic.lane(Gossip("", orders=(kill,)), ONE) == (traffic.URGENT, ONE)
    assert traffic.lane(Gossip(""), ONE) == (traffic.USUAL, ONE)
    assert traffic.lane(HEARTBEAT, SIDECAR) == (traffic.USUAL, SIDECAR)
    assert traffic.lane(HEARTBEAT, "sidecar/globex/1") != traffic.lane(HEARTBEAT, SIDECAR)


def test_pauses_grow_to_a_cap_and_differ_between_those_who_wait() -> None:
    for tries in range(12):
        longest = min(GOSSIP_NS << min(tries, 2), traffic.BACKOFF_CAP_NS)
        drawn = [traffic.pause_ns(tries, GOSSIP_NS, f"replica/{number}") for number in range(200)]
        assert 0 < min(drawn) < longest // 10
        assert longest - longest // 10 < max(drawn) <= longest
        assert len(set(drawn)) == 200


def test_a_share_is_a_burst_and_a_rate_and_one_senders_is_not_anothers() -> None:
    shares = traffic.Shares(cost_ns=1000)
    assert sum(shares.take("x", 0) for _ in range(1000)) == traffic.BURST
    assert sum(shares.take("x", now) for now in range(1, 100_001)) == 100
    assert shares.take("y", 100_001)
    assert sum(shares.take("x", 10**9) for _ in range(1000)) == traffic.BURST  # however long it said nothing
    assert not shares.take("x", 50)  # a clock that was set back earns nothing


def alone() -> Link:
    link = Link(ONE)
    link.boot()
    return link


def test_who_floods_is_answered_within_its_share_and_others_as_ever() -> None:
    link = alone()
    for _ in range(1000):
        link.tell(ONE, HEARTBEAT, SIDECAR)
    assert len(link[ONE].sent(LeaseReply)) == traffic.BURST
    link.tell(ONE, LeaseRequest("globex/1", NO_TOKEN, "n", "", 0, "BOOT"), "sidecar/globex/1")
    assert len(link[ONE].sent(LeaseReply)) == traffic.BURST + 1
    assert [fields["dropped"] for fields in link[ONE].observed("over-share")] == [1, 10, 100]
    link.run(pair.PARAMETERS.renew_ns)
    link.tell(ONE, HEARTBEAT, SIDECAR)
    assert len(link[ONE].sent(LeaseReply)) == traffic.BURST + 2


def test_a_flood_of_refused_orders_fills_no_log_and_a_kill_among_it_is_heard() -> None:
    link = alone()
    forged = OrderRequest("r", "mallory", "acme", Scope("tenant", "acme"), Gate.CLOSED, Life.KILL, 0, "", signature=b"no")
    for _ in range(1000):
        link.tell(ONE, forged, SIDECAR)
    assert len(link[ONE].sent(OrderStatus)) == 1000
    refusals = [record for record in link[ONE].records if record.kind == "DECISION"]
    assert len(refusals) == traffic.BURST
    link.tell(ONE, Gossip("", orders=(pair.order(HARD),)), REPLICAS[1])
    assert len(link[ONE].state.intent.orders) == 1
    link.run(pair.PARAMETERS.renew_ns)
    link.tell(ONE, forged, SIDECAR)
    last = [audit.content(record) for record in link[ONE].records if record.kind == "DECISION"][-1]
    assert last["unrecorded"] == 1000 - traffic.BURST
    link.tell(ONE, forged, SIDECAR)
    last = [audit.content(record) for record in link[ONE].records if record.kind == "DECISION"][-1]
    assert last["unrecorded"] == 0, "each is counted once"


def test_a_peer_that_is_told_nothing_new_is_told_ever_more_rarely_and_news_at_the_next_turn() -> None:
    link = alone()
    link.run(60 * SECOND)
    quiet = len(link[ONE].sent(Gossip))
    rounds = 60 * SECOND // GOSSIP_NS * 2
    assert rounds // 5 < quiet < rounds * 2 // 3
    link.tell(ONE, Gossip("", orders=(pair.order(HARD),)), REPLICAS[1])
    before = len(link[ONE].sent(Gossip))
    link.run(GOSSIP_NS)
    assert len(link[ONE].sent(Gossip)) >= before + 2


def test_fences_are_pressed_on_with_pauses_until_they_hold() -> None:
    link = alone()
    link.tell(ONE, Gossip("", orders=(pair.order(HARD, scope=pair.THIS_AGENT),)), REPLICAS[1])
    at_once = len(link[ONE].sent(Fence, LEDGER))
    assert at_once == 1
    link.run(20 * SECOND)
    tried = len(link[ONE].sent(Fence, LEDGER))
    assert 8 <= tried < 20 * SECOND // GOSSIP_NS
