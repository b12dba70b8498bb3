"""Whole live runs: real processes, a real Toxiproxy, and each fault measured where it bites."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from msgspec import structs

from harness import audit_store
from harness.live.driver import PlayedLive, play
from harness.live.injections import CapabilityMissing
from harness.live.probe import Measured, Outcome, probe
from harness.shared.history import Fact
from harness.shared.operations import Stopped
from harness.single import in_vain
from killswitch.core import audit_export
from killswitch.live.credentials import Credentials
from scenarios.derive import drivers
from scenarios.load import find, load
from scenarios.schedule import ClockSpec
from scripts.check import LIVE_HALVES
from tests.live import needs
from tests.live.runs import assert_sound, attestations
from tests.live.schedules import MS, REPLICAS, SECOND, SIDECAR, SINK, both_ways, fault, order, short

pytestmark = [pytest.mark.live, pytest.mark.slow]

# Of the library, each of these has to be playable live; those of `scripts.check.LIVE_HALVES` are played before each change goes in.
PLAYABLE = (
    "agent-dies-mid-checkpoint", "agent-killed-mid-checkpoint", "bit-rot", "cloned-from-a-snapshot", "cloned-in-a-partition", "corrupt-links",
    "disk-fails-at-work", "disk-full-at-a-hard-kill", "disk-full-at-a-kill", "disk-turns-read-only", "drain-near-its-end",
    "duplicated-and-replayed-signals", "flapping-link-under-a-kill", "forged-and-malformed-storm", "forged-by-a-replica", "isolate-then-soft",
    "keys-rotated-in-a-partition", "kill-during-partition", "kill-lost-in-a-partition", "kill-that-takes-two-keys", "kill-while-clocks-are-off",
    "kill-with-effects-in-flight", "lease-believed-after-a-suspend", "links-in-shreds", "lying-agent", "minority-grants-nothing",
    "one-tenant-floods", "packets-lost-under-a-kill", "paused-across-its-lease", "policy-rolled-back-during-a-kill", "reconnect-storm-under-a-kill",
    "replica-lost-its-disk", "resume-race", "revoked-with-a-resume-in-flight", "ring-of-replicas", "runaway-trader", "saves-cut-short",
    "sidecar-behind-on-keys", "sidecar-crash-mid-drain", "slow-node-under-a-kill", "soft-in-peace", "soft-overtaken-by-hard",
    "wall-clock-jumps-in-a-drain",
)  # fmt: skip


@pytest.fixture(autouse=True)
def server_is_there(toxiproxy_binary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALTPROOF_TOXIPROXY", str(toxiproxy_binary))


def assert_auditable(played: PlayedLive) -> None:
    """Stamps grow in every log, a restart of the host or not; and a tenant's part of the trail verifies with the public keys of the run alone."""
    logs = {name: log for name, log in played.logs.items() if log[0]}
    assert {*REPLICAS, SIDECAR, SINK, "agent/acme/1"} <= set(logs)
    for name, (records, stamps) in logs.items():
        in_order = [stamps[record.seq] for record in records if record.seq in stamps]
        assert in_order and in_order[0] > 0 and in_order == sorted(set(in_order)), name
    assert {fact.body["writer"] for fact in played.history.of("log-stamped")} >= {*REPLICAS, SIDECAR}
    audit_store.keep(played.directory, audit_store.Trail(played.logs, public=played.public))
    exported = audit_export.export(audit_store.load(played.directory), "acme")
    keyring = audit_store.load_keyring(played.directory / audit_store.FOLDER / audit_store.KEYRING_FILE)
    report = audit_export.verify(exported, keyring.verifier(), keyring.witnesses, keyring.expected)
    assert keyring.scheme == "ed25519" and report.sound and report.records > 20 and report.covered[SIDECAR] > 0, report
    strangers = structs.replace(keyring, public={name: bytes(32) for name in keyring.public})
    assert not audit_export.verify(exported, strangers.verifier(), keyring.witnesses, keyring.expected).sound


def test_most_hazards_of_the_library_play_live() -> None:
    assert [name for name in PLAYABLE if "live" not in drivers(load(find(name)))] == []


def test_what_is_played_before_each_change_plays_live() -> None:
    assert {name for half in LIVE_HALVES for name in half} <= set(PLAYABLE)


