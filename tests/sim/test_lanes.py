"""Where more is said than can pass: prohibitions go first, senders take turns, and what waits is bounded."""

from __future__ import annotations

from itertools import pairwise

import pytest

from killswitch.core.heads import Cosigned
from killswitch.core.intent import HARD
from killswitch.core.messages import OrderPush
from scenarios.schedule import Entry, Fault, Trigger
from sim.lanes import LANE_MAX, Intake, Lanes
from sim.queue import Queue
from tests.live.schedules import REPLICAS, SIDECAR, both_ways, fault, order
from tests.sim.worlds import MS, SECOND, facts_of, played
from tests.unit import pair

KILL = OrderPush((pair.order(HARD),), ())
NOISE = Cosigned(())


def taken(lanes: Lanes) -> list[object]:
    return [lanes.take() for _ in range(lanes.waiting)]


def test_prohibitions_first_then_each_sender_in_turn() -> None:
    lanes = Lanes()
    for number in range(3):
        lanes.put(NOISE, "x", f"x{number}")
    lanes.put(NOISE, "y", "y0")
    lanes.put(KILL, "x", "kill")
    assert taken(lanes) == ["kill", "x0", "y0", "x1", "x2"]
    with pytest.raises(LookupError):
        lanes.take()


def test_a_full_lane_loses_its_oldest_and_no_other_lanes() -> None:
    lanes = Lanes()
    lanes.put(NOISE, "y", "y0")
    for number in range(LANE_MAX + 10):
        lanes.put(NOISE, "x", number)
    assert lanes.waiting == LANE_MAX + 1
    assert taken(lanes) == ["y0", *range(10, LANE_MAX + 10)]


def test_an_intake_serves_so_many_a_second_and_says_when_it_is_idle() -> None:
    queue = Queue(lambda: 0)
    served: list[tuple[int, object]] = []
    idle: list[int] = []
    intake = Intake(queue, 100, lambda thing: served.append((queue.now, thing)), lambda: idle.append(queue.now))
    waits = [intake.put(NOISE, "x", number) for number in range(3)]
    queue.play(SECOND)
    assert waits == [False, True, True]
    assert served == [(0, 0), (10 * MS, 1), (20 * MS, 2)]
    assert idle == [30 * MS]


def learned(*timeline: Entry) -> int:
    """When the sidecar learned the hard order, from when it was asked for."""
    run = played(*timeline, order("hard", 1500 * MS))
    return min(fact.at_ns for fact in facts_of(run, "order-learned", SIDECAR)) - 1500 * MS


def test_a_kill_overtakes_what_fills_a_narrow_link() -> None:
    narrow = fault("f", "bandwidth", SECOND, SECOND, links=both_ways(SIDECAR, *REPLICAS), bytes_per_s=4000)
    run = played(narrow, order("hard", 1500 * MS))
    assert run.fired["f"] > 20
    assert learned() < 20 * MS < learned(narrow) < 600 * MS


def test_a_flapping_partition_lets_messages_pass_in_half_of_each_period() -> None:
    flapping = fault("f", "flapping-partition", SECOND, SECOND, links=both_ways(SIDECAR, *REPLICAS), period_ns=500 * MS, shape="blackhole")
    run = played(flapping)
    arrived = [at for at, node, event in run.trace if node == SIDECAR and getattr(event, "sender", "") in REPLICAS]
    assert not [at for at in arrived if 1000 * MS < at < 1250 * MS or 1500 * MS < at < 1750 * MS]
    assert [at for at in arrived if 1250 * MS < at < 1500 * MS]
    assert [at for at in arrived if 1750 * MS < at < 2000 * MS]


def test_a_flood_is_dropped_beyond_its_share_and_fills_no_log() -> None:
    links = tuple(("sidecar/acme/2", replica) for replica in REPLICAS)
    flood = Fault(what="overload", links=links, targets=("sidecar/acme/2", *REPLICAS), for_ns=SECOND,
                  settings={"message": "any", "per_s": 1000, "capacity_per_s": 1200})  # fmt: skip
    entry = Entry(id="f", trigger=Trigger(at_ns=SECOND), action=flood)
    run = played(entry)
    assert 3000 <= run.fired["f"] <= 3003
    dropped = facts_of(run, "over-share", "replica/1")
    assert {fact.body["sender"] for fact in dropped} == {"sidecar/acme/2"}
    assert [fact.body["dropped"] for fact in dropped] == [1, 10, 100]
    refusals = [record for record in run.logs["replica/1"][0] if record.kind == "DECISION"]
    assert 64 <= len(refusals) < 150
    assert learned(entry) < 20 * MS


def test_after_a_storm_everything_that_waited_comes_and_the_limit_goes() -> None:
    storm = fault("f", "reconnect-storm", SECOND, SECOND, links=both_ways(SIDECAR, *REPLICAS), capacity_per_s=100)
    run = played(storm, order("hard", 1500 * MS))
    told = [at for at, node, event in run.trace if node == SIDECAR and isinstance(getattr(event, "message", None), OrderPush)]
    assert told
    assert min(told) > 2 * SECOND
    came = [at for at, node, event in run.trace if node == "replica/1" and getattr(event, "sender", "") == SIDECAR and at > 2 * SECOND]
    pauses = [later - sooner for sooner, later in pairwise(came)]
    assert pauses[0] >= 10 * MS
