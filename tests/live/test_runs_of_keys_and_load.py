"""Whole live runs in which wall clocks are off, keys change, and more comes than anybody needs: each of these is measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from harness.live.driver import play
from scenarios.schedule import Trigger
from tests.live import needs
from tests.live.runs import assert_sound, attestations
from tests.live.schedules import MS, REPLICAS, SECOND, SIDECAR, both_ways, fault, order, short

pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.fixture(autouse=True)
def server_is_there(toxiproxy_binary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALTPROOF_TOXIPROXY", str(toxiproxy_binary))


@needs.wall_clocks
def test_a_wall_clock_that_jumps_drifts_or_strobes_is_measured_in_the_process_and_moves_nothing_else(tmp_path: Path, mark: str) -> None:
    schedule = short(
        fault("back", "wall-step", 400 * MS, targets=(SIDECAR, "replica/1"), by_ns=-30 * 365 * 86_400 * SECOND),
        fault("on", "wall-step", 900 * MS, targets=(SIDECAR,), by_ns=7 * 3600 * SECOND),
        fault("slow", "wall-drift", 500 * MS, 1500 * MS, targets=(SIDECAR, "replica/2"), rate_ppm=-600_000),
        fault("to-and-fro", "wall-strobe", 500 * MS, 1500 * MS, targets=("sidecar/acme/2", "replica/3"), by_ns=86_400 * SECOND, every_ns=110 * MS),
        structs.replace(order("soft", 0, ("agent", "acme/1")), trigger=Trigger(after="effect-applied", where={"agent": "acme/1"})),
        fault("cut", "partition", 1600 * MS, 400 * MS, links=both_ways("sidecar/acme/2", "replica/1"), shape="cut"),
    )
    played = play(schedule, "killswitch", tmp_path)
    assert_sound(played)
    seen = {name: facts[0].body["measured"] for name, facts in attestations(played.history).items()}
    assert [seen["back"], seen["on"]] == [{"jumped": 2, "without_process": 0}, {"jumped": 1, "without_process": 0}]
    for node in (SIDECAR, "replica/2"):  # one of which jumps by hours meanwhile
        assert abs(seen["slow"][f"{node} ran at ppm"] + 600_000) < 20_000 > abs(seen["slow"][f"{node} then at ppm"])
    for node in ("sidecar/acme/2", "replica/3"):
        forth, back = (seen["to-and-fro"][f"{node} jumped {way}"] for way in ("forth", "back"))
        assert 3 <= min(forth, back) <= max(forth, back) <= (seen["to-and-fro"]["flashes"] + 1) // 2
    grants = [fact.at_ns for fact in played.history.of("lease-granted") if (fact.node, fact.body["agent"]) == ("replica/1", "acme/2")]
    assert grants[-1] > 2 * SECOND, "a connection is opened anew by whoever takes it for another century"
    assert all(abs(fact.clock_ns - fact.at_ns) < 60 * SECOND for fact in played.history if fact.node == SIDECAR and fact.kind == "lease-opened")
    (deadline,) = {fact.body["deadline_ns"] for fact in played.history.of("drain-deadline") if fact.node == SIDECAR}
    stages = {fact.body["stage"] for fact in played.history.of("evidence-sent") if fact.node == SIDECAR}
    killed = [fact.clock_ns for fact in played.history.of("process-killed") if fact.node == SIDECAR]
    assert "STOPPED_CLEAN" in stages or min(killed) >= deadline, "it had its whole grace, if it needed that on a busy host"


def test_keys_that_change_floods_and_storms_of_reconnecting_clients_are_measured(tmp_path: Path, mark: str) -> None:
    flooded = tuple((SIDECAR, each) for each in REPLICAS)
    schedule = short(
        fault("flood", "overload", 400 * MS, 1200 * MS, links=flooded, message="requests", per_s=250, capacity_per_s=300),
        fault("storm", "reconnect-storm", 500 * MS, 900 * MS, links=both_ways("sidecar/acme/2", *REPLICAS), capacity_per_s=300),
        fault("down", "crash", 600 * MS, targets=("replica/3",), power=0, restart_after_ns=900 * MS),
        fault("rotated", "rotate-keys", 900 * MS, targets=("replica/1", "replica/3")),
        structs.replace(order("isolate", 0), trigger=Trigger(after="keyset-installed", where={"node": "replica/1"}, delay_ns=100 * MS)),
        structs.replace(fault("revoked", "revoke-key", 0, targets=("replica/2",), key="issuer"), trigger=Trigger(after="order-durable", count=2)),
        duration_ns=4 * SECOND,
    )
    played = play(schedule, "killswitch", tmp_path)
    assert_sound(played)
    seen = {name: [fact.body["measured"] for fact in facts] for name, facts in attestations(played.history).items()}
    at_once, later = seen["rotated"]
    assert (at_once["version"], at_once["without_process"], set(later)) == (2, 1, {"version", "without_process", "replica/3 had", "replica/3 has"})
    for node, measured in (("replica/1", at_once), ("replica/3", later)):  # who was down is told when it is back, of all that there is by then
        assert measured[f"{node} had"] == 1 and measured[f"{node} has"] in (2, 3)
    (revoked,) = seen["revoked"]
    assert (revoked["version"], revoked["replica/2 has"]) == (3, 3) and revoked["replica/2 had"] in (1, 2)
    signers = {fact.body["signer"] for fact in played.history.of("order-learned") if fact.body["authentic"]}
    (signer,) = signers
    assert signer.endswith("#2"), "the order is under a new key, and everybody has learned it"
    keys = {tuple(fact.body["revoked"]) for fact in played.history.of("keyset-installed") if fact.body["version"] == 3}
    assert keys == {(signer,)} and all(fact.body["authentic"] for fact in played.history.of("keyset-installed"))
    (flood,) = seen["flood"]  # but for the replica that died
    assert flood["sent"] >= flood["came"] >= flood["sent"] // 2 > 100
    assert flood["came_per_s"] <= flood["asked_per_s"] == 500
    assert {(fact.node, fact.body["sender"]) for fact in played.history.of("over-share")} >= {("replica/1", SIDECAR), ("replica/2", SIDECAR)}
    during, after = seen["storm"]
    assert during["open_before"] > during["open_meanwhile"] and during["refused"] == during["paths"] == 3
    assert after["open_after"] > after["open_meanwhile"]
    assert {fact.body["fault"] for fact in played.history.of("fault-fired")} == set(seen)
