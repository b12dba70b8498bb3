"""What a seed decides: triggers, actions, clocks, work and swarms, as the schedule's form demands."""

from __future__ import annotations

from collections import Counter

import pytest

from harness.shared.history import VOCABULARY
from scenarios import derive, load
from scenarios.draw import draw
from scenarios.faults import FAULTS, playable
from scenarios.model import VERBS, Scenario
from scenarios.schedule import Entry, Fault, Operation, Schedule, Trigger
from scenarios.targets import role
from scenarios.units import SECOND_NS

BASE = """\
scenario: drawn
hypothesis: It is drawn.
topology: {replicas: 3, tenants: {acme: {workers: 2, agents: {count: 1, kind: federated, labels: {tier: gold}}}, globex: {workers: 1}}}
parameters: {lease: 2s, renew: 400ms, grace: 6s, drift: 10%}
"""


def scenario(addition: str = "") -> Scenario:
    return load.parse(BASE + addition)


def entry(text: str, seed: int = 1) -> Entry:
    """The last of these entries, drawn."""
    return draw(scenario(f"timeline:\n{text}"), seed, "0").timeline[-1]


def fault(text: str, seed: int = 1) -> Fault:
    drawn = entry(f"  - at: 1s\n    {text}\n", seed).action
    assert isinstance(drawn, Fault)
    return drawn


def test_triggers_take_the_form_of_the_schedule() -> None:
    cut = "  - {at: 1s, partition: {between: [replicas, sidecars]}}\n"
    hard = "hard: {scope: tenant acme}"
    assert entry(f"  - {{at: 4s, {hard}}}\n").trigger == Trigger(at_ns=4 * SECOND_NS)
    assert entry(f"{cut}  - {{after: partition.off, wait: 200ms, {hard}}}\n").trigger == Trigger(
        after="fault-off", where={"fault": "partition-1"}, delay_ns=200_000_000
    )
    assert entry(f"  - {{after: order-durable(node=replica/2), count: 2, {hard}}}\n").trigger == Trigger(
        after="order-durable", where={"node": "replica/2"}, count=2
    )
    assert entry(f"  - {{when: lease.left(acme/3) < 5%, {hard}}}\n").trigger == Trigger(when=("lease.left", "acme/3", "<", "50000"))
    assert entry(f"  - {{when: gate(acme/1) is DRAIN, {hard}}}\n").trigger == Trigger(when=("gate", "acme/1", "is", "DRAIN"))


def test_moments_of_operations_are_what_the_operator_is_told() -> None:
    hard = "  - {at: 1s, id: kill, hard: {scope: global}}\n"
    later = "  - {after: kill.%s, soft: {scope: global}}\n"
    told = {"accepted": "ACCEPTED", "effective": "EFFECTIVE"}
    for moment, stage in told.items():
        assert entry(hard + later % moment).trigger == Trigger(after="order-status", where={"request": "request-kill", "stage": stage})
    assert entry(hard + later % "played").trigger == Trigger(after="operation-played", where={"operation": "kill"})
    resume = "  - {at: 1s, resume: {scope: global, request: again}}\n"
    assert entry(resume + "  - {after: resume.accepted, soft: {scope: global}}\n").trigger.where == {"request": "again", "stage": "ACCEPTED"}


def test_severities_in_facts_are_numbers_and_gates_by_name_are_not() -> None:
    assert entry("  - {after: 'order-learned(gate=CLOSED, life=KILL)', pause: {nodes: replicas}}\n").trigger.where == {"gate": 2, "life": 2}
    assert entry("  - {after: gate-changed(gate=CLOSED), pause: {nodes: replicas}}\n").trigger.where == {"gate": "CLOSED"}
    assert entry("  - {after: node-crashed(power=true), pause: {nodes: replicas}}\n").trigger.where == {"power": True}


@pytest.mark.parametrize(
    ("scope", "tenant", "expected"),
    [
        ("scope: agent acme/1", "acme", ("agent", "acme/1")),
        ("scope: tenant globex", "globex", ("tenant", "globex")),
        ("scope: label tier=gold, tenant: acme", "acme", ("label", "tier=gold")),
        ("scope: global", "", ("global", "")),
    ],
)
def test_operations_name_tenant_and_scope(scope: str, tenant: str, expected: tuple[str, str]) -> None:
    operation = entry(f"  - {{at: 1s, soft: {{{scope}, replica: 2, grace: 3s}}}}\n").action
    assert isinstance(operation, Operation)
    assert (operation.verb, operation.tenant, operation.scope) == ("soft", tenant, expected)
    assert (operation.replica, operation.grace_ns, operation.principal, operation.approvers) == ("replica/2", 3 * SECOND_NS, "alice", ())


