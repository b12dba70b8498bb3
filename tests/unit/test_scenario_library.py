"""The library: every scenario loads, draws, reads aloud, and three of them are short enough to play live."""

from __future__ import annotations

import re

import pytest

from scenarios import derive, load
from scenarios.draw import draw
from scenarios.explain import explain
from scenarios.faults import playable
from scenarios.schedule import Fault
from scenarios.units import SECOND_NS

LIBRARY = load.library()
PLAYED_LIVE = ("kill-during-partition", "soft-overtaken-by-hard", "sidecar-crash-mid-drain", "disk-full-at-a-kill")


def test_the_library_is_there() -> None:
    assert len(LIBRARY) >= 13
    assert set(PLAYED_LIVE) <= set(LIBRARY)


@pytest.mark.parametrize("name", LIBRARY)
def test_a_scenario_of_the_library_is_whole(name: str) -> None:
    scenario = load.load(LIBRARY[name])
    assert scenario.scenario == name
    assert scenario.hypothesis.endswith(".")
    assert scenario.hypothesis.count(".") == 1
    assert scenario.expect.reached
    assert "sim" in derive.drivers(scenario)
    assert draw(scenario, 1, "0").work


@pytest.mark.parametrize("name", PLAYED_LIVE)
def test_what_is_played_live_is_short_and_asks_only_what_live_has(name: str) -> None:
    scenario = load.load(LIBRARY[name])
    assert "live" in derive.drivers(scenario)
    for seed in range(20):
        schedule = draw(scenario, seed, "0")
        assert schedule.duration_ns + schedule.settle_ns < 25 * SECOND_NS
        assert len(schedule.topology.agents) == 2
        assert [sink.sink_class for sink in schedule.topology.sinks] == ["F"]
        assert all("live" in playable(entry.action) for entry in schedule.timeline if isinstance(entry.action, Fault))


@pytest.mark.parametrize("name", LIBRARY)
def test_an_explanation_tells_hypothesis_bounds_and_every_entry(name: str) -> None:
    scenario = load.load(LIBRARY[name])
    schedule = draw(scenario, 3, "0")
    told = explain(scenario, schedule)
    assert scenario.hypothesis in told
    assert all(entry.id in told for entry in schedule.timeline)
    assert "HARD, ISOLATE, QUIESCE: nothing is admitted later than" in told
    assert "What seed 3 has drawn" in told
    assert "What seed" not in explain(scenario)
    assert all(len(line) < 400 for line in told.splitlines())


def test_an_explanation_names_what_the_file_sets() -> None:
    scenario = load.parse(
        "scenario: a\nhypothesis: b.\ntopology: {tenants: {acme: {workers: 2}}}\ntimeline:\n  - {at: 1s, soft: {scope: tenant acme}}\n"
        "parameters: {lease: 3s, drift: 2%, approvals: 3}\nnetwork: {loss: 0%..3%}\ndisk: {sync: 4ms}\nclocks: {drift: none}\n"
    )
    lines = explain(scenario).splitlines()
    start = lines.index("Set by the file") + 1
    assert lines[start : lines.index("", start)] == [
        "  parameters.lease: 3s", "  parameters.drift: 2%", "  parameters.approvals: 3", "  network.loss: 0%..3%", "  disk.sync: 4ms",
        "  clocks.drift: none",
    ]  # fmt: skip


def test_an_explanation_names_the_defaults_and_the_bounds_of_the_protocol() -> None:
    scenario = load.parse(
        "scenario: a\nhypothesis: b.\ntopology: {tenants: {acme: {workers: 2}}}\ntimeline:\n"
        "  - {at: 1s..2s, partition: {between: [replicas, sidecar acme/1]}}\n"
        "  - {after: partition.on, wait: 200ms, soft: {scope: tenant acme}}\n"
        "  - {when: lease.left(acme/1) < 5%, crash: {nodes: replica 1, restart-after: none}}\n"
    )
    lines = explain(scenario).splitlines()
    for expected in (
        "  3 replicas: an order is effective when 2 hold it durably, a lease needs 2 to grant it",
        "  1. at 1s..2s (drawn per seed), partition-1: partition between replicas and sidecar acme/1 until all is healed (shape blackhole)",
        "  2. 200ms after partition-1 is in force, soft-1: alice asks a replica drawn per seed for SOFT "
        "(drain, checkpoint and stop within a grace of 30s) on tenant acme, reason 'drill'",
        "  3. as soon as less than 5% of the lease of acme/1 is left, crash-1: crash of replica 1 (power false, restart-after none)",
        "  HARD, ISOLATE, QUIESCE: nothing is admitted later than 5.051s (lease 5s / (1 - 1%))",
        "  SOFT: nothing at all later than 30.304s (the longer of lease and grace 30s, / (1 - 1%))",
        "  parameters.lease: 5s",
        "  timeline[0]: id: partition-1, partition.allow-empty: false, partition.shape: blackhole",
        "  playable by: sim, live",
    ):
        assert expected in lines, expected


