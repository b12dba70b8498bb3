"""A small client for agents in Python: effects, checkpoints, and being told to stop, over the sidecar's door (``door``).

Owns the agent's end of a few lines of JSON. Imports nothing but the standard library, so that it can be copied into an agent's own tree. Use it from
one thread. An agent that needs none of it needs no client: it is started, and stopped by SIGTERM and then SIGKILL.

    with Agent() as agent:
        state = agent.state or {"next": 0}
        while not agent.stopping:
            agent.effect(f"task-{state['next']}", 0, "ledger")
            state["next"] += 1
            agent.checkpoint(state)
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import threading
from types import TracebackType
from typing import Any, Self

SOCKET_VARIABLE = "KILLSWITCH_SOCKET"


class Stopping(Exception):
    """The effect was refused, for good: the agent is to put down what it has and leave. It did not take place."""


class InDoubt(Exception):
    """Nobody can say whether the effect took place. It is on record as such; never guess."""


class SidecarGone(Exception):
    """The other end has closed: nothing can be done any more, and the kernel is about to say so, too."""


class Agent:
    """The connection of this process to its sidecar. ``state``: what the newest whole checkpoint held, None if there is none.

    ``begun``: steps that an earlier start asked for and never heard of; ask for them again, and hear what became of them.
    """

    def __init__(self, path: str = "") -> None:
        """Raises `SidecarGone` if this process has no sidecar, or ``path`` is not its door."""
        where = path or os.environ.get(SOCKET_VARIABLE, "")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(where)
        except OSError as error:
            raise SidecarGone(f"{where or SOCKET_VARIABLE + ' is not set'}: {error}; run this under killswitch sidecar -- COMMAND") from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the door says that, too, and how: whether what is begun may be finished
        self._rest = b""
        self._last = 0
        self._gate = "OPEN"
        self._drain: bool | None = None
        hello = self._ask(do="hello")
        self.name: str = hello["agent"]
        self.sinks: list[str] = hello["sinks"]
        self.begun: list[dict[str, Any]] = hello["open"]
        checkpoint = hello["checkpoint"]
        self.state: Any = checkpoint["state"] if checkpoint else None
        if hello["stop"]:
            self._drain = hello["stop"]["drain"]

    # -- What an agent does ----------------------------------------------------------------------------------------------------------

    def effect(self, task: str, step: int, sink: str, cls: str = "", payload: Any = None) -> str:
        """Perform one step at ``sink``; what the sink answered. Asked again it is the same answer, and no second effect (at sinks of class F).
        ``payload``: what the sink is to do, anything that JSON can hold, up to 64 KiB of it.

        Waits while the gate is closed. Raises `Stopping` or `InDoubt`. ``cls`` "": ``new`` for step 0, else ``inflight``.
        """
        while True:
            self._gate = ""
            said = {"class": cls} if cls else {}
            if payload is not None:
                said["payload"] = payload
            answer = self._ask(do="effect", task=task, step=step, sink=sink, **said)
            if answer["status"] == "APPLIED":
                return str(answer["result"])
            if answer["status"] == "IN_DOUBT":
                raise InDoubt(f"step {step} of {task} at {sink}")
            if self._drain is not None:
                raise Stopping(f"step {step} of {task} at {sink} was refused")
            while self._gate in ("", "CLOSED") and self._drain is None:
                self._take(self._line())

    def done(self, task: str) -> None:
        """The task is over; durable when this returns."""
        self._ask(do="done", task=task)

    def checkpoint(self, state: Any) -> int:
        """Keep ``state`` (anything that JSON can hold) for the next start; durable when this returns. Its generation."""
        return int(self._ask(do="checkpoint", state=state)["generation"])

    @property
    def stopping(self) -> bool:
        """Whether the agent was asked to stop. Never waits."""
        while b"\n" in self._rest or select.select([self._socket], [], [], 0)[0]:
            self._take(self._line())
        return self._drain is not None

    @property
    def draining(self) -> bool:
        """Whether what is begun may still be finished."""
        return self.stopping and bool(self._drain)

    def stopped(self, in_doubt: tuple[str, ...] = ()) -> None:
        """The last word, after the last checkpoint: exit with 0 next, and the stop is proven a clean one."""
        self._ask(do="stopping", in_doubt=in_doubt)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(SidecarGone):
            if kind is None and self.stopping:
                self.stopped()
        self.close()

    # -- Lines -----------------------------------------------------------------------------------------------------------------------

    def _ask(self, **request: Any) -> dict[str, Any]:
        self._last += 1
        try:
            self._socket.sendall(json.dumps({"id": self._last, **request}).encode() + b"\n")
        except OSError as error:
            raise SidecarGone(str(error)) from error
        while True:
            heard = self._line()
            if heard.get("id") == self._last:
                if "error" in heard:
                    raise ValueError(heard["error"])
                return heard
            self._take(heard)

    def _take(self, heard: dict[str, Any]) -> None:
        if heard.get("event") == "stop":
            self._drain = heard["drain"]
        elif heard.get("event") == "gate":
            self._gate = heard["gate"]

    def _line(self) -> dict[str, Any]:
        while b"\n" not in self._rest:
            piece = self._socket.recv(1 << 16)
            if not piece:
                raise SidecarGone("the sidecar closed the door")
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        heard: dict[str, Any] = json.loads(line)
        return heard
