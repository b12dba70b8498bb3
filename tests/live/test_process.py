"""Process trees that do not want to die, and the kernel's word for it that they did."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from killswitch.live import process
from killswitch.live.process import ProcessTree, identify, processes_with
from tests.live.scenes import until

pytestmark = pytest.mark.live

# Starts a child that leaves the session and ignores SIGTERM, writes both pids, and ignores SIGTERM itself if told to.
STUBBORN = """
import os, signal, sys, time
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1] + str(os.getpid()), "w").close()
time.sleep(60)
"""


@pytest.fixture(params=["cgroup", "session"])
def tree(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProcessTree:
    if request.param == "session":
        monkeypatch.setattr(process, "own_cgroup", lambda _name: None)
    made = ProcessTree("acme/1", tmp_path / "state", adopts=False)
    if made.containment != request.param:
        pytest.skip("no writable cgroup v2 here")
    return made


def pids(directory: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("pid")) for path in directory.glob("pid*"))


def alive(pid: int) -> bool:
    return identify(pid) is not None


def stubborn(directory: Path, manner: str) -> list[str]:
    return [sys.executable, "-c", STUBBORN, f"{directory}/pid", manner]


def test_kill_takes_the_whole_tree_also_what_left_the_session(tree: ProcessTree, tmp_path: Path) -> None:
    async def scene() -> None:
        gone: list[int] = []
        tree.spawn(stubborn(tmp_path, "deaf"), os.environ, (), gone.append)
        with pytest.raises(RuntimeError, match="running already"):
            tree.spawn(["true"], os.environ, (), lambda _: None)
        await until(lambda: len(pids(tmp_path)) == 2)
        tree.terminate()
        await asyncio.sleep(0.1)
        assert all(alive(pid) for pid in pids(tmp_path)) and not gone
        tree.kill()
        await until(lambda: bool(gone))
        assert gone == [-signal.SIGKILL]
        assert not any(alive(pid) for pid in pids(tmp_path))
        tree.kill()  # harmless when there is nothing left
        tree.spawn(["true"], os.environ, (), gone.append)
        await until(lambda: gone[1:] == [0])

    asyncio.run(scene())


def test_the_end_of_the_program_is_the_end_of_its_tree(tree: ProcessTree, tmp_path: Path) -> None:
    async def scene() -> None:
        gone: list[int] = []
        tree.spawn(stubborn(tmp_path, "polite"), os.environ, (), gone.append)
        await until(lambda: len(pids(tmp_path)) == 2)
        assert tree.leader is not None
        os.kill(tree.leader, signal.SIGSTOP)  # a stopped program hears SIGTERM only once it is continued
        tree.proceed()
        tree.terminate()
        await until(lambda: bool(gone))
        assert gone == [-signal.SIGTERM]
        assert not any(alive(pid) for pid in pids(tmp_path))

    asyncio.run(scene())


SIDECAR = """
import asyncio, os, sys, time
from pathlib import Path
from killswitch.live import process
from killswitch.live.process import ProcessTree
if sys.argv[3] == "session":
    process.own_cgroup = lambda name: None
async def main():
    tree = ProcessTree("acme/1", Path(sys.argv[1]), adopts=False)
    tree.spawn(sys.argv[4:], os.environ, (), lambda _: None)
    print(tree.leader, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def test_an_agent_dies_with_its_sidecar_and_the_next_sidecar_ends_what_is_left(tree: ProcessTree, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SIDECAR, str(tmp_path / "state"), "-", tree.containment, *stubborn(tmp_path, "deaf")]
    sidecar = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert sidecar.stdout is not None
    leader = int(sidecar.stdout.readline())
    asyncio.run(until(lambda: len(pids(tmp_path)) == 2))
    (child,) = set(pids(tmp_path)) - {leader}
    sidecar.kill()
    sidecar.wait()
    sidecar.stdout.close()  # the orphan holds the other end: reading on would wait for it
    asyncio.run(until(lambda: not alive(leader)))
    assert alive(child), "the kernel's parent-death signal does not reach grandchildren: this is what orphans are"
    assert tree.reap_orphans()
    assert not alive(child)
    assert processes_with(f"{process.COOKIE}={tree._cookie}") == []
    assert tree.reap_orphans()  # and once more, with nothing there


def test_a_reused_pid_is_not_taken_for_an_orphan(tree: ProcessTree, tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        real = identify(bystander.pid)
        assert real is not None
        (tmp_path / "state" / "tree.json").write_text(f'{{"pid": {real.pid}, "start": {real.start - 1}, "boot": "{real.boot}"}}')
        assert tree.reap_orphans()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
