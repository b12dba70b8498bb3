"""An agent's process that misbehaves as its page says: it does not stop when it is asked to, lies about it, dawdles, forks, or dies as it saves.

Owns the misbehaving. Its state machine stays what it is, and its trace says what that was given: what is changed is what reaches it, and what its
process does beside it. The page, and when which of it is on, is `harness.live.conduct_port`'s and the injections'.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from harness.live import conduct_port, forked
from harness.live.conduct_port import HEARS, IGNORES, LIES_AND_LEAVES, Conduct
from killswitch.core import codec
from killswitch.core.events import Input, Receive, Timer
from killswitch.core.messages import EffectRequest, Message, StopAck, StopRequest, Token
from killswitch.live import frames
from killswitch.live.node import Deployment, Fittings, Node

LOOK_S = 0.02
NEVER_WRITTEN = 1_000_000  # the generation of a checkpoint that no agent has come to


def node_of(deployment: Deployment, fittings: Fittings, token: Token | None) -> Node:
    """The node of ``deployment``: one that can misbehave, if it has a page."""
    page = conduct_port.page_of(Path(deployment.directory).name, Path(deployment.directory).parents[1])
    return WaywardAgent(deployment, fittings, token, Conduct(page)) if page.exists() else Node(deployment, fittings, token)


class WaywardAgent(Node):
    """An agent that behaves as ``conduct`` says."""

    def __init__(self, deployment: Deployment, fittings: Fittings, token: Token | None, conduct: Conduct) -> None:
        super().__init__(deployment, fittings, token)
        self._conduct = conduct
        self._config = deployment.config
        self._sidecar = f"sidecar/{deployment.config.agent}"
        self._children: list[subprocess.Popen[bytes]] = []

    async def run(self, guard: socket.socket | None = None, ready: Callable[[], None] = lambda: None) -> int:
        assert guard is not None, "an agent is started by its sidecar"
        forking = asyncio.create_task(self._fork(os.dup(guard.fileno())))
        try:
            return await super().run(guard, ready)
        finally:
            forking.cancel()

    async def before(self, event: Input) -> bool:
        match event:
            case Receive(message=StopRequest()) if self._conduct.when_asked_to_stop != HEARS:
                self._misunderstand(self._conduct.when_asked_to_stop)
                return False
            case Timer() if self._conduct.late_ns:
                await asyncio.sleep(self._conduct.late_ns / 1e9)
        return await super().before(event)

    def send(self, to: str, message: Message) -> None:
        if isinstance(message, EffectRequest):
            self._conduct.show(frames.pack_message(0, codec.encode(message, self._config.node, to, self._config.tenant)))
        super().send(to, message)

    def checkpointed(self, step: str) -> None:
        if self._conduct.is_last(step):
            os.kill(os.getpid(), signal.SIGKILL)

    def _misunderstand(self, how: int) -> None:
        self._conduct.count_unheard()
        if how != IGNORES:
            self.send(self._sidecar, StopAck(NEVER_WRITTEN, ()))
        if how == LIES_AND_LEAVES:
            self.stop()

    async def _fork(self, way: int) -> None:
        """Have the children that the page wants, and no others. They end by themselves when they are called off."""
        while True:
            self._children = [child for child in self._children if child.poll() is None]
            if self._conduct.forks and not self._children:
                self._children = [self._child(way, number) for number in range(forked.CHILDREN)]
            await asyncio.sleep(LOOK_S)

    def _child(self, way: int, number: int) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-I", "-S", forked.__file__, str(way), str(self._conduct.path), str(number)]
        return subprocess.Popen(argv, pass_fds=(way,), start_new_session=number > 0)
