"""Live runs in which something outside the experiment breaks: a process that no fault killed, the safety lever, the harness itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from harness.live import ledger, lever, packet_queue, recovery, small_disks
from harness.live.driver import Halted, PlayedLive, Unclean, play
from harness.shared.history import Fact
from harness.shared.operations import Stopped
from killswitch.live.process import processes_with
from scenarios.schedule import Schedule
from tests.live.schedules import MS, REPLICAS, SECOND, SIDECAR, both_ways, fault, short

pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.fixture(autouse=True)
def server_is_there(toxiproxy_binary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALTPROOF_TOXIPROXY", str(toxiproxy_binary))


def while_running(directory: Path, act: Callable[[], object]) -> PlayedLive:
    """Play a run of some length, and do ``act`` once both agents work."""
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(play, short(duration_ns=12 * SECOND), "killswitch", directory)
        await_agents(directory)
        began = time.monotonic()
        act()
        played = run.result(timeout=15)
    assert time.monotonic() - began < 6, "it took long to be noticed"
    return played


def await_agents(directory: Path) -> None:
    deadline = time.monotonic() + 15
    traces = [directory / "traces" / f"agent-acme-{number}" for number in (1, 2)]
    while not all(trace.exists() and trace.stat().st_size > 2000 for trace in traces):
        assert time.monotonic() < deadline, "the agents never worked"
        time.sleep(0.02)


def pid_of(mark: str, *words: bytes) -> int:
    (pid,) = [pid for pid in processes_with(mark) if all(word in Path(f"/proc/{pid}/cmdline").read_bytes() for word in words)]
    return pid


def test_a_toxiproxy_that_dies_makes_the_run_unknown_at_once(tmp_path: Path, mark: str) -> None:
    played = while_running(tmp_path, lambda: os.kill(pid_of(mark, b"-host", b"-port"), signal.SIGKILL))
    assert "toxiproxy" in played.why and "status -9" in played.why
    assert played.history.facts[-1].body["reason"] == played.why
    assert played.left == ()


def test_a_node_that_dies_though_no_fault_killed_it_makes_the_run_unknown(tmp_path: Path, mark: str) -> None:
    played = while_running(tmp_path, lambda: os.kill(pid_of(mark, b"replica-2"), signal.SIGKILL))
    assert "replica/2 ended by itself with status -9" in played.why


def test_the_safety_lever_ends_a_run_and_keeps_the_next_from_starting(tmp_path: Path, mark: str) -> None:
    played = while_running(tmp_path / "first", lambda: lever.pull("smoke in the hall"))
    assert played.ended == played.why == "safety lever: smoke in the hall" and played.left == ()
    with pytest.raises(Halted, match="smoke in the hall"):
        play(short(), "killswitch", tmp_path / "second")
    assert not (tmp_path / "second").exists()
    assert lever.release()


def test_the_safety_lever_is_seen_before_the_first_process_has_come_up(tmp_path: Path, mark: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(play, short(), "killswitch", tmp_path)
        while not (tmp_path / "logs").exists():
            time.sleep(0.001)
        lever.pull("before it began")
        played = run.result(timeout=15)
    assert played.ended == "safety lever: before it began" and played.left == ()
    assert "node-started" not in {fact.kind for fact in played.history}
    assert lever.release()


def test_what_is_left_after_an_interruption_is_named(tmp_path: Path, mark: str) -> None:
    def watch(fact: Fact) -> None:
        if fact.kind == "effect-applied":
            with socket.socket(socket.AF_UNIX) as door:
                door.bind(str(tmp_path / "door"))
            raise KeyboardInterrupt

    with pytest.raises(Unclean, match="socket") as caught:
        play(short(), "killswitch", tmp_path, watch)
    assert isinstance(caught.value.__cause__, KeyboardInterrupt)
    assert caught.value.left == (f"socket {tmp_path / 'door'}",)


def test_what_will_not_go_is_named(tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that somebody else laid into the run's directory: the ledger knows nothing of it, the search does."""

    def watch(fact: Fact) -> None:
        if fact.kind == "effect-applied":
            with socket.socket(socket.AF_UNIX) as door:
                door.bind(str(tmp_path / "door"))
            raise Stopped("seen enough")

    played = play(short(), "killswitch", tmp_path, watch)
    assert played.left == (f"socket {tmp_path / 'door'}",)
    (found,) = recovery.recover(None)  # still registered, since it was not clean
    assert found.running


HARNESS = """
import sys
from pathlib import Path
from harness.shared.interruption import Terminated
from harness.live.driver import play
from scenarios.schedule import load
try:
    play(load(Path(sys.argv[1])), "killswitch", Path(sys.argv[2]))
except KeyboardInterrupt:
    sys.exit(130)
except Terminated:
    sys.exit(143)
"""


BACKGROUND = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"  # what a script's shell does to its background jobs


@pytest.mark.parametrize(
    ("number", "status", "before"), [(signal.SIGINT, 130, ""), (signal.SIGTERM, 143, BACKGROUND), (signal.SIGKILL, -signal.SIGKILL, "")]
)
def test_nothing_is_left_running_however_the_harness_ends(
    tmp_path: Path, mark: str, number: signal.Signals, status: int, before: str
) -> None:  # fmt: skip
    long = tmp_path / "schedule.json"
    full = [] if small_disks.why_not() else [fault("full", "disk-full", 300 * MS, targets=(SIDECAR,))]  # a mount is left by a killed harness
    if number is not signal.SIGTERM and not packet_queue.why_not():  # in a network namespace of its own, and on the host's
        full.append(fault("lossy", "packet-loss", 300 * MS, links=both_ways(SIDECAR, *REPLICAS), chance_ppm=10_000))
    saved: Schedule = msgspec.structs.replace(short(*full, duration_ns=60 * SECOND), scenario="interrupted")
    saved.save(long)
    harness = subprocess.Popen([sys.executable, "-c", before + HARNESS, str(long), str(tmp_path / "run")])
    await_agents(tmp_path / "run")
    assert len(processes_with(mark)) >= 10
    harness.send_signal(number)
    assert harness.wait(10) == status
    deadline = time.monotonic() + (5 if number is signal.SIGKILL else 0)  # the kernel's word is good, but not instant
    while processes_with(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes_with(mark) == []
    groups = ledger.read(tmp_path / "run" / ledger.FILE).groups
    recovered = recovery.recover(None)
    assert [(each.running, each.left) for each in recovered] == ([(False, ())] if number is signal.SIGKILL else [])
    assert not [group for group in groups if Path(group).exists()]
    assert recovery.recover(None) == []
