"""The library: every scenario loads, draws, reads aloud, and three of them are short enough to play live."""

from __future__ import annotations

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
