"""The undo ledger: on disk before the act, undone in reverse, twice without harm, by somebody else after a SIGKILL; and what is left is found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.live import guard, ledger, lever, recovery, residue
from harness.live.ledger import File, Impaired, Mount, Opened, Process, Stopped
from harness.live.ports import free_port
from harness.live.server import Server
from harness.live.toxiproxy import UPSTREAM, Toxic, Toxiproxy
from killswitch.live.process import Identified, identify
from tests.live import needs
from tests.live.ledgers import a_ledger

pytestmark = pytest.mark.live


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the run ``run``."""
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, guard.COOKIE: "run"})
    yield started
    started.kill()
    started.wait()


def who(pid: int) -> Identified:
    identified = identify(pid)
    assert identified is not None
    return identified


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_an_entry_is_on_disk_before_it_is_acted_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda _file: synced.append((tmp_path / ledger.FILE).read_bytes()))
    book = a_ledger(tmp_path)
    (entry,) = book.intend(File("/somewhere"))
    assert ledger.read(tmp_path / ledger.FILE).open == {entry: File("/somewhere")}
    assert b"somewhere" in synced[-1]
    book.settle([entry, entry])
    assert ledger.read(tmp_path / ledger.FILE).open == {}


def test_everything_is_undone_in_reverse_and_may_be_undone_again(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    order: list[int] = []
    book = a_ledger(tmp_path)
    command = tmp_path / "command"
    command.write_text("stop")
    os.kill(sleeper.pid, signal.SIGSTOP)
    book.intend(Process("sleeper", who(sleeper.pid)), Stopped(who(sleeper.pid)), File(str(command)))
    story = ledger.read(tmp_path / ledger.FILE)
    assert ledger.undo(story, order.extend) == ()
    assert order == [3, 2, 1]
    assert sleeper.wait(5) == -signal.SIGKILL and not command.exists()
    assert ledger.undo(story) == ()


def test_a_pid_that_has_changed_hands_is_let_alone(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    earlier = msgspec.structs.replace(who(sleeper.pid), start=1)
    os.kill(sleeper.pid, signal.SIGSTOP)
    os.waitpid(sleeper.pid, os.WUNTRACED)  # it takes a moment to stop
    book = a_ledger(tmp_path)
    book.intend(Process("an earlier one", earlier), Stopped(earlier))
    assert book.undo_all() == ()
    assert state(sleeper.pid) == "T"


def test_what_hangs_is_named_and_does_not_keep_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "UNDO_S", 0.1)
    monkeypatch.setattr(Mount, "undo", lambda _self: time.sleep(5))
    command = tmp_path / "command"
    command.touch()
    book = a_ledger(tmp_path)
    book.intend(File(str(command)), Mount("/nowhere"))
    (left,) = book.undo_all()
    assert "/nowhere" in left and "not undone" in left
    assert not command.exists()


def test_toxics_are_taken_out_of_a_server_that_lives_and_forgotten_with_one_that_is_gone(tmp_path: Path, server: Server) -> None:
    toxiproxy = Toxiproxy(server.host, server.port)
    before = toxiproxy.create("proxy", f"{guard.LOOPBACK}:{free_port()}", f"{guard.LOOPBACK}:{free_port()}")
    toxiproxy.add("proxy", Toxic("late", "latency", UPSTREAM, 5000))
    toxiproxy.cut("proxy")
    story = ledger.Story(Opened("run", who(os.getpid()), str(tmp_path)))
    story.intend(1, Impaired(server.host, server.port, "proxy", toxics=("late",), cut=True))
    assert ledger.undo(story) == ledger.undo(story) == ()
    assert toxiproxy.state("proxy") == before
    server.stop()
    assert ledger.undo(story) == ()


def test_a_path_means_the_same_to_whoever_recovers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="absolute"):
        a_ledger(tmp_path).intend(File("out/command"))


def test_a_torn_line_was_never_acted_on(tmp_path: Path) -> None:
    book = a_ledger(tmp_path)
    book.intend(File("/one"))
    with (tmp_path / ledger.FILE).open("ab") as lines:
        lines.write(b'{"type":"Intended","entry":2,"un')
    assert ledger.read(tmp_path / ledger.FILE).open == {1: File("/one")}
    ledger.mark_closed(tmp_path / ledger.FILE)
    assert ledger.read(tmp_path / ledger.FILE).closed


# -- Residue -------------------------------------------------------------------------------------------------------------------------