def test_every_fault_of_links_and_processes_is_measured(tmp_path: Path, mark: str) -> None:
    schedule = short(
        fault("one-way", "partition", 400 * MS, 800 * MS, links=(("replica/1", SIDECAR), ("replica/1", "replica/2")), shape="blackhole"),
        fault("cut", "partition", 500 * MS, 800 * MS, links=both_ways("replica/3", "replica/2", "operator"), shape="cut"),
        fault("late", "delay", 300 * MS, 900 * MS, links=both_ways("sidecar/acme/2", *REPLICAS), by_ns=60 * MS),
        fault("twice", "duplicate", 900 * MS, 1500 * MS, targets=("sidecar/acme/2", "replica/2"), message="order", times=2),
        fault("stand-still", "pause", 1400 * MS, 500 * MS, targets=("replica/3", "agent/acme/1")),
        order("isolate", SECOND),
        fault("rot", "bit-flip", 1500 * MS, targets=("replica/1",), slots="log"),
        fault("rot-too", "bit-flip", 1500 * MS, targets=("agent/acme/1",), slots="slots"),
        fault("killed", "crash", 1600 * MS, targets=("replica/1", SIDECAR), power=0, restart_after_ns=300 * MS),
        clocks={SIDECAR: ClockSpec(offset_ns=9 * SECOND, drift_ppm=-9_000)},
    )
    played = play(schedule, "killswitch", tmp_path)
    assert_sound(played)
    seen = attestations(played.history)
    assert seen["one-way"][0].body["measured"] == {"paths": 2, "silent": 2}
    assert seen["cut"][0].body["measured"] == {"paths": 3, "refused": 3}
    assert seen["late"][0].body["measured"]["least_trip_ms"] >= 120
    assert seen["twice"][0].body["measured"]["came_again"] > 0
    assert seen["stand-still"][0].body["measured"] == {"stopped": 2, "without_process": 0}
    assert seen["rot"][0].body["measured"] == {"replica/1 bits": 1} and set(seen["rot-too"][0].body["measured"]) == {"agent/acme/1 bits"}
    assert {fact.node for fact in played.history.of("log-cut")} == {"replica/1"}
    assert [fact.body["measured"] for fact in seen["killed"]] == [{"killed": 2, "without_process": 0}, {"started": 2}]
    assert {fact.node for fact in played.history.of("node-crashed")} >= {"replica/1", SIDECAR, "agent/acme/1"}
    started = [fact for fact in played.history.of("node-started") if fact.node == SIDECAR]
    assert len(started) == 2 and started[1].body["records"] > 0
    assert all(fact.clock_ns >= 9 * SECOND for fact in started)
    healed = played.history.of("healed")[0].at_ns
    assert all(fact.at_ns <= healed for fact in played.history.of("fault-off"))


