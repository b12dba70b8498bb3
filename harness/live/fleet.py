"""The processes of a live run: started behind one line, crashed, paused, continued, started again, and in the end all gone.

Owns operating-system processes and nothing of what they say. Every process is tethered to this one, so that the kernel ends it if the
harness is killed; every one carries the run's cookie, so that at the end the harness can prove that none is left.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import IO

from harness.live import small_disks
from harness.live.cell import Cell, deployment_file, node_command
from harness.live.guard import COOKIE
from harness.live.ledger import Cookie, Group, Ledger, Mount, Process
from harness.shared.doubles import is_copy
from killswitch.live import tether
from killswitch.live.process import ProcessTree, identify

READY_S = 30.0
STOP_S = 3.0


class FleetFailed(Exception):
    """A process did not do what it was started for."""


class Fleet:
    """All nodes but agents, which belong to their sidecars. Call it on the thread that outlives the run: parents are threads, to the kernel."""

    def __init__(self, cell: Cell, implementation: str, directory: Path, ledger: Ledger) -> None:
        self._cell = cell
        self._implementation = implementation
        self._directory = directory
        self._ledger = ledger
        self._environment = {**os.environ, COOKIE: ledger.story.opened.run}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: list[IO[bytes]] = []
        self._down: set[str] = set()  # killed on purpose, and not started again yet
        self._retired: set[str] = set()  # and never to be started again
        self._trees: dict[str, ProcessTree] = {}

    def lay_out(self) -> None:
        """Directories, deployments, small disks, control groups. Raises `OSError`; what was made until then is in the ledger."""
        for kind in ("deployments", "logs", "traces", "nodes"):
            (self._directory / kind).mkdir(parents=True, exist_ok=True)
        for node, deployment in self._cell.deployments.items():
            deployment.save(deployment_file(node, self._directory))
        for place in self._cell.small.values():
            self._ledger.intend(Mount(str(place.resolve())))
            small_disks.mount(place)
        self._trees = {
            node: ProcessTree(deployment.config.agent, Path(deployment.directory) / "process", adopts=False)
            for node, deployment in self._cell.deployments.items() if deployment.config.role == "sidecar"
        }  # fmt: skip
        groups = [Group(str(tree.group)) for tree in self._trees.values() if tree.group is not None]
        self._ledger.intend(Cookie(self._ledger.story.opened.run), *groups)

    @property
    def environment(self) -> dict[str, str]:
        """What every process of the run starts with."""
        return self._environment

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(node for node, deployment in self._cell.deployments.items() if deployment.config.role != "agent")

    async def start_all(self) -> None:
        """Start every node up to the line, where all have read their code, and then let all go at once. Copies come later. Raises `FleetFailed`."""
        for node in self.nodes:
            if not is_copy(node):
                self.start(node, held=True)
        deadline = time.monotonic() + READY_S
        for node, started in self._processes.items():
            assert started.stdout is not None
            try:
                line = await asyncio.wait_for(asyncio.to_thread(started.stdout.readline), max(0.1, deadline - time.monotonic()))
            except TimeoutError:
                raise FleetFailed(f"{node} was not ready within {READY_S} s") from None
            if line != b"ready\n":
                raise FleetFailed(f"{node} did not come up: {self.last_words(node)}")
        for started in self._processes.values():
            assert started.stdin is not None
            started.stdin.write(b"go\n")
            started.stdin.close()

    def start(self, node: str, *, held: bool = False) -> None:
        """Start the process of ``node``; its log goes on where an earlier one's ended. Nothing if it is retired."""
        if node in self._retired:
            return
        self._down.discard(node)
        log = self._log_file(node).open("ab")
        self._logs.append(log)
        argv = [*node_command(node, self._directory, self._implementation), *(["--hold"] if held else [])]
        self._processes[node] = subprocess.Popen(
            tether.command_line(argv),
            env={**self._environment, **(self._cell.walls[node].environment if node in self._cell.walls else {})},
            stdin=subprocess.PIPE if held else subprocess.DEVNULL,
            stdout=subprocess.PIPE if held else log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the harness, which ends the others in its own order
        )
        identified = identify(self._processes[node].pid)
        if identified is not None:
            self._ledger.intend(Process(node, identified))  # until this is on disk, the cookie stands for it

    def pid(self, node: str) -> int:
        return self._processes[node].pid

    def runs(self, node: str) -> bool:
        return node in self._processes and self._processes[node].poll() is None

    async def kill(self, node: str) -> int:
        """SIGKILL, and the status that the kernel gave for it (minus the signal's number)."""
        self._down.add(node)
        killed = self._processes[node]
        killed.kill()
        status = await asyncio.to_thread(killed.wait)
        _close_pipes(killed)
        return status

    async def retire(self, node: str) -> None:
        """End ``node`` for good."""
        self._retired.add(node)
        if self.runs(node):
            await self.kill(node)

    def is_retired(self, node: str) -> bool:
        return node in self._retired

    def end_tree(self, node: str) -> None:
        """Nothing lives on that the agent of the sidecar ``node`` had become; its sidecar has to be dead. Other nodes have none."""
        if node in self._trees:
            self._trees[node].reap_orphans()

    def why_ended(self) -> str:
        """Which node ended though nobody killed it; empty: none."""
        for node, started in self._processes.items():
            if node not in self._down and started.poll() is not None:
                return f"{node} ended by itself with status {started.returncode}: {self.last_words(node)}"
        return ""

    def last_words(self, node: str) -> str:
        lines = self._log_file(node).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "(it left no word)"

    async def stop_all(self) -> None:
        """Ask all to stop, and give them the time; `clean_up` insists. Stopped processes are continued first."""
        running = [started for started in self._processes.values() if started.poll() is None]
        for started in running:
            for number in (signal.SIGCONT, signal.SIGTERM):
                started.send_signal(number)
        deadline = time.monotonic() + STOP_S
        while any(started.poll() is None for started in running) and time.monotonic() < deadline:  # noqa: ASYNC110  # the kernel sets no Event
            await asyncio.sleep(0.01)

    def clean_up(self) -> None:
        """End and reap whatever is left, orphaned agents too. Never raises, may be called at any time, blocks briefly."""
        for started in self._processes.values():
            started.kill()
            started.wait()
            _close_pipes(started)
        for log in self._logs:
            log.close()
        for tree in self._trees.values():
            tree.reap_orphans()

    def _log_file(self, node: str) -> Path:
        return self._directory / "logs" / f"{node.replace('/', '-')}.log"


def _close_pipes(started: subprocess.Popen[bytes]) -> None:
    for pipe in (started.stdin, started.stdout):
        if pipe is not None:
            pipe.close()
