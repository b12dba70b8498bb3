"""Every fault is armed, comes on, makes a difference, and is off again; and what each does is what it says."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from msgspec.structs import replace

from harness.checkers import check
from harness.shared.implementation import Killswitch
from harness.shared.signals import carries
from harness.verdict import Verdict
from killswitch.core.events import Durable, Receive, Timer
from killswitch.core.messages import LeaseRequest, Message
from scenarios.faults import FAULTS
from scenarios.schedule import Entry, Fault, Tape, Trigger
from sim.driver import Played
from sim.nemesis import Nemesis
from sim.world import World
from tests.live.schedules import REPLICAS, SIDECAR, both_ways, fault, order, short
from tests.sim.worlds import MS, SECOND, facts_of, of_fault, played

LINKS = both_ways(SIDECAR, *REPLICAS)
AGENT = "agent/acme/1"
ASKED = frozenset({"ignore-stop", "lie", "die-mid-checkpoint"})  # they show when the agent is asked to stop
SHARE = 300_000
FLOOD = tuple(("sidecar/acme/2", replica) for replica in REPLICAS)
INSTANT = frozenset(what for what, kind in FAULTS.items() if not kind.lasting)

EACH: dict[str, Entry] = {
    "partition": fault("f", "partition", SECOND, SECOND, links=LINKS, shape="stall"),
    "delay": fault("f", "delay", SECOND, SECOND, links=LINKS, by_ns=50 * MS),
    "packet-delay": fault("f", "packet-delay", SECOND, SECOND, links=LINKS, by_ns=50 * MS),
    "packet-loss": fault("f", "packet-loss", SECOND, SECOND, links=LINKS, chance_ppm=SHARE),
    "loss": fault("f", "loss", SECOND, SECOND, links=LINKS, chance_ppm=SHARE),
    "duplicate-messages": fault("f", "duplicate-messages", SECOND, SECOND, links=LINKS, chance_ppm=SHARE),
    "reorder": fault("f", "reorder", SECOND, SECOND, links=LINKS, chance_ppm=SHARE, by_ns=100 * MS),
    "flapping-partition": fault("f", "flapping-partition", SECOND, SECOND, links=LINKS, period_ns=200 * MS, shape="blackhole"),
    "ring-partition": fault("f", "ring-partition", SECOND, SECOND, links=both_ways("replica/1", "replica/3"), shape="cut"),
    "majorities-ring": fault("f", "majorities-ring", SECOND, SECOND, links=(("replica/3", "replica/1"), (SIDECAR, "replica/2")), shape="blackhole"),
    "bandwidth": fault("f", "bandwidth", SECOND, SECOND, links=LINKS, bytes_per_s=20_000),
    "slice": fault("f", "slice", SECOND, SECOND, links=LINKS, piece_bytes=64, pause_ns=2 * MS),
    "cut-after": fault("f", "cut-after", SECOND, SECOND, links=LINKS, cut_bytes=2000),
    "slow-close": fault("f", "slow-close", SECOND, SECOND, links=LINKS, by_ns=500 * MS),
    "overload": fault("f", "overload", SECOND, SECOND, links=FLOOD, message="any", per_s=200, capacity_per_s=400),
    "reconnect-storm": fault("f", "reconnect-storm", SECOND, SECOND, links=LINKS, capacity_per_s=200),
    "duplicate": fault("f", "duplicate", SECOND, SECOND, targets=(SIDECAR,), message="any", times=3),
    "replay": fault("f", "replay", 2 * SECOND, targets=(SIDECAR,), message="any", times=3),
    "clock-step": fault("f", "clock-step", SECOND, targets=(SIDECAR,), by_ns=-200 * MS),
    "clock-drift": fault("f", "clock-drift", SECOND, SECOND, targets=(SIDECAR,), rate_ppm=-9_000),
    "clock-freeze": fault("f", "clock-freeze", SECOND, SECOND, targets=(SIDECAR,)),
    "clock-strobe": fault("f", "clock-strobe", SECOND, SECOND, targets=(SIDECAR,), by_ns=2 * SECOND, every_ns=70 * MS),
    "suspend": fault("f", "suspend", SECOND, SECOND, targets=(SIDECAR,)),
    "wall-step": fault("f", "wall-step", SECOND, targets=(SIDECAR, "replica/2"), by_ns=-40 * 365 * 86_400 * SECOND),
    "wall-drift": fault("f", "wall-drift", SECOND, SECOND, targets=(SIDECAR, "replica/2"), rate_ppm=-500_000),
    "wall-strobe": fault("f", "wall-strobe", SECOND, SECOND, targets=(SIDECAR, "replica/2"), by_ns=3600 * SECOND, every_ns=70 * MS),
    "crash": fault("f", "crash", SECOND, targets=("replica/2",), power=1, restart_after_ns=SECOND),
    "pause": fault("f", "pause", SECOND, SECOND, targets=(SIDECAR,)),
    "slow-node": fault("f", "slow-node", SECOND, SECOND, targets=(SIDECAR,), by_ns=20 * MS),
    "disk-fail": fault("f", "disk-fail", SECOND, SECOND, targets=("replica/2",)),
    "disk-read-only": fault("f", "disk-read-only", SECOND, SECOND, targets=("replica/2",)),
    "corrupt": fault("f", "corrupt", SECOND, SECOND, links=LINKS, chance_ppm=SHARE),
    "forge": fault("f", "forge", SECOND, targets=(SIDECAR, "replica/1"), times=12),
    "cross-tenant": fault("f", "cross-tenant", SECOND, targets=(SIDECAR,)),
    "malformed": fault("f", "malformed", SECOND, targets=(SIDECAR, "replica/1"), times=12, source="stranger"),
    "impersonate": fault("f", "impersonate", SECOND, targets=("sink/acme/ledger",)),
    "answer-for": fault("f", "answer-for", SECOND, targets=(SIDECAR,)),
    "poison": fault("f", "poison", 1400 * MS, SECOND, targets=(SIDECAR,), restart_after_ns=100 * MS),
    "version": fault("f", "version", SECOND, SECOND, targets=("replica/2",), to="next-minor"),
    "disk-full": fault("f", "disk-full", SECOND, SECOND, targets=("replica/2",), reserve=8),
    "rotate-keys": fault("f", "rotate-keys", SECOND, targets=("replica/2",)),
    "revoke-key": fault("f", "revoke-key", SECOND, targets=("replica/2",), key="issuer"),
    "disk-torn": fault("f", "disk-torn", SECOND, targets=("replica/2",), restart_after_ns=SECOND),
    "disk-reorder": fault("f", "disk-reorder", SECOND, targets=("replica/2",), restart_after_ns=SECOND),
    "disk-lie": fault("f", "disk-lie", SECOND, SECOND, targets=("replica/2",)),
    "bit-flip": fault("f", "bit-flip", SECOND, targets=("replica/2",), slots="log"),
    "disk-lost": fault("f", "disk-lost", SECOND, targets=("replica/2",), restart_after_ns=SECOND),
    "disk-slow": fault("f", "disk-slow", SECOND, SECOND, targets=("replica/2",), by_ns=100 * MS),
    "ignore-stop": fault("f", "ignore-stop", SECOND, SECOND, targets=(AGENT,)),
    "drain-slowly": fault("f", "drain-slowly", SECOND, SECOND, targets=(AGENT,), by_ns=50 * MS),
    "fork": fault("f", "fork", SECOND, SECOND, targets=(AGENT,), linger_ns=100 * MS),
    "die-mid-checkpoint": fault("f", "die-mid-checkpoint", SECOND, SECOND, targets=(AGENT,), after="renamed", power=0),
    "lie": fault("f", "lie", SECOND, SECOND, targets=(AGENT,), how="leaves"),
    "clone": fault("f", "clone", SECOND, SECOND, targets=(SIDECAR,), survivor="original"),
    "hand-over-again": fault("f", "hand-over-again", SECOND, targets=(AGENT,)),
    "unkillable": fault("f", "unkillable", SECOND, SECOND, targets=(AGENT,)),
}

BESIDE: dict[str, tuple[Entry, ...]] = {  # what has to happen for a fault to show
    "slow-close": (fault("g", "crash", 1200 * MS, targets=("replica/2",), power=0, restart_after_ns=100 * MS),),
}


def receipts(run: Played, node: str) -> list[tuple[int, Message]]:
    return [(at, event.message) for at, where, event in run.trace if where == node and isinstance(event, Receive)]


def test_every_fault_of_the_reference_can_be_played_here_and_is_tried_here() -> None:
    nemesis = Nemesis(World(short(), Killswitch()))
    assert set(nemesis.begins) == set(FAULTS) == set(EACH)
    assert set(nemesis.begins) - set(nemesis.ends) == INSTANT


@pytest.mark.parametrize("what", EACH)
def test_a_fault_is_armed_on_fired_and_off_in_this_order_and_breaks_no_promise(what: str) -> None:
    entry = EACH[what]
    run = played(entry, *BESIDE.get(what, ()), order("soft" if what in ASKED else "hard", 1500 * MS))
    told = of_fault(run, "f")
    assert sorted(kind for kind, _ in told) == ["fault-armed", "fault-fired", "fault-off", "fault-on"]
    times = dict(told)
    end = times["fault-on"] if what in INSTANT else times["fault-on"] + SECOND
    assert (times["fault-armed"], times["fault-on"], times["fault-off"]) == (0, entry.trigger.at_ns, end)
    assert times["fault-on"] <= times["fault-fired"] <= times["fault-off"]
    assert run.fired["f"] >= 1
    assert [finding for finding in check(run.history) if finding.verdict is not Verdict.VALID] == []


@pytest.mark.parametrize("what", sorted(set(EACH) - INSTANT))
def test_the_heal_ends_whatever_is_still_on(what: str) -> None:
    entry = EACH[what]
    assert isinstance(entry.action, Fault)
    run = played(replace(entry, action=replace(entry.action, for_ns=None)))
    assert dict(of_fault(run, "f"))["fault-off"] == 3 * SECOND
    assert [fact.at_ns for fact in facts_of(run, "healed")] == [3 * SECOND]
    fired_later = [at for kind, at in of_fault(run, "f") if kind == "fault-fired" and at > 3 * SECOND]
    assert fired_later == []
    leases = [fact.at_ns for fact in facts_of(run, "lease-opened", SIDECAR)]
    assert max(leases) > 4 * SECOND  # it renews, whatever was wrong


def test_a_fault_that_begins_after_the_heal_never_begins() -> None:
    late = Entry(id="f", trigger=Trigger(after="healed", delay_ns=MS), action=EACH["partition"].action)
    assert [kind for kind, _ in of_fault(played(late), "f")] == ["fault-armed"]


def test_what_nothing_touches_is_armed_and_on_and_never_fired() -> None:
    run = played(fault("f", "duplicate", SECOND, SECOND, targets=(SIDECAR,), message="order", times=3))
    assert [kind for kind, _ in of_fault(run, "f")] == ["fault-armed", "fault-on", "fault-off"]
    assert run.fired == {}


@pytest.mark.parametrize("times", [2, 5])
def test_a_duplicated_signal_arrives_so_many_times_in_all(times: int) -> None:
    run = played(fault("f", "duplicate", 0, targets=(SIDECAR,), message="order", times=times), order("isolate", SECOND))
    arrivals = Counter((at, id(message)) for at, message in receipts(run, SIDECAR) if carries(message, "order") and at < 3 * SECOND)
    assert len(arrivals) == run.fired["f"] > 0
    assert set(arrivals.values()) == {times}
    others = Counter((at, id(message)) for at, message in receipts(run, SIDECAR) if not carries(message, "order"))
    assert set(others.values()) == {1}


def test_a_replay_delivers_old_signals_the_latest_first() -> None:
    run = played(fault("f", "replay", 2 * SECOND, targets=(SIDECAR,), message="grant", times=3))
    seen: dict[int, list[int]] = {}
    for at, message in receipts(run, SIDECAR):
        seen.setdefault(id(message), []).append(at)
    replayed = sorted(times for times in seen.values() if len(times) == 2)
    assert run.fired["f"] == len(replayed) == 3
    assert [again for _, again in replayed] == [2 * SECOND + (3 - index) * MS for index in range(3)]


def test_a_replay_knows_no_more_signals_than_there_were() -> None:
    run = played(fault("f", "replay", 2 * SECOND, targets=(SIDECAR,), message="order", times=3))
    assert run.fired == {}


@pytest.mark.parametrize("power", [0, 1])
def test_a_crash_ends_the_process_and_restarts_it_after_its_time(power: int) -> None:
    run = played(fault("f", "crash", SECOND, targets=("replica/2",), power=power, restart_after_ns=500 * MS))
    crashes, starts = facts_of(run, "node-crashed", "replica/2"), facts_of(run, "node-started", "replica/2")
    assert [(fact.at_ns, fact.body["power"]) for fact in crashes] == [(SECOND, bool(power))]
    assert starts[1].at_ns == 1500 * MS
    assert starts[1].body["boot"] == f"boot-{1 + power}"


def test_a_crash_without_a_restart_lasts_to_the_heal() -> None:
    run = played(fault("f", "crash", SECOND, targets=("replica/2",), restart_after_ns=-1))
    assert [fact.at_ns for fact in facts_of(run, "node-started", "replica/2")[1:]] == [3 * SECOND]


@pytest.mark.parametrize("node", [SIDECAR, "replica/2"])
def test_a_later_version_leaves_an_order_on_record_that_nobody_here_can_read(node: str) -> None:
    run = played(fault("f", "version", SECOND, SECOND, targets=(node,), to="next-log"))
    records = [fact.body["records"] for fact in facts_of(run, "node-started", node)]
    assert len(records) == 3
    assert [fact.body["records"] for fact in facts_of(run, "log-unread")] == [1]
    assert [fact.at_ns for fact in facts_of(run, "log-unread", node)] == [facts_of(run, "node-started", node)[2].at_ns]
    assert [fact.body["chain_ok"] for fact in facts_of(run, "log-folded", node)] == [True, True, True]
    assert [finding for finding in check(run.history) if finding.verdict is not Verdict.VALID] == []


@pytest.mark.parametrize("orphan", [0, 1])
def test_a_sidecars_death_takes_its_agent_along_but_for_a_rare_orphan_that_the_next_start_ends(orphan: int) -> None:
    schedule = short(fault("f", "crash", 1500 * MS, targets=(SIDECAR,), restart_after_ns=200 * MS), settle_ns=2 * SECOND)
    schedule = replace(schedule, tape=Tape(seed="1", fixed={"orphans/acme/1": {"0": orphan}}))
    run = played(schedule=schedule)
    crashed = [fact.at_ns for fact in facts_of(run, "node-crashed", "agent/acme/1")]
    assert (1500 * MS in crashed) is (orphan == 0)
    starts = facts_of(run, "node-started", "agent/acme/1")
    assert len(starts) == 2
    assert len(crashed) == 1
    assert crashed[0] < starts[1].at_ns


def test_an_agents_death_is_seen_by_its_sidecar_which_starts_it_again() -> None:
    run = played(fault("f", "crash", 1500 * MS, targets=("agent/acme/1",), restart_after_ns=0))
    reaped = facts_of(run, "process-reaped", SIDECAR)
    assert [(fact.body["code"], fact.body["signalled"]) for fact in reaped] == [(-9, True)]
    assert 1500 * MS < reaped[0].at_ns < 1501 * MS
    assert len(facts_of(run, "process-started", SIDECAR)) == 2


def test_a_power_loss_of_an_agents_host_is_its_sidecars_too() -> None:
    run = played(fault("f", "crash", 1500 * MS, targets=("agent/acme/1",), power=1, restart_after_ns=200 * MS))
    assert [fact.at_ns for fact in facts_of(run, "node-crashed", SIDECAR)] == [1500 * MS]
    assert facts_of(run, "node-started", SIDECAR)[1].at_ns == 1700 * MS


@pytest.mark.parametrize("style", [0, 1])
def test_a_paused_sidecar_admits_nothing_and_goes_on_afterwards(style: int) -> None:
    schedule = replace(short(EACH["pause"]), tape=Tape(seed="1", fixed={"pause.style/sidecar/acme/1": {"0": style}}))
    run = played(schedule=schedule)
    paused, resumed = facts_of(run, "node-paused", SIDECAR)[0].at_ns, facts_of(run, "node-resumed", SIDECAR)[0].at_ns
    assert (paused == SECOND) is (style == 0)  # else in the middle of the step that came next
    assert SECOND <= paused < 1200 * MS
    assert resumed == 2 * SECOND
    stood = [at for at, node, _ in run.trace if node == SIDECAR and paused < at < resumed]
    assert stood == []
    assert any(at >= resumed for at, node, _ in run.trace if node == SIDECAR)


def test_a_slow_node_takes_one_input_after_another_in_their_order_and_loses_none() -> None:
    run = played(EACH["slow-node"])
    taken = [at for at, node, _ in run.trace if node == SIDECAR]
    slow = [at for at in taken if SECOND < at < 2 * SECOND]
    assert len(slow) > 5
    assert all(after - before >= 20 * MS for before, after in pairwise(slow))
    durable = [event.lsn for _, node, event in run.trace if node == SIDECAR and isinstance(event, Durable)]
    assert durable == sorted(durable)
    assert any(at > 2500 * MS for at in taken)


def test_overlapping_drifts_follow_the_latest_and_end_at_the_clocks_own_rate() -> None:
    run = played(
        fault("slow", "clock-drift", SECOND, SECOND, targets=(SIDECAR,), rate_ppm=-500_000),
        fault("fast", "clock-drift", 1500 * MS, 1000 * MS, targets=(SIDECAR,), rate_ppm=500_000),
    )
    readings = {fact.at_ns: fact.clock_ns for fact in run.history if fact.node == SIDECAR}
    assert readings[max(readings)] == max(readings) - 250 * MS + 500 * MS

    def rate(begin: int, end: int) -> float:
        inside = sorted(at for at in readings if begin <= at <= end)
        return (readings[inside[-1]] - readings[inside[0]]) / (inside[-1] - inside[0])

    assert rate(1010 * MS, 1490 * MS) == pytest.approx(0.5)
    assert rate(1510 * MS, 2490 * MS) == pytest.approx(1.5)
    assert rate(2510 * MS, 5000 * MS) == pytest.approx(1.0)


def test_a_failed_disk_speaks_up_once_and_a_restart_mends_it() -> None:
    run = played(EACH["disk-fail"], fault("c", "crash", 2500 * MS, targets=("replica/2",), restart_after_ns=100 * MS), order("isolate", 1500 * MS))
    assert len(facts_of(run, "disk-failed", "replica/2")) == 1
    durable = facts_of(run, "order-durable", "replica/2")
    assert durable
    assert durable[0].at_ns > 2600 * MS


def test_a_disk_that_can_only_be_read_is_read_at_boot_and_fails_whoever_writes_to_it() -> None:
    crash = fault("c", "crash", 1500 * MS, targets=("replica/2",), restart_after_ns=100 * MS)
    run = played(EACH["disk-read-only"], crash, order("isolate", 1300 * MS))
    booted = facts_of(run, "node-started", "replica/2")[-1]
    assert booted.body["records"] > 0
    failed = [fact.at_ns for fact in facts_of(run, "disk-failed", "replica/2")]
    assert len(failed) == 2 and failed[0] < booted.at_ns < failed[1]


@pytest.mark.parametrize("what", ["wall-step", "wall-drift", "wall-strobe"])
def test_a_wall_clock_that_is_off_shows_in_stamps_and_nowhere_else(what: str) -> None:
    plain, jumped = played(order("hard", 2 * SECOND)), played(EACH[what], order("hard", 2 * SECOND))
    assert of_fault(plain, "f") == []

    def stamps(run: Played, node: str) -> list[int]:
        (fact,) = facts_of(run, "log-stamped", node)
        return list(fact.body["stamps"])

    assert [each for each in jumped.trace if each[1] == SIDECAR] == [each for each in plain.trace if each[1] == SIDECAR]
    assert stamps(jumped, SIDECAR) != stamps(plain, SIDECAR)
    assert stamps(jumped, SIDECAR) == sorted(set(stamps(jumped, SIDECAR)))


def test_a_frozen_clock_stands_and_runs_on_and_no_timer_is_due_meanwhile() -> None:
    run = played(EACH["clock-freeze"])
    read = {fact.at_ns: fact.clock_ns for fact in run.history if fact.node == SIDECAR}
    frozen = {clock for at, clock in read.items() if SECOND < at < 2 * SECOND}
    assert len(frozen) <= 1
    (at, clock), *_ = ((at, clock) for at, clock in read.items() if at > 2 * SECOND + 100 * MS)
    later, later_clock = max(read.items())
    assert abs((later - at) - (later_clock - clock)) < 50 * MS
    assert not [event for when, node, event in run.trace if node == SIDECAR and isinstance(event, Timer) and SECOND + MS < when < 2 * SECOND]
    assert [event for when, node, event in run.trace if node == SIDECAR and isinstance(event, Timer) and when > 2 * SECOND]


def test_a_strobing_clock_jumps_forth_and_back_until_it_ends() -> None:
    run = played(fault("f", "clock-strobe", SECOND, SECOND, targets=("replica/2",), by_ns=2 * SECOND, every_ns=70 * MS))
    assert run.fired["f"] == 15
    ahead = [fact.clock_ns - fact.at_ns for fact in run.history if fact.node == "replica/2" and SECOND < fact.at_ns < 2 * SECOND]
    assert max(ahead) - min(ahead) > SECOND


def test_a_suspended_host_sleeps_whole_and_its_boot_time_clock_counts_the_sleep() -> None:
    run = played(EACH["suspend"])
    asleep = [(at, node) for at, node, _ in run.trace if SECOND < at < 2 * SECOND and node in (SIDECAR, "agent/acme/1")]
    assert asleep == []
    paused, resumed = facts_of(run, "node-paused", SIDECAR)[0], facts_of(run, "node-resumed", SIDECAR)[0]
    assert resumed.clock_ns - paused.clock_ns == resumed.at_ns - paused.at_ns == SECOND


CORE = ("replica/1", "replica/3", SIDECAR, "agent/acme/1", "sink/acme/ledger", "operator")


@pytest.mark.parametrize("fate", [0, 1, 2])
def test_a_core_is_healed_first_and_everybody_else_with_all(fate: int) -> None:
    schedule = short(EACH["partition"], fault("g", "crash", SECOND, targets=("replica/1",), restart_after_ns=-1))
    lasting = [replace(entry, action=replace(entry.action, for_ns=None)) if entry.id == "f" else entry for entry in schedule.timeline]
    tape = Tape(seed="1", fixed={"left.out/replica/2": {"0": fate}})
    run = played(schedule=replace(schedule, timeline=tuple(lasting), core=CORE, core_ns=4 * SECOND, tape=tape))
    healed, core = facts_of(run, "healed")[0].at_ns, facts_of(run, "core-healed")[0].at_ns
    assert (core, healed) == (schedule.duration_ns, schedule.duration_ns + 4 * SECOND)
    assert [fact.at_ns for fact in facts_of(run, "node-started", "replica/1")][1] == core
    alone = [fact for fact in facts_of(run, "lease-granted") if core + SECOND < fact.at_ns < healed and fact.body["agent"] == "acme/1"]
    assert {fact.node for fact in alone} == {"replica/1", "replica/3"}
    assert {fact.kind for fact in run.history if fact.node == "replica/2" and fact.at_ns == core} & {"node-crashed", "node-paused"} == {
        0: set(), 1: {"node-crashed"}, 2: {"node-paused"}
    }[fate]  # fmt: skip
    assert any(fact.node == "replica/2" and fact.at_ns > healed for fact in facts_of(run, "lease-granted"))
    assert [finding for finding in check(run.history) if finding.verdict is not Verdict.VALID] == []


def test_what_is_said_to_a_peer_whose_death_is_not_known_is_lost_though_it_is_back() -> None:
    crash = fault("g", "crash", 1200 * MS, targets=("replica/2",), power=0, restart_after_ns=100 * MS)

    def heard(*entries: Entry) -> list[int]:
        run = played(crash, *entries)
        asked = receipts(run, "replica/2")
        return [at for at, message in asked if isinstance(message, LeaseRequest) and message.agent == "acme/1" and at > 1200 * MS]

    late = fault("f", "slow-close", SECOND, SECOND, links=both_ways(SIDECAR, "replica/2"), by_ns=600 * MS)
    begun_after = fault("f", "slow-close", 1250 * MS, SECOND, links=both_ways(SIDECAR, "replica/2"), by_ns=600 * MS)
    one_way = fault("f", "slow-close", SECOND, SECOND, links=((SIDECAR, "replica/2"),), by_ns=600 * MS)  # the sidecar's own end, and it lives
    assert heard()[0] < 1700 * MS < 1800 * MS <= heard(late)[0]
    assert heard(begun_after) == heard(one_way) == heard()