def test_a_resume_is_signed_by_as_many_as_are_needed() -> None:
    text = BASE.replace("drift: 10%", "drift: 10%, approvals: 3") + "timeline: [{at: 1s, resume: {scope: global}}]\n"
    operation = draw(load.parse(text), 1, "0").timeline[0].action
    assert isinstance(operation, Operation)
    assert operation.approvers == ("bob", "carol", "dave")


def test_settings_have_the_keys_of_the_reference() -> None:
    assert fault("partition: {between: [replicas, sidecar acme/1], shape: cut, for: 4s}").settings == {"shape": "cut"}
    assert fault("clock-step: {nodes: replicas, by: -2s}").settings == {"by_ns": -2 * SECOND_NS}
    assert fault("clock-drift: {nodes: replica 1, rate: -5%}").settings == {"rate_ppm": -50_000}
    assert fault("crash: {nodes: replica 1}").settings == {"power": 0, "restart_after_ns": SECOND_NS}
    assert fault("crash: {nodes: replica 1, power: true, restart-after: none}").settings == {"power": 1, "restart_after_ns": -1}
    assert fault("duplicate: {what: order, to: sidecar acme/1, times: 3}").settings == {"message": "order", "times": 3}
    assert fault("reorder: {chance: 5%, by: 1s}").settings == {"chance_ppm": 50_000, "by_ns": SECOND_NS}


def test_targets_are_nodes_and_links() -> None:
    cut = fault("partition: {from: replicas, to: sidecar acme/1}")
    assert cut.links == tuple((f"replica/{number}", "sidecar/acme/1") for number in (1, 2, 3))
    assert cut.targets == ("replica/1", "replica/2", "replica/3", "sidecar/acme/1")
    assert fault("pause: {nodes: [sidecar acme/2, replica 1]}").targets == ("replica/1", "sidecar/acme/2")
    everywhere = fault("loss: {chance: 1%}")
    assert len(everywhere.links) == 2 * (3 + 3 * (4 + 2 + 1) + 4)
    assert fault("pause: {nodes: replicas}").for_ns is None
    assert fault("pause: {nodes: replicas, for: 3s}").for_ns == 3 * SECOND_NS


def test_which_driver_can_play_a_fault_hangs_on_its_settings() -> None:
    assert playable(fault("partition: {between: [replicas, sidecars], shape: cut}")) == ("sim", "live")
    assert playable(fault("partition: {between: [replicas, sidecars], shape: stall}")) == ("sim", "live")
    assert playable(fault("crash: {nodes: replica 1, power: true}")) == ("sim", "live")
    assert playable(fault("die-mid-checkpoint: {nodes: agent acme/1}")) == ("sim", "live")
    assert playable(fault("die-mid-checkpoint: {nodes: agent acme/1, power: true}")) == ("sim",)
    assert playable(fault("disk-lie: {nodes: replica 1}")) == ("sim",)
    assert playable(fault("disk-full: {nodes: replica 1}")) == ("sim", "live")
    assert playable(fault("disk-full: {nodes: replica 1, reserve: 8}")) == ("sim", "live")
    assert derive.drivers(scenario("timeline: [{at: 1s, disk-lie: {nodes: replica 1}}]\n")) == ("sim",)
    assert derive.drivers(scenario("network: {loss: 1%}\n")) == ("sim",)
    assert derive.drivers(scenario()) == ("sim", "live")


def test_ranges_differ_by_seed_and_stay_inside() -> None:
    times = [entry("  - {at: 2s..5s, hard: {scope: global}}\n", seed).trigger.at_ns or 0 for seed in range(30)]
    assert len(set(times)) == 30
    assert all(2 * SECOND_NS <= time <= 5 * SECOND_NS for time in times)


def test_a_new_entry_shifts_no_other_draw() -> None:
    alone = draw(scenario("timeline: [{at: 2s..5s, id: x, hard: {scope: global}}]\n"), 1, "0")
    beside = draw(scenario("timeline: [{at: 1s..9s, pause: {nodes: replicas}}, {at: 2s..5s, id: x, hard: {scope: global}}]\n"), 1, "0")
    assert alone.timeline[0] == beside.timeline[1]
    assert (alone.work, alone.clocks) == (beside.work, beside.clocks)


