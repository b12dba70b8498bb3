"""One node as an operating-system process: ``python -m killswitch.live.node DEPLOYMENT.json``.

Owns the joining of parts: a deployment record, the machine of its role, and the log, clock, transport, process tree and upstream that this
role has. Must not know what any role does. A sidecar starts its agent as such a process too; the agent's only way out is
the socket that the sidecar hands to it, and it ends when that does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from killswitch.core import build
from killswitch.core.events import Boot
from killswitch.core.keys import Ed25519, Signer
from killswitch.core.machine import Machine, NodeConfig
from killswitch.core.messages import Message, Token
from killswitch.live import tether
from killswitch.live.access import AccessLog
from killswitch.live.checkpoint import Checkpoints
from killswitch.live.clock import Clock, NodeClock, boot_id
from killswitch.live.credentials import Credentials, Files
from killswitch.live.host import Host
from killswitch.live.listener import LOOPBACK
from killswitch.live.log import SqliteLog
from killswitch.live.process import ProcessTree
from killswitch.live.trace import Started, TraceWriter, monotonic_ns
from killswitch.live.transport import Transport
from killswitch.live.upstream import Counter, Handed

EXIT_GUARD_GONE = 75
FLUSH_S = 0.5
READ_OUT_S = 1.0

MakeMachine = Callable[[NodeConfig, Signer], Machine]


class Deployment(Struct, frozen=True, kw_only=True):
    """Everything that one process is told; the file holds private keys and is its owner's only.

    ``directory``: state of this node alone. ``port``: where it listens (0: nowhere). ``dials``: {peer: port}, on the loopback interface if
    ``hosts`` does not say otherwise. ``credentials``: for mutual TLS; without them nothing but the loopback interface is spoken to.
    ``trace`` "": none is kept. ``upstream``: path of the desk's socket ("" for none). ``program``: a sidecar's command for its agent's process.
    """

    config: NodeConfig
    cell: str
    directory: str
    trace: str
    clock: NodeClock = NodeClock()
    private: dict[str, bytes] = {}
    public: dict[str, bytes] = {}
    port: int = 0
    dials: dict[str, int] = {}
    upstream: str = ""
    program: tuple[str, ...] = ()
    host: str = LOOPBACK
    hosts: dict[str, str] = {}
    credentials: Files | None = None

    def save(self, path: Path) -> None:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(self), indent=1))


class Fittings(NamedTuple):
    """What a node is made with. An experiment puts something of its own before the clock or the log, and another implementation in place of ours."""

    machine: MakeMachine = build.machine
    clock: Callable[[Deployment], Clock] = lambda deployment: deployment.clock
    log: Callable[[Path], SqliteLog] = SqliteLog


class Node:
    """The parts of one process, joined; the surroundings of its `Host`."""

    def __init__(self, deployment: Deployment, fittings: Fittings, token: Token | None) -> None:
        config = deployment.config
        clock = fittings.clock(deployment)
        self._deployment = deployment
        self._token = token
        directory = Path(deployment.directory)
        directory.mkdir(parents=True, exist_ok=True)
        self._trace = TraceWriter(Path(deployment.trace))
        self._log = fittings.log(directory / "log.db")
        self._checkpoints = Checkpoints(directory / "checkpoints") if config.role == "agent" else None
        machine = fittings.machine(config, Ed25519(deployment.private, deployment.public))
        self._host = Host(machine, self._log, clock, self._trace, self, self._checkpoints)
        self._access = AccessLog(directory / "access.db", clock)
        credentials = Credentials(deployment.credentials) if deployment.credentials else None
        self._transport = Transport(
            config.node, config.tenant, deployment.cell, self._host.receive, credentials=credentials, refused=self._access.refused
        )
        self._reading_out: asyncio.Task[None] | None = None  # held, or it might be collected before it is done
        self._tree = ProcessTree(config.agent, directory / "process", adopts=True) if config.role == "sidecar" else None
        self._counter = Counter(config.node, Path(deployment.upstream), self._take) if deployment.upstream else None

    async def run(self, guard: socket.socket | None) -> int:
        """Be the node until it exits or is told to stop. ``guard``: an agent's socket to its sidecar."""
        loop = asyncio.get_running_loop()
        containment = self._tree.containment if self._tree else ""
        self._trace.write(Started(monotonic_ns(), self._deployment.config.node, os.getpid(), containment))
        if guard is None:
            loop.add_signal_handler(signal.SIGTERM, self._host.stop, 0)
        else:
            # An agent that knows the protocol is asked to stop by a message, which says how; the signal is for programs that do not.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._transport.adopt(f"sidecar/{self._deployment.config.agent}", guard).add_done_callback(lambda _: self._host.stop(EXIT_GUARD_GONE))
        if self._deployment.port:
            await self._transport.listen(self._deployment.port, self._deployment.host)
        for peer, port in self._deployment.dials.items():
            self._transport.dial(peer, port, self._deployment.hosts.get(peer, LOOPBACK))
        serving = asyncio.create_task(self._counter.serve()) if self._counter else None
        records, cut_bytes = self._log.load()
        slots = self._checkpoints.load() if self._checkpoints else ()
        try:
            return await self._host.run(Boot(records, boot_id(), secrets.token_hex(8), cut_bytes, slots, self._token))
        finally:
            if serving:
                serving.cancel()
            await self._transport.flush(FLUSH_S)
            await self._transport.close()
            if self._tree:
                self._tree.kill()
            self._log.close()
            self._access.close()

    def _take(self, handed: Handed) -> None:
        self._host.offer(handed)

    # -- What the host asks for (`killswitch.live.host.Surroundings`) ----------------------------------------------------------------

    def send(self, to: str, message: Message) -> None:
        self._transport.send(to, message)

    def acknowledge(self, task: str, outcome: str) -> None:
        if self._counter:
            self._counter.tell_ended(task, outcome)

    def spawn(self, token: Token, on_gone: Callable[[int], None]) -> None:
        """Start the agent, with one end of a socket pair as its only way out. It is gone once all that it wrote has been read."""
        assert self._tree is not None, "only a sidecar starts a process"
        ours, theirs = socket.socketpair()
        talk = self._transport.adopt(f"agent/{self._deployment.config.agent}", ours)

        async def read_out(status: int) -> None:
            await asyncio.wait([talk], timeout=READ_OUT_S)  # a stray child may hold its end open: that must not hold us up
            on_gone(status)

        def gone(status: int) -> None:
            self._reading_out = asyncio.get_running_loop().create_task(read_out(status))

        with theirs:
            argv = [*self._deployment.program, "--guard", str(theirs.fileno()), "--token", msgspec.json.encode(token).decode()]
            self._tree.spawn(argv, os.environ, (theirs.fileno(),), gone)

    def terminate(self) -> None:
        assert self._tree is not None, "only a sidecar has a process"
        self._tree.terminate()

    def kill(self) -> None:
        assert self._tree is not None, "only a sidecar has a process"
        self._tree.kill()

    def reap_orphans(self) -> bool:
        assert self._tree is not None, "only a sidecar has a process"
        return self._tree.reap_orphans()