def test_every_fault_of_messages_clocks_and_disks_is_measured(tmp_path: Path, mark: str) -> None:
    away = both_ways("sidecar/acme/2", *REPLICAS)
    schedule = short(
        fault("lost", "loss", 300 * MS, SECOND, links=away, chance_ppm=300_000),
        fault("doubled", "duplicate-messages", 400 * MS, SECOND, links=both_ways(SIDECAR, *REPLICAS), chance_ppm=500_000),
        fault("overtaken", "reorder", 500 * MS, SECOND, links=both_ways("replica/2", "replica/1", SIDECAR), chance_ppm=500_000, by_ns=300 * MS),
        fault("again", "replay", 1600 * MS, targets=(SIDECAR, "replica/3"), message="any", times=3),
        fault("waits", "partition", 1700 * MS, 600 * MS, links=both_ways("replica/3", "replica/1", SIDECAR), shape="stall"),
        fault("spoilt", "corrupt", 900 * MS, SECOND, links=both_ways("replica/1", "replica/2"), chance_ppm=300_000),
        fault("jump", "clock-step", 900 * MS, targets=("replica/2",), by_ns=-3 * SECOND),
        fault("fast", "clock-drift", 400 * MS, 1500 * MS, targets=(SIDECAR,), rate_ppm=200_000),
        fault("stands", "clock-freeze", 1800 * MS, 600 * MS, targets=("replica/1",)),
        fault("to-and-fro", "clock-strobe", 500 * MS, 1900 * MS, targets=("sidecar/acme/2",), by_ns=2 * SECOND, every_ns=110 * MS),
        fault("slow", "disk-slow", 600 * MS, 1200 * MS, targets=("replica/1", SINK), by_ns=120 * MS),
        fault(
            "keeps-busy",
            "overload",
            500 * MS,
            1900 * MS,
            links=(("replica/3", "sidecar/acme/2"),),
            message="telemetry",
            per_s=100,
            capacity_per_s=500,
        ),
        order("isolate", SECOND),
        fault("fails", "disk-fail", 800 * MS, 700 * MS, targets=("agent/acme/2", "replica/3")),
        clocks={SIDECAR: ClockSpec(offset_ns=9 * SECOND, drift_ppm=-9_000)},
    )
    played = play(schedule, "killswitch", tmp_path)
    assert_sound(played)
    seen = {name: facts[0].body["measured"] for name, facts in attestations(played.history).items()}
    assert seen["lost"]["missing"] >= seen["lost"]["lost"] > 0
    assert seen["doubled"]["came_again"] > 0 < seen["overtaken"]["out_of_order"]
    assert seen["spoilt"]["missing"] >= seen["spoilt"]["lost"] > 0  # and with it what else was under way
    assert 0 < seen["spoilt"]["hung_up"] <= seen["spoilt"]["spoilt_connections"]
    assert seen["again"]["came_again"] > 0
    assert seen["waits"]["silent"] == seen["waits"]["paths"] > 0
    assert abs(seen["jump"]["replica/2 jumped by ms"] + 3000) <= 20
    assert abs(seen["fast"][f"{SIDECAR} ran at ppm"] - 200_000) < 20_000
    assert seen["stands"] == {"replica/1 ran at ppm": -1_000_000, "too_few_steps": 0}
    assert seen["to-and-fro"]["flashes"] >= 3  # 17 of them, on a host that has time for it
    # Each message that it hears is a step and a reading, and whoever reads a clock that strobes finds it on one side or on the other.
    read = {side: seen["to-and-fro"][f"sidecar/acme/2 read {side}"] for side in ("here", "there")}
    assert min(read.values()) > 2 and sum(read.values()) >= seen["keeps-busy"]["came"] * 9 // 10 > 50
    assert seen["slow"]["least_ms"] >= 120 and seen["slow"]["commits"] > 0
    assert {fact.body["fault"] for fact in played.history.of("fault-fired")} == set(seen)
    offsets = [(fact.at_ns, fact.clock_ns - fact.at_ns) for fact in played.history if fact.node == "replica/2" and not fact.kind.startswith("log-")]
    told = {(fact.kind, fact.body["fault"]): fact.at_ns for fact in played.history if fact.kind in ("fault-on", "fault-attested")}
    before = [offset for at_ns, offset in offsets if 0 < at_ns < told["fault-on", "jump"]][-1]
    after = [offset for at_ns, offset in offsets if told["fault-attested", "jump"] < at_ns]
    assert after and all(abs(offset - before + 3 * SECOND) < 50 * MS for offset in after)


@needs.small_file_systems
def test_disks_that_are_full_and_disks_that_are_lost_are_measured(tmp_path: Path, mark: str) -> None:
    schedule = short(
        fault("full", "disk-full", 700 * MS, 2 * SECOND, targets=(SIDECAR,)),
        fault("nearly", "disk-full", 700 * MS, 2 * SECOND, targets=("sidecar/acme/2", "replica/2"), reserve=32),
        fault("lost", "disk-lost", 800 * MS, targets=("replica/1",), restart_after_ns=300 * MS),
        order("isolate", SECOND),
    )
    played = play(schedule, "killswitch", tmp_path)
    assert_sound(played)
    seen = {name: [fact.body["measured"] for fact in facts] for name, facts in attestations(played.history).items()}
    assert seen["full"][0] == {f"{SIDECAR} free": 0} and seen["full"][1]["heard"] >= 1 < seen["full"][1]["free"]
    assert seen["nearly"][1]["heard"] >= 2 and seen["nearly"][1]["lent_bytes"] > 0
    assert {fact.node for fact in played.history.of("disk-full")} == {fact.node for fact in played.history.of("disk-freed")}
    assert {fact.node for fact in played.history.of("disk-full")} == {"sidecar/acme/2", "replica/2"}
    assert seen["lost"] == [{"killed": 1, "without_process": 0}, {"started": 1}]
    assert {fact.node for fact in played.history.of("disk-failed")} == {SIDECAR}
    assert [fact.node for fact in played.history.of("replica-joined")] == ["replica/1"]
    assert played.history.of("node-crashed")[0].body["lost_records"] > 0
    assert not (tmp_path / "nodes" / "sidecar-acme-1").is_mount()
    assert (tmp_path / "nodes" / "sidecar-acme-1" / "log.db").exists()  # what was on it is kept