def test_another_agent_shifts_nobodys_work() -> None:
    more = load.parse(BASE.replace("globex: {workers: 1}", "globex: {workers: 2}"))
    old = draw(scenario(), 1, "0").work
    assert tuple(work for work in draw(more, 1, "0").work if work.agent != "globex/2") == old


def test_work_is_the_agents_kind_of_work() -> None:
    schedule = draw(scenario(), 1, "0")
    counts = Counter(work.agent for work in schedule.work)
    assert 50 <= counts["acme/1"] <= 70
    assert 4 <= counts["acme/3"] <= 8
    assert len({work.task for work in schedule.work}) == len(schedule.work)
    assert all(work.sink == f"sink/{work.agent.partition('/')[0]}/ledger" for work in schedule.work)
    assert not draw(scenario("workload: {tasks: 0/s}\n"), 1, "0").work
    federated = draw(scenario("workload: {tasks: 0/s, kinds: {federated: {tasks: 1/s, steps: 2}}}\n"), 1, "0").work
    assert {(work.agent, work.steps) for work in federated} == {("acme/3", 2)}


def test_the_share_of_a_canary_is_drawn_in_whole_percents_with_both_ends() -> None:
    trial = "  - {at: 1s, policy-canary: {policy: too-lax, share: 50%..52%}}\n"
    drawn = Counter(getattr(entry(trial, seed).action, "percent", None) for seed in range(60))
    assert set(drawn) == {50, 51, 52}
    assert min(drawn.values()) > 10


def test_extremal_clocks_stand_at_the_ends_and_hosts_share_theirs() -> None:
    patterns = set()
    for seed in range(40):
        clocks = draw(scenario("clocks: {drift: extremal}\n"), seed, "0").clocks
        assert {clock.drift_ppm for clock in clocks.values()} <= {-100_000, 100_000}
        assert clocks["agent/acme/1"] == clocks["sidecar/acme/1"]
        patterns.add(tuple(clocks[node].drift_ppm > 0 for node in ("replica/1", "replica/2", "replica/3", "sidecar/acme/1")))
    assert {(True,) * 4, (False,) * 4, (True, True, True, False), (False, False, False, True)} <= patterns
    within = draw(scenario("clocks: {drift: within}\n"), 1, "0").clocks
    assert all(abs(clock.drift_ppm) <= 100_000 for clock in within.values())
    assert len({clock.drift_ppm for clock in within.values()}) > 3


def swarms(seeds: int = 200) -> list[Schedule]:
    storm = load.load(load.library()["swarm-storm"])
    return [draw(storm, seed, "0") for seed in range(1, seeds + 1)]


def test_a_swarm_draws_every_kind_of_fault_and_operation_within_its_limits() -> None:
    schedules = swarms()
    entries = [each for schedule in schedules for each in schedule.timeline]
    faults = [each.action for each in entries if isinstance(each.action, Fault)]
    operations = [each.action for each in entries if isinstance(each.action, Operation)]
    assert {each.what for each in faults} == {name for name, kind in FAULTS.items() if kind.swarms and not kind.breaks_clocks}
    assert {each.verb for each in operations} == set(VERBS)
    assert {each.scope[0] for each in operations} == {"agent", "tenant", "label", "global"}
    assert len({each.request for each in operations}) < len(operations), "no retry was drawn"
    for each in faults:
        assert set(each.settings) == {setting.key for setting in FAULTS[each.what].settings}
        assert each.targets
        assert {role(target) for target in each.targets} <= set(FAULTS[each.what].roles)
        assert abs(int(each.settings.get("rate_ppm", 0))) <= schedules[0].parameters.drift_ppm
        assert each.links or FAULTS[each.what].aim.value != "links"


def test_a_swarm_switches_whole_kinds_off_and_aims_at_the_protocol() -> None:
    schedules = swarms()
    kinds = [{each.action.what for each in schedule.timeline if isinstance(each.action, Fault)} for schedule in schedules]
    assert all(len(found) < len(FAULTS) - 1 for found in kinds)
    triggers = [each.trigger for schedule in schedules for each in schedule.timeline]
    assert {trigger.after for trigger in triggers if trigger.after} <= set(VOCABULARY)
    assert any(trigger.when for trigger in triggers)
    assert any(trigger.after == "lease-granted" for trigger in triggers)
    together = [Counter(each.trigger.at_ns for each in schedule.timeline if isinstance(each.action, Operation)) for schedule in schedules]
    assert any(max(times.values(), default=0) > 1 for times in together), "no two operations at one instant"


