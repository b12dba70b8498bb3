"""One node as an operating-system process: ``python -m killswitch.live.node DEPLOYMENT.json``.

Owns the joining of parts: a deployment record, the machine of its role, and the log, clock, transport, process tree and upstream that this
role has. Must not know what any role does. A sidecar starts its agent as such a process too; the agent's only way out is
the socket that the sidecar hands to it, and it ends when that does.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import secrets
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from killswitch.core import build
from killswitch.core.events import Boot, Input
from killswitch.core.keys import Ed25519, Signer
from killswitch.core.machine import Machine, NodeConfig
from killswitch.core.messages import Message, Token
from killswitch.live import tether
from killswitch.live.access import AccessLog
from killswitch.live.checkpoint import Checkpoints
from killswitch.live.clock import Clock, NodeClock, boot_id
from killswitch.live.credentials import Credentials, Files
from killswitch.live.door import Door
from killswitch.live.host import EXIT_DISK, Host
from killswitch.live.listener import LOOPBACK
from killswitch.live.log import LogFailed, SqliteLog
from killswitch.live.process import ProcessTree
from killswitch.live.sealing import Sealing, Seals
from killswitch.live.stamps import Stamps
from killswitch.live.trace import Started, TraceWriter, Untraced, monotonic_ns
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
    ``sealing``: where the keys lie that bodies are sealed with; without any they go as they are.
    ``trace`` "": none is kept. ``upstream``: path of the desk's socket ("" for none). ``program``: a sidecar's command for its agent's process.
    ``door``: path of the socket at which that program may speak, if it is not a node itself. ``restart`` never: the sidecar ends with it.
    ``slots``: where that keeps its checkpoints, which its sidecar looks at when it is gone. ``reserve_bytes``: of its disk, kept for
    records of prohibitions when there is no other room left; 0: none.
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
    sealing: Sealing | None = None
    door: str = ""
    restart: str = "always"
    slots: str = ""
    reserve_bytes: int = 0

    def save(self, path: Path) -> None:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(self), indent=1))


class Fittings(NamedTuple):
    """What a node is made with. An experiment puts something of its own before the clock, the log or each input, says in which boot of the host the
    node is, and puts another implementation in place of ours."""

    machine: MakeMachine = build.machine
    clock: Callable[[Deployment], Clock] = lambda deployment: deployment.clock
    log: Callable[[Path, int], SqliteLog] = SqliteLog
    pace: Callable[[Deployment], Callable[[], Awaitable[None]] | None] = lambda _deployment: None
    boot: Callable[[Deployment], str] = lambda _deployment: boot_id()


class Node:
    """The parts of one process, joined; the surroundings of its `Host`."""

    def __init__(self, deployment: Deployment, fittings: Fittings, token: Token | None) -> None:
        config = deployment.config
        clock = fittings.clock(deployment)
        self._deployment = deployment
        self._token = token
        self._boot = fittings.boot(deployment)
        self._stamps = Stamps()
        directory = Path(deployment.directory)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._trace = TraceWriter(Path(deployment.trace)) if deployment.trace else Untraced()
        self._lock = _lock(directory / "lock")
        self._log = fittings.log(directory / "log.db", deployment.reserve_bytes)
        self._checkpoints = Checkpoints(directory / "checkpoints", self.checkpointed) if config.role == "agent" else None
        self._pace = fittings.pace(deployment)
        machine = fittings.machine(config, Ed25519(deployment.private, deployment.public))
        self._host = Host(machine, self._log, clock, self._trace, self, self._checkpoints, self.before, self._stamps)
        self._access = AccessLog(directory / "access.db", clock)
        credentials = Credentials(deployment.credentials) if deployment.credentials else None
        self._transport = Transport(
            config.node, config.tenant, deployment.cell, self._host.receive,
            credentials=credentials, refused=self._access.refused, stamps=self._stamps,
            seals=Seals(deployment.sealing, config.node) if deployment.sealing else None,
        )  # fmt: skip
        self._asked_to_end = False
        self._reading_out: asyncio.Task[None] | None = None  # held, or it might be collected before it is done
        self._door = self._make_door(directory, clock) if deployment.door else None
        self._tree = ProcessTree(config.agent, directory / "process", adopts=True) if config.role == "sidecar" else None
        self._counter = Counter(config.node, Path(deployment.upstream), self._take) if deployment.upstream else None

    def stop(self) -> None:
        """End in order."""
        self._host.stop(0)

    async def run(self, guard: socket.socket | None = None, ready: Callable[[], None] = lambda: None) -> int:
        """Be the node until it exits or is told to stop. ``guard``: an agent's socket to its sidecar. ``ready`` is called once it can be reached."""
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
        if self._door:
            await self._door.open()
        ready()
        serving = asyncio.create_task(self._counter.serve()) if self._counter else None
        records, cut_bytes = self._log.load()
        self._stamps.resume(self._log.last_stamp())
        slots = self._checkpoints.load() if self._checkpoints else ()
        try:
            return await self._host.run(Boot(records, self._boot, secrets.token_hex(8), cut_bytes, slots, self._token))
        finally:
            if serving:
                serving.cancel()
            await self._transport.flush(FLUSH_S)
            await self._transport.close()
            if self._tree:
                self._tree.kill()
            if self._door:
                await self._door.close()
            self._log.close()
            self._access.close()
            os.close(self._lock)

    # -- What an experiment may make otherwise ---------------------------------------------------------------------------------------

    async def before(self, _event: Input) -> bool:
        """Awaited before each input is taken; whether it is."""
        if self._pace is not None:
            await self._pace()
        return True

    def checkpointed(self, step: str) -> None:
        """The checkpoint that is being written has come so far (`killswitch.live.checkpoint.STEPS`); called on the thread that writes it."""

    def _make_door(self, directory: Path, clock: Clock) -> Door:
        config = self._deployment.config
        return Door(config.agent, tuple(config.sinks), Path(self._deployment.door), directory / "agent", clock, self._host.receive)

    def _take(self, handed: Handed) -> None:
        self._host.offer(handed)

    # -- What the host asks for (`killswitch.live.host.Surroundings`) ----------------------------------------------------------------

    def send(self, to: str, message: Message) -> None:
        if self._door and to.startswith("agent/"):
            self._door.hear(message)
        else:
            self._transport.send(to, message)

    def keyset_turned(self) -> None:
        self._transport.keyset_turned()

    def acknowledge(self, task: str, outcome: str) -> None:
        if self._counter:
            self._counter.tell_ended(task, outcome)

    def spawn(self, token: Token, on_gone: Callable[[int], None]) -> None:
        """Start the agent. It is gone once its tree is, and all that it said has been read."""
        assert self._tree is not None, "only a sidecar starts a process"
        if self._door:
            self._door.begin()
            reading = self._door.read_out
            self._start(self._deployment.program, (), self._door.environment, reading, on_gone)
            return
        ours, theirs = socket.socketpair()  # one end is the only way out of an agent that is a node itself
        talk = self._transport.adopt(f"agent/{self._deployment.config.agent}", ours)

        async def read_to_the_end() -> None:
            await asyncio.wait([talk], timeout=READ_OUT_S)  # a stray child may hold its end open: that must not hold us up

        with theirs:
            argv = (*self._deployment.program, "--guard", str(theirs.fileno()), "--token", msgspec.json.encode(token).decode())
            self._start(argv, (theirs.fileno(),), {}, read_to_the_end, on_gone)

    def _start(
        self, argv: tuple[str, ...], handed: tuple[int, ...], variables: dict[str, str], read_out: Callable[[], Awaitable[None]],
        on_gone: Callable[[int], None],
    ) -> None:  # fmt: skip
        assert self._tree is not None

        async def conclude(status: int) -> None:
            await read_out()
            on_gone(status)
            if self._deployment.restart == "never" and not self._asked_to_end:
                await asyncio.sleep(FLUSH_S)  # its end is put on record, and told
                self._host.stop(status if status >= 0 else 128 - status)

        def gone(status: int) -> None:
            self._reading_out = asyncio.get_running_loop().create_task(conclude(status))

        self._asked_to_end = False
        self._tree.spawn(argv, {**os.environ, **variables}, handed, gone)

    def proceed(self) -> None:
        assert self._tree is not None, "only a sidecar has a process"
        self._tree.proceed()

    def terminate(self) -> None:
        assert self._tree is not None, "only a sidecar has a process"
        self._asked_to_end = True
        self._tree.terminate()

    def kill(self) -> None:
        assert self._tree is not None, "only a sidecar has a process"
        self._asked_to_end = True
        self._tree.kill()

    def reap_orphans(self) -> bool:
        assert self._tree is not None, "only a sidecar has a process"
        return self._tree.reap_orphans()

    def checkpoints_left(self) -> tuple[bytes, ...]:
        behind_the_door = Path(self._deployment.directory, "agent", "checkpoints") if self._door else None
        slots = Path(self._deployment.slots) if self._deployment.slots else behind_the_door
        try:
            return Checkpoints(slots).secure() if slots else ()
        except OSError:
            return ()  # what cannot be read proves nothing


MakeNode = Callable[[Deployment, Fittings, Token | None], Node]


class AlreadyRunning(Exception):
    """Another process is this node already."""


def _lock(file: Path) -> int:
    """A lock that ends with the process, so that one directory never has two writers. Raises `AlreadyRunning`."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise AlreadyRunning(f"{file.parent}: another process is this node already") from None
    return handle


def main(arguments: list[str] | None = None, fittings: Fittings | None = None, make: MakeNode = Node) -> int:
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
    token = msgspec.json.decode(chosen.token, type=Token) if chosen.token else None
    guard = None if chosen.guard is None else socket.socket(fileno=chosen.guard)
    try:
        node = make(deployment, fittings or Fittings(), token)
        if chosen.hold:
            print("ready", flush=True)
            if not sys.stdin.readline():
                return EXIT_GUARD_GONE  # whoever held us back is gone
        return asyncio.run(node.run(guard))
    except (AlreadyRunning, LogFailed) as error:
        print(error, file=sys.stderr)
        return EXIT_DISK


if __name__ == "__main__":
    sys.exit(main())