def test_an_explanation_adds_the_challenge_where_a_sink_challenges() -> None:
    text = "scenario: a\nhypothesis: b.\ntopology: {tenants: {acme: {workers: 1, sinks: [%s]}}}\ntimeline:\n  - {at: 1s, hard: {scope: global}}\n"
    said = "  Presumed stopped without proof: not before 5.102s%s on the clock of each of the replicas that say so"
    fenced, challenged = (explain(load.parse(text % sinks)).splitlines() for sinks in ("ledger", "{name: mail, class: C}"))
    assert said % "" in fenced
    assert said % ", and 500ms more for an agent with a class C sink," in challenged
    assert "  At a class C sink: 505.051ms later than each of these (challenge / (1 - 1%))" in challenged


def test_an_explanation_of_several_cells_lists_no_default_of_one() -> None:
    text = "scenario: a\nhypothesis: b.\ntopology: {%s, tenants: {acme: {workers: 1}}}\n"
    one, several = (explain(load.parse(text % cells)).splitlines() for cells in ("quorum: 2", "cells: [{replicas: 3}, {replicas: 5}]"))
    assert "  topology.replicas: 3" in one
    assert [line for line in several if line.startswith("  topology.")] == []


def test_an_explanation_says_where_nothing_falls_due() -> None:
    text = "scenario: a\nhypothesis: b.\ntopology: {tenants: {acme: {workers: 1}}}\nsettle: %s\n"
    short, enough = (" ".join(explain(load.parse(text % settle)).split()) for settle in ("15ms", "16s"))
    said = "settle: 15ms is less than the 15.112s after which L1, L6, L7 and L10 fall due: what is not true by the end leaves them unknown"
    assert said in short and "fall due" not in enough


TWO_PHASES = """\
scenario: a
hypothesis: b.
topology: {replicas: 5, tenants: {acme: {workers: 3}}}
duration: 10s
settle: 4s
core: drawn
"""
CORE = (
    "  At 10s only a core is healed, drawn per seed: a quorum of replicas, some agents with their sinks, and the operator; then 6s with "
    "everybody else cut off, down or stopped, in which what is owed among the core must come true"
)


def unfolded(told: str) -> list[str]:
    """The lines of an explanation, those that run on as one."""
    return re.sub(r"\n {4}(?!each)(?=\w)", " ", told).splitlines()


def test_an_explanation_tells_both_phases_of_a_recovery_and_who_is_healed_first() -> None:
    scenario = load.parse(TWO_PHASES)
    schedule = draw(scenario, 1, "0")
    lines = unfolded(explain(scenario, schedule))
    heal_ns = schedule.duration_ns + schedule.core_ns
    assert (heal_ns, heal_ns + schedule.settle_ns) == (16 * SECOND_NS, 20 * SECOND_NS)
    assert CORE in lines
    assert "  At 16s all faults are healed; then 4s without faults, in which everything owed must come true, to the end at 20s" in lines
    (core,) = (line for line in lines if line.startswith("       10s only the core is healed: "))
    assert set(re.findall(r"replica/\d", core)) == {node for node in schedule.core if node.startswith("replica/")}
    assert set(re.findall(r"acme/\d", core)) == {node.partition("/")[2] for node in schedule.core if node.startswith("agent/")}
    assert lines[lines.index(core) + 1 :] == ["       16s all is healed", "       20s the end"]


@pytest.mark.parametrize("live", [True, False])
def test_an_explanation_of_a_swarm_tells_of_both_ways_to_recover(live: bool) -> None:
    fault = "crash" if live else "disk-torn"
    scenario = load.parse(TWO_PHASES.replace("core: drawn", f"swarm: {{between: 1s..5s, faults: [{fault}]}}"))
    lines = unfolded(explain(scenario))
    assert CORE.replace("At 10s", "In one of 3 seeds, at 10s") in lines
    assert "  There, at 16s all faults are healed; then 4s without faults, in which everything owed must come true, to the end at 20s" in lines
    others = f"  In the other seeds{', and live' if live else ''}, at 10s all faults are healed; then 4s without faults"
    assert f"{others}, in which everything owed must come true, to the end at 14s" in lines