def test_residue_is_found_by_looking(tmp_path: Path, sleeper: subprocess.Popen[bytes], server: Server) -> None:
    story = a_ledger(tmp_path).story
    group = tmp_path / "group"
    group.mkdir()
    story.intend(1, ledger.Group(str(group)))
    listening = subprocess.Popen([sys.executable, "-c", f"import socket; s = socket.socket(socket.AF_UNIX); s.bind({str(tmp_path / 'door')!r})"])
    assert listening.wait() == 0
    assert residue.search(story, [server.port]) == (
        f"process {sleeper.pid}", f"port {server.port} is listened on", f"control group {group}", f"socket {tmp_path / 'door'}",
    )  # fmt: skip


@needs.small_file_systems
def test_a_mount_is_found_and_undone(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "haltproof", str(place)], check=True)
    book = a_ledger(tmp_path)
    book.intend(Mount(str(place)))
    assert residue.search(book.story) == (f"mount {place}",)
    assert book.undo_all() == ()
    assert residue.search(book.story) == ()


# -- Recovery ------------------------------------------------------------------------------------------------------------------------

DOOMED = """
import os, subprocess, sys
from pathlib import Path
from harness.live import guard, lever
from harness.live.ledger import Cookie, Stopped
from killswitch.live.process import identify
from tests.live.ledgers import a_ledger
directory = Path(sys.argv[1])
book = a_ledger(directory)
lever.register("run", directory / "ledger.jsonl")
book.intend(Cookie("run"))
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, guard.COOKIE: "run"}, stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def test_whoever_comes_later_finishes_what_a_killed_harness_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    run = tmp_path / "run"
    run.mkdir()
    doomed = subprocess.run([sys.executable, "-c", DOOMED, str(run)], stdout=subprocess.PIPE, text=True, check=False)
    assert doomed.returncode == -signal.SIGKILL
    orphan = int(doomed.stdout)
    assert identify(orphan) is not None
    (recovered,) = recovery.recover(None)
    assert (recovered.undone, recovered.left, recovered.running) == (1, (), False)
    assert identify(orphan) is None
    assert recovery.recover(None) == recovery.recover(tmp_path) == []


def test_a_run_whose_harness_lives_is_let_alone(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    a_ledger(tmp_path).intend(Process("sleeper", who(sleeper.pid)))
    (found,) = recovery.recover(tmp_path)
    assert found.running and identify(sleeper.pid) is not None


def test_a_ledger_that_says_nothing_is_residue(tmp_path: Path) -> None:
    (tmp_path / ledger.FILE).write_text("{}\n")
    (found,) = recovery.recover(tmp_path)
    assert "whose it is" in found.left[0]


# -- Guard and lever -----------------------------------------------------------------------------------------------------------------


def test_only_the_runs_own_processes_may_be_touched(sleeper: subprocess.Popen[bytes]) -> None:
    assert guard.own_process(sleeper.pid, "run") == who(sleeper.pid)
    with pytest.raises(guard.OutOfBounds, match="was not started by run other"):
        guard.own_process(sleeper.pid, "other")
    with pytest.raises(guard.OutOfBounds):
        guard.own_process(1, "run")
    sleeper.kill()
    sleeper.wait()
    assert guard.own_process(sleeper.pid, "run") is None


@pytest.mark.parametrize("path", ["..", ".", "link/x", "/etc/passwd"])
def test_only_paths_below_the_run_may_be_touched(tmp_path: Path, path: str) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "link").symlink_to(tmp_path)
    with pytest.raises(guard.OutOfBounds):
        guard.own_path(directory / path, directory)
    assert guard.own_path(directory / "nodes" / "x", directory)


def test_the_lever_is_a_file_that_anybody_can_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lever.SETTING, str(tmp_path / "stop"))
    assert lever.why_halted() == ""
    (tmp_path / "stop").touch()
    assert lever.why_halted() == "safety lever: pulled"
    assert (lever.release(), lever.release(), lever.why_halted()) == (True, False, "")
    lever.pull("smoke")
    assert lever.why_halted() == "safety lever: smoke"


def test_registrations_of_runs_that_are_gone_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    there: list[Any] = [tmp_path / "one", tmp_path / "two"]
    for number, path in enumerate(there):
        path.touch()
        lever.register(f"run-{number}", path)
    there[1].unlink()
    assert lever.registered() == [there[0].resolve()]
    lever.unregister("run-0")
    assert lever.registered() == []