def test_narrow_links_hostile_signals_read_only_disks_and_slow_or_sleeping_nodes_are_measured(tmp_path: Path, mark: str) -> None:
    schedule = short(
        fault("made-up", "forge", 1200 * MS, targets=("replica/2", SIDECAR), times=14),
        fault("read-only", "disk-read-only", 900 * MS, SECOND, targets=("sidecar/acme/2", SINK)),
        fault("plods", "slow-node", 500 * MS, 2 * SECOND, targets=("replica/3",), by_ns=8 * MS),
        fault("sleeps", "suspend", 2300 * MS, 600 * MS, targets=("replica/1", SIDECAR)),
        fault("borrowed", "cross-tenant", 1400 * MS, targets=("replica/2", SIDECAR)),
        fault("broken", "malformed", 1500 * MS, targets=("replica/2", SIDECAR), times=12, source="stranger"),
        order("soft", SECOND, ("agent", "acme/2")),
        fault("flaps", "flapping-partition", 300 * MS, 2 * SECOND, links=both_ways(SIDECAR, "replica/1"), shape="blackhole", period_ns=600 * MS),
        fault("narrow", "bandwidth", 400 * MS, 2 * SECOND, links=both_ways("sidecar/acme/2", *REPLICAS), bytes_per_s=16_000),
    )
    played = play(schedule, "killswitch", tmp_path)
    assert_sound(played)
    seen = {name: facts[0].body["measured"] for name, facts in attestations(played.history).items()}
    assert seen["flaps"] == {"paths": 1, "silent": 1}
    assert seen["made-up"] == {"said": 28, "readable": 28, "came": 28} and seen["borrowed"] == {"said": 2, "readable": 2, "came": 2}
    assert seen["broken"]["said"] == 24 > seen["broken"]["readable"] == seen["broken"]["came"] > 0
    assert {fact.node for fact in played.history.of("order-rejected")} >= {"replica/2", SIDECAR}
    assert {fact.body["sender"] for fact in played.history.of("hostile-input")} == {"operator", SINK}
    assert seen["plods"]["steps"] > 20 and seen["plods"]["least_gap_us"] >= 8000
    assert seen["sleeps"] == {"stopped": 3, "without_process": 0, "paths": 9, "silent": 9}
    assert seen["read-only"]["heard"] > 1 < seen["read-only"]["failed"] and seen["read-only"]["added"] == 0
    assert seen["narrow"]["least_trip_ms"] >= 450 and seen["narrow"]["measured"] == 3  # a quarter of a second there, and as much back


def test_agents_that_misbehave_are_measured_and_stopped_all_the_same(tmp_path: Path, mark: str) -> None:
    first, second = "agent/acme/1", "agent/acme/2"
    schedule = short(
        fault("saves", "die-mid-checkpoint", 400 * MS, 3 * SECOND, targets=(first,), after="written", power=0),
        fault("dawdles", "drain-slowly", 300 * MS, 1200 * MS, targets=(second,), by_ns=120 * MS),
        fault("forks", "fork", 600 * MS, targets=(second,), linger_ns=0),
        fault("deaf", "ignore-stop", 2500 * MS, targets=(second,)),
        fault("lies", "lie", 3500 * MS, targets=(first,), how="leaves"),
        order("soft", 4 * SECOND),
        duration_ns=8 * SECOND,
    )
    played = play(schedule, "killswitch", tmp_path)
    assert_sound(played)
    seen = {name: facts[-1].body["measured"] for name, facts in attestations(played.history).items()}
    assert {fact.body["fault"] for fact in played.history.of("fault-fired")} == set(seen)
    assert seen["saves"] == {"died": 1, "as_told": 1}
    assert seen["dawdles"]["timers"] > 2 and seen["dawdles"]["least_ms"] >= 120
    forked = seen["forks"]
    assert (forked["after_its_end"], forked["living"]) == (0, 0) and forked["came_again"] > 5 and forked["refused"] > 0 < forked["knocked"]
    assert seen["deaf"]["asked"] > 0 == seen["deaf"]["heard"]
    assert seen["lies"]["asked"] >= seen["lies"]["lies"] > 0 == seen["lies"]["heard"]
    ends = {fact.node: fact.body["code"] for fact in played.history.of("process-reaped") if fact.at_ns > 4 * SECOND}
    assert ends == {"sidecar/acme/1": 0, "sidecar/acme/2": -signal.SIGKILL}
    stages = {fact.node: fact.body["stage"] for fact in played.history.of("evidence-sent")}
    assert set(stages.values()) == {"STOPPED_FORCED"}