def main(arguments: list[str] | None = None, fittings: Fittings | None = None) -> int:
    """Be one node."""
    parser = argparse.ArgumentParser(prog="killswitch.live.node")
    parser.add_argument("deployment", type=Path)
    parser.add_argument("--hold", action="store_true", help="say 'ready' and wait for a line before anything else")
    parser.add_argument("--guard", type=int, help="an agent's socket to its sidecar, by file descriptor")
    parser.add_argument("--token", help="an agent's fencing token, as JSON")
    chosen = parser.parse_args(arguments)
    deployment = msgspec.json.decode(chosen.deployment.read_bytes(), type=Deployment)
    if deployment.config.role == "sidecar":
        tether.prctl(tether.PR_SET_CHILD_SUBREAPER, 1)  # what the agent leaves behind comes to us to be reaped
    node = Node(deployment, fittings or Fittings(), msgspec.json.decode(chosen.token, type=Token) if chosen.token else None)
    guard = None if chosen.guard is None else socket.socket(fileno=chosen.guard)
    if chosen.hold:
        print("ready", flush=True)
        if not sys.stdin.readline():
            return EXIT_GUARD_GONE  # whoever held us back is gone
    return asyncio.run(node.run(guard))


if __name__ == "__main__":
    sys.exit(main())