def test_a_failed_disk_is_followed_by_a_restart_before_the_end() -> None:
    for schedule in swarms():
        by_id = {each.id: each for each in schedule.timeline}
        for each in schedule.timeline:
            if isinstance(each.action, Fault) and each.action.what == "disk-fail":
                restart = by_id[f"{each.id}-restart"]
                assert isinstance(restart.action, Fault)
                assert restart.action.targets == each.action.targets
                assert (each.trigger.at_ns or 0) + (each.action.for_ns or 0) < (restart.trigger.at_ns or 0) < schedule.duration_ns


def test_the_digest_is_of_the_meaning() -> None:
    plain = scenario("timeline:\n  - {at: 2s, hard: {scope: global}}\n")
    reworded = BASE.replace("It is drawn", "Another word")
    spaced = load.parse(f"# a comment\n{reworded}timeline:\n  - at: 2s\n    hard:\n      scope: global\nseeds: 7\n")
    other = scenario("timeline:\n  - {at: 2.001s, hard: {scope: global}}\n")
    assert plain.digest() == spaced.digest() != other.digest()
    assert plain.digest() == scenario("timeline:\n  - {at: 2000ms, hard: {scope: global}}\n").digest()


def test_bounds_are_those_of_the_protocols_example() -> None:
    """Protocol 2: L=5 s, G=30 s, rho=.01: HARD 5.051 s, SOFT 30.31 s, W=5.102 s."""
    form = load.parse("scenario: a\nhypothesis: b\ntopology: {tenants: {acme: {workers: 1}}}\n").parameters
    bounds = derive.bounds(form)
    assert [round(value / 1e9, 3) for value in (bounds.hard_ns, bounds.soft_new_ns, bounds.soft_ns, bounds.declare_wait_ns)] == [
        5.051, 5.051, 30.303, 5.101,
    ]  # fmt: skip
    assert bounds.hard_ns * 99 >= 5 * SECOND_NS * 100 > (bounds.hard_ns - 1) * 99


def test_settling_outlasts_every_owed_stop_and_start() -> None:
    for path in load.library().values():
        given = load.load(path)
        if given.settle is None:
            assert derive.settle_ns(given) > derive.bounds(given.parameters, derive.longest_grace(given)).soft_ns + given.parameters.slack
    assert derive.settle_ns(scenario("settle: 7s\n")) == 7 * SECOND_NS


def of_library(name: str) -> Schedule:
    return draw(load.load(load.find(name)), 1, "0")


def test_rounds_come_to_all_at_once_and_close_when_the_next_begins() -> None:
    work = of_library("federated-round-under-a-kill").work
    rounds: dict[int, set[str]] = {}
    for each in work:
        rounds.setdefault(each.at_ns, set()).add(each.agent)
        assert each.expires_ns == each.at_ns + 3 * SECOND_NS
    assert set(map(len, rounds.values())) == {4}
    assert sorted(rounds) == [number * 3 * SECOND_NS for number in range(len(rounds))]


def test_what_can_be_undone_and_what_it_costs_follow_the_profile() -> None:
    assert all(each.undo and not each.cost for each in of_library("compensation-cut-short").work)
    assert all(each.cost == 150 and not each.undo for each in of_library("runaway-trader").work)


def test_a_core_is_a_quorum_with_some_agents_and_all_that_they_need() -> None:
    for seed in range(1, 21):
        schedule = draw(scenario("core: drawn\n"), seed, "0")
        roles = Counter(role(node) for node in schedule.core)
        assert roles["replica"] == max(schedule.topology.quorum, schedule.topology.kill_quorum)
        assert roles["sidecar"] == roles["agent"] >= 1
        assert roles["operator"] == 1
        agents = [agent for agent in schedule.topology.agents if f"sidecar/{agent.agent}" in schedule.core]
        assert {sink for agent in agents for sink in agent.sinks} == {node for node in schedule.core if role(node) == "sink"}
        assert schedule.core_ns > schedule.settle_ns
    assert draw(scenario(""), 1, "0").core == draw(scenario("core: none\n"), 1, "0").core == ()
    drawn = [bool(schedule.core) for schedule in swarms(60)]
    assert 10 < sum(drawn) < 30