def test_a_host_without_power_comes_back_in_another_boot_with_a_clock_that_began_anew(tmp_path: Path, mark: str) -> None:
    schedule = short(
        fault("dark", "crash", 2 * SECOND, targets=("replica/2", "agent/acme/1"), power=1, restart_after_ns=300 * MS),
        order("isolate", 1900 * MS),
        duration_ns=4 * SECOND,
        clocks={SIDECAR: ClockSpec(offset_ns=9 * SECOND, drift_ppm=-9_000)},
    )
    played = play(schedule, "killswitch", tmp_path)
    assert_sound(played)
    seen = [fact.body["measured"] for fact in attestations(played.history)["dark"]]
    assert seen == [{"killed": 2, "without_process": 0}, {"started": 2, "anew": 2}]
    dead = {fact.node: fact for fact in played.history.of("node-crashed")}
    assert set(dead) == {"replica/2", SIDECAR, "agent/acme/1"} and all(fact.body["power"] for fact in dead.values())
    starts = played.history.of("node-started")
    (untouched,) = {fact.body["boot"] for fact in starts if fact.node == "replica/1"}
    for node in ("replica/2", SIDECAR):
        before, after = (fact for fact in starts if fact.node == node)
        assert before.body["boot"] == untouched != after.body["boot"] and after.body["records"] > 0
        assert after.clock_ns < dead[node].clock_ns
    assert_auditable(played)


def test_links_in_shreds_that_end_late_in_the_middle_and_by_reset_are_measured(tmp_path: Path, mark: str) -> None:
    schedule = short(
        fault("pieces", "slice", 300 * MS, 1500 * MS, links=both_ways(SIDECAR, "replica/1"), piece_bytes=40, pause_ns=2 * MS),
        fault("ends", "cut-after", 300 * MS, 1500 * MS, links=both_ways("sidecar/acme/2", *REPLICAS), cut_bytes=3000),
        fault("unheard", "slow-close", 300 * MS, 2200 * MS, links=both_ways(SIDECAR, "replica/2"), by_ns=600 * MS),
        fault("dies", "crash", 1900 * MS, targets=("replica/2",), power=0, restart_after_ns=100 * MS),
        fault("reset", "partition", 1300 * MS, 900 * MS, links=both_ways("replica/3", "replica/1", SIDECAR), shape="reset"),
        order("isolate", SECOND),
    )
    played = play(schedule, "killswitch", tmp_path)
    assert_sound(played)
    seen = {name: [fact.body["measured"] for fact in facts] for name, facts in attestations(played.history).items()}
    assert seen["pieces"][0]["measured"] == 1 and seen["pieces"][0]["least_trip_ms"] >= 64  # 32 pieces, 2ms after each
    assert seen["ends"][0] == {"paths": 3, "whole_before": 3, "whole": 0} and seen["ends"][1]["whole_after"] >= 2  # one replica is booting
    assert seen["unheard"][0] == {"paths": 1, "measured": 1, "least_ms_to_end": seen["unheard"][0]["least_ms_to_end"]}
    # No upper bound: a loaded host may take any time. That it was the fault's doing is told by the same probe after it.
    assert seen["unheard"][0]["least_ms_to_end"] >= 600 and seen["unheard"][1] == {"measured": 1, "prompt": 1, "ended": 1}
    assert seen["ends"][1]["ended"] >= 1
    assert seen["reset"] == [{"paths": 3, "closed": 3, "by_rst": 3}]
    assert {fact.body["fault"] for fact in played.history.of("fault-fired")} == set(seen)


