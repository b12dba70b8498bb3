"""What a host can do is tried; what the fault reference says of live runs is so; what is missing is skipped by name, or refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.exits import Exit, Refused
from harness.live import capabilities, own_network, packet_queue
from harness.live.injections import INJECTIONS
from harness.live_cli import play
from scenarios import derive, load
from scenarios.faults import FAULTS, LIVE, MECHANISMS
from scenarios.problems import ScenarioInvalid

HEAD = "scenario: own\nhypothesis: It holds.\ntopology: {tenants: {acme: {workers: 1}}}\n"


def test_what_the_reference_says_of_live_runs_the_driver_has() -> None:
    assert {kind.name for kind in FAULTS.values() if LIVE in kind.drivers} == set(INJECTIONS)
    assert {kind.name for kind in FAULTS.values() if kind.live is not None} == set(INJECTIONS)
    assert {kind.live.mechanism for kind in FAULTS.values() if kind.live} <= set(MECHANISMS) == set(capabilities.TRIALS)


def test_each_mechanism_is_tried(toxiproxy_binary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALTPROOF_TOXIPROXY", str(toxiproxy_binary))
    found = {each.mechanism: each for each in capabilities.examine()}
    assert list(found) == list(MECHANISMS)
    assert found["toxiproxy"].available and found["processes"].available
    assert found["processes"].faults["pause"] == "exact"
    monkeypatch.setenv("HALTPROOF_TOXIPROXY", "/nowhere")
    monkeypatch.setattr("killswitch.live.process.own_cgroup", lambda _name: None)
    lacking = {each.mechanism: each.why_not for each in capabilities.examine(["toxiproxy", "cgroup"])}
    assert "/nowhere" in lacking["toxiproxy"] and "cgroup" in lacking["cgroup"]


def test_packets_are_asked_about_where_nobody_sees_them(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    why = packet_queue.why_not()
    assert not why or "\n" not in why  # this host's own word, whatever it is
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert "/nowhere/python" in packet_queue.why_not()
    monkeypatch.setattr(own_network, "NEW_NETWORK", 1)  # which the kernel takes for nothing that it knows
    assert packet_queue.main() == 1
    assert "Invalid argument" in capsys.readouterr().err


def test_a_scenario_needs_what_its_faults_are_made_with_and_what_it_says() -> None:
    own = load.parse(f"{HEAD}requires: [live, cgroup]\ntimeline: [{{at: 1s, pause: {{nodes: replica 1}}}}]\n")
    assert derive.mechanisms(own) == ["toxiproxy", "processes", "cgroup"]
    with pytest.raises(ScenarioInvalid, match="did you mean 'cgroup'"):
        load.parse(f"{HEAD}requires: [cgruop]\n")


def test_what_cannot_be_played_here_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = [(path, load.load(path)) for path in (load.find("quiet-fleet"), load.find("disk-that-lies"))]
    monkeypatch.setenv("HALTPROOF_TOXIPROXY", "/nowhere")
    with pytest.raises(Refused, match=r"quiet-fleet: not played: toxiproxy: .*/nowhere") as none:
        play(loaded, lambda _: [1], "killswitch", tmp_path, require=False)
    monkeypatch.delenv("HALTPROOF_TOXIPROXY")
    with pytest.raises(Refused, match=r"disk-that-lies: not played: only the simulator has .*fault disk-lie") as one:
        play(loaded, lambda _: [1], "killswitch", tmp_path, require=True)
    assert none.value.code is one.value.code is Exit.CAPABILITY