@pytest.mark.parametrize("more", ["core: none", "swarm: {between: 1s..5s}\ncore: none"])
def test_an_explanation_tells_of_no_core_where_there_is_none(more: str) -> None:
    scenario = load.parse(TWO_PHASES.replace("core: drawn", more))
    lines = explain(scenario, draw(scenario, 1, "0")).splitlines()
    assert "  At 10s all faults are healed; then 4s without faults, in which everything owed must come true, to the end at 14s" in lines
    assert lines[-2:] == ["       10s all is healed", "       14s the end"]
    assert not any("a core is healed" in line for line in lines)


def test_an_explanation_tells_agents_apart_and_what_their_work_costs() -> None:
    groups = "[{kind: tool-calling, labels: {tier: gold}}, {count: 2}, {count: 3, cell: 2}]"
    scenario = load.parse(
        f"scenario: a\nhypothesis: b.\ntopology: {{cells: [{{}}, {{}}], tenants: {{acme: {{agents: {groups}}}}}}}\n"
        "workload: {cost: 5, kinds: {worker: {undo: true}}}\nclocks: {drift: extremal, offset: 1s}\n"
    )
    lines = unfolded(explain(scenario))
    for expected in (
        "  tenant acme: acme/1 (tool-calling, tier=gold, cell 1), acme/2 and acme/3 (worker, cell 1), acme/4 to acme/6 (worker, cell 2); "
        "sinks: ledger (class F)",
        "    each tool-calling: 1/s tasks of 2..6 steps after 100ms..400ms of thought each, each effect for 5 cents",
        "    each worker: 2/s tasks of 1..4 steps after 20ms..80ms of thought each, each effect for 5 cents, and what is done can be undone",
        "  clocks: each node's runs 1% fast or slow, or all are fast, or all slow, or the replicas' one and the rest the other (drawn per seed); "
        "each node's begins at 1s",
    ):
        assert expected in lines, expected


@pytest.mark.parametrize(
    ("timeline", "told"),
    [("[{at: 1s, soft: {scope: tenant acme, grace: 2s}}]", "5.051s (the longer of lease and grace 2s, / (1 - 1%))"),
     ("[{at: 1s, soft: {scope: tenant acme, grace: 9s}}, {at: 2s, soft: {scope: agent acme/1, grace: 6s..8s}}]",
      "9.091s (the longer of lease and grace 9s, / (1 - 1%))"),
     ("[{at: 1s, soft: {scope: tenant acme, grace: 9s}}, {at: 2s, soft: {scope: agent acme/1}}]",
      "30.304s (the longer of lease and grace 30s, / (1 - 1%))"),
     ("[{at: 1s, soft: {scope: tenant acme, grace: 400s}}]", "303.031s (the longer of lease and grace 300s, / (1 - 1%))"),
     ("[]", "30.304s (the longer of lease and grace 30s, / (1 - 1%))")],
)  # fmt: skip
def test_the_bound_of_a_soft_stop_is_that_of_the_longest_grace_that_the_file_asks_for(timeline: str, told: str) -> None:
    scenario = load.parse(f"scenario: a\nhypothesis: b.\ntopology: {{tenants: {{acme: {{workers: 2}}}}}}\ntimeline: {timeline}\n")
    assert f"  SOFT: nothing at all later than {told}" in explain(scenario).splitlines()


def test_a_file_is_found_by_name_or_path() -> None:
    path = LIBRARY["quiet-fleet"]
    assert load.find("quiet-fleet") == path == load.find(str(path))


@pytest.mark.parametrize(
    ("asked", "told"),
    [("300s", "300s"), ("400s", "300s, for 400s is more than grace-max"),
     ("200s..400s", "200s..300s (drawn per seed), for 200s..400s is more than grace-max")],
)  # fmt: skip
def test_an_explanation_says_the_grace_that_the_order_will_carry(asked: str, told: str) -> None:
    entry = f"{{at: 1s, soft: {{scope: tenant acme, grace: {asked}}}}}"
    scenario = load.parse(f"scenario: a\nhypothesis: b.\ntopology: {{tenants: {{acme: {{workers: 2}}}}}}\ntimeline:\n  - {entry}\n")
    assert f"stop within a grace of {told})" in explain(scenario)