def test_a_fault_that_the_measurement_does_not_see_is_unattested(tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = fault("hole", "partition", 300 * MS, 400 * MS, links=both_ways(SIDECAR, "replica/1"), shape="blackhole")

    async def blind(port: int, deadline_s: float, load_bytes: int = 8, credentials: Credentials | None = None) -> Measured:
        """Sees an echo where there is none."""
        seen = await probe(port, deadline_s, load_bytes, credentials)
        return Measured(Outcome.ECHOED, 1) if seen.outcome is Outcome.SILENT else seen

    monkeypatch.setattr("harness.live.paths.probe", blind)
    played = play(short(entry, duration_ns=SECOND, settle_ns=0), "killswitch", tmp_path)
    assert played.why == ""
    (unseen,) = played.history.of("fault-unattested")
    assert unseen.body["measured"] == {"paths": 1, "echoed": 1}


def test_faults_that_befall_nobody_make_the_run_unknown(tmp_path: Path, mark: str) -> None:
    schedule = short(
        fault("gone", "crash", 300 * MS, targets=("replica/3",), restart_after_ns=-1),
        fault("killed-twice", "crash", 900 * MS, targets=("replica/3",), power=0, restart_after_ns=-1),
        fault("stopped", "pause", 900 * MS, 300 * MS, targets=("replica/3",)),
        fault("stepped", "wall-step", 900 * MS, targets=("replica/3",), by_ns=3600 * SECOND),
        fault("strangers", "partition", 900 * MS, 300 * MS, links=both_ways(SIDECAR, "sidecar/acme/2"), shape="blackhole"),
        fault("too-far", "cut-after", 900 * MS, 500 * MS, links=both_ways("replica/1", SINK), cut_bytes=60_000),
        fault("all-last", "slow-close", 900 * MS, 900 * MS, links=both_ways("replica/1", SINK), by_ns=100 * MS),
        fault("unheard", "ignore-stop", 900 * MS, 300 * MS, targets=("agent/acme/2",)),
        fault("unwritten", "disk-fail", 900 * MS, 300 * MS, targets=("replica/3",)),
        fault("never-lost", "loss", 900 * MS, 300 * MS, links=both_ways(SIDECAR, "replica/1"), chance_ppm=0),
        fault("heard", "partition", 900 * MS, 500 * MS, links=both_ways(SIDECAR, "replica/2"), shape="blackhole"),
    )
    played = play(schedule, "killswitch", tmp_path)
    assert_sound(played)
    armed = {entry.id for entry in schedule.timeline}
    bit = {"gone", "heard"}
    assert {fact.body["fault"] for fact in played.history.of("fault-fired")} == bit
    assert {fact.body["fault"] for fact in played.history.of("fault-idle")} == armed - bit
    assert not played.history.of("fault-unattested")
    told = in_vain(played.history)
    assert told.startswith("befell nobody: ") and "stopped (pause): {'stopped': 0, 'without_process': 1}" in told


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (fault("x", "disk-lie", 0, targets=(SIDECAR,)), "live driver has"),
        (fault("x", "die-mid-checkpoint", 0, targets=("agent/acme/1",), after="written", power=1), "power"),
        (fault("x", "partition", 0, links=((SIDECAR, "replica/1"),), shape="cut"), "one way"),
        (fault("x", "partition", 0, links=((SIDECAR, "replica/1"),), shape="reset"), "cannot be reset"),
        (fault("x", "flapping-partition", 0, links=both_ways(SIDECAR, "replica/1"), shape="blackhole", period_ns=10 * MS), "period"),
        (fault("x", "overload", 0, links=both_ways(SIDECAR, *REPLICAS), message="any", per_s=1000, capacity_per_s=1000), "on all links together"),
        (fault("x", "wall-strobe", 0, targets=(SIDECAR,), by_ns=SECOND, every_ns=10 * MS), "every 50ms"),
        (fault("x", "bandwidth", 0, links=both_ways(SIDECAR, "replica/1"), bytes_per_s=999), "1kB/s"),
    ],
)
def test_what_the_driver_cannot_make_is_refused_before_anything_starts(tmp_path: Path, mark: str, what: object, why: str) -> None:
    with pytest.raises(CapabilityMissing, match=why):
        play(short(what), "killswitch", tmp_path)  # type: ignore[arg-type]
    assert list((tmp_path / "traces").iterdir()) == []


def test_a_watcher_ends_the_run(tmp_path: Path, mark: str) -> None:
    def watch(fact: Fact) -> None:
        if fact.kind == "effect-applied":
            raise Stopped("seen enough")

    played = play(short(), "killswitch", tmp_path, watch)
    assert (played.ended, played.why, played.left) == ("seen enough", "", ())
    assert played.wall_ns < 3 * SECOND
