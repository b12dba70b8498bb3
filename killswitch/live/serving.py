"""The processes of a cell, as the ``killswitch`` command runs them.

Owns the start and the end of a process: which node it is, what it says when it is up, how it is asked to end. Must not know what a node does.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from killswitch.live import tether
from killswitch.live.config import Loaded
from killswitch.live.exits import Exit, Wrong
from killswitch.live.log import LogFailed
from killswitch.live.node import AlreadyRunning, Fittings, Node

STOP_S = 5.0
START_S = 10.0


def replica(loaded: Loaded, name: str) -> int:
    """Be a replica until asked to end."""
    from killswitch.live.api import application  # half a second that no sidecar has to wait for
    from killswitch.live.plane import ControlPlane

    part = loaded.cell.replicas[name]
    return _serve(loaded, lambda: ControlPlane(loaded, name, application), f"replica/{name}: nodes at {part.listen}, people at https://{part.api}")


def sink(loaded: Loaded, name: str) -> int:
    """Be a sink until asked to end."""
    tenant, _, own = name.partition("/")
    part = loaded.cell.tenants[tenant].sinks[own]
    return _serve(
        loaded,
        lambda: Node(loaded.deployment(f"sink/{name}"), Fittings(loaded.make_machine), None),
        f"sink/{name}: class {part.kind} at {part.listen}",
    )


def sidecar(loaded: Loaded, agent: str, command: tuple[str, ...]) -> int:
    """Guard an agent until asked to end, which ends the agent, too."""
    tether.prctl(tether.PR_SET_CHILD_SUBREAPER, 1)  # what the agent leaves behind comes to us to be reaped
    return _serve(
        loaded,
        lambda: Node(loaded.deployment(f"sidecar/{agent}", command), Fittings(loaded.make_machine), None),
        f"sidecar/{agent}: guards {command[0]}",
    )


def all_replicas(loaded: Loaded) -> int:
    """Every replica as a child, until asked to end, or until the last of them has. One that cannot start ends them all; one that is lost later does
    not, for that is what there are several for. Meant for a cell on one machine. 1 if one was lost."""
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _frame: asked.append(got))
    argv = [sys.executable, "-m", "killswitch.live.command", "control-plane", "--config", str(loaded.file), "--replica"]
    children = {name: subprocess.Popen(tether.command_line([*argv, name]), start_new_session=True) for name in loaded.cell.replicas}
    began, lost = time.monotonic(), dict[str, int]()
    while not asked and len(lost) < len(children):
        time.sleep(0.1)
        now_ended = {name: code for name, child in children.items() if name not in lost and (code := child.poll()) is not None}
        lost |= now_ended
        failed = [name for name, code in now_ended.items() if code > 0 and time.monotonic() < began + START_S]
        if failed:
            print(f"replica/{failed[0]} could not start (exit code {lost[failed[0]]}); the others are ended with it", file=sys.stderr)
            break
        for name, code in now_ended.items():
            alone = f"killswitch control-plane --replica {name} starts it again"
            print(f"replica/{name} ended with {code}; the others go on: {alone}", file=sys.stderr, flush=True)
    for child in children.values():
        child.terminate()
    deadline = time.monotonic() + STOP_S
    for child in children.values():
        try:
            child.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    return max(1, *lost.values()) if lost else 0


def _serve(loaded: Loaded, make: Callable[[], Node], up: str) -> int:
    try:
        return asyncio.run(_run(make, up))
    except FileNotFoundError as error:
        if not Path(str(error.filename)).is_relative_to(loaded.pki):
            raise
        raise Wrong(f"{error.filename}: {error.strerror}; `killswitch pki {loaded.file.parent}` makes keys and certificates") from error


async def _run(make: Callable[[], Node], up: str) -> int:
    try:
        node = make()
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, node.stop)
        return await node.run(ready=lambda: print(up, flush=True))
    except (AlreadyRunning, LogFailed) as error:  # it cannot be that node, or its log cannot be read
        print(error, file=sys.stderr)
        return Exit.HOST
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        print(f"{up}: {error.strerror or error}; end what listens there, or give it another port in the cell's file", file=sys.stderr)
        return Exit.HOST
