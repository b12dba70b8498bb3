"""What a sidecar does to its agent's process: it starts it, stops it, and reaps it.

Owns how long a start and a kill take, and who is still there to see them through. Must not know how a process works (`sim.node`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from killswitch.core.events import Signal, SignalKind, Spawn
from killswitch.core.messages import Token

if TYPE_CHECKING:
    from sim.node import Node

SPAWN_NS = 5_000_000
KILL_NS = 500_000


def spawn(sidecar: Node, effect: Spawn) -> None:
    """Start the agent's process under the token, if the sidecar lives that long."""
    agent = sidecar.world.agent_of(sidecar)
    agent.token = effect.token
    queue = sidecar.world.queue
    queue.at(queue.now + SPAWN_NS + sidecar.choose(SPAWN_NS), _spawned, (sidecar, agent, sidecar.start, effect.token))


def _spawned(ticket: tuple[Node, Node, int, Token]) -> None:
    sidecar, agent, start, token = ticket
    if sidecar.start == start and sidecar.machine is not None and agent.token == token and not agent.running:
        agent.boot = sidecar.boot
        agent.boot_up()
        sidecar.world.upstream.hand_over_again(agent)


def signal(sidecar: Node, effect: Signal) -> None:
    """Send the agent's process a signal."""
    agent = sidecar.world.agent_of(sidecar)
    if effect.kind is SignalKind.CONT:
        agent.continue_()
        return
    if effect.kind is SignalKind.TERM:
        return  # the message that comes with it says how
    agent.token = None
    queue = sidecar.world.queue
    queue.at(queue.now + KILL_NS + sidecar.choose(KILL_NS), _killed, (sidecar, agent, sidecar.start))


def _killed(ticket: tuple[Node, Node, int]) -> None:
    sidecar, agent, start = ticket
    if agent.undying:
        agent.kill_pending = lambda: _killed(ticket)
        return
    alive = agent.running
    agent.die(power=False)
    if sidecar.start == start:
        sidecar.world.reap(agent, -9 if alive else 0)
