"""The limit of a standby, S_max: an agent that nobody vouches for is not kept waiting for ever (protocol 3.5).

Owns how long an agent has been on standby without an order, and the order that comes of it: QUIESCE, of the sidecar itself, for its own agent and
nobody else's. It is on the log and in the intent like any other, so it survives a restart, is shown to approvers, and is lifted by nothing
but a certificate. Must not know why nobody vouches.

Standby counts on through short spells of running: only a run of S_max without one wipes it out. So a partition that flaps ends in a stop, too.
An isolation that was ordered does not count, for a person decided that this agent waits.
"""

from __future__ import annotations

from killswitch.core import intent, trust
from killswitch.core.events import SetTimer
from killswitch.core.messages import Gate, Life, Order, OrderBody, OrderPush
from killswitch.core.scopes import Scope
from killswitch.core.sidecar import state as sidecar
from killswitch.core.sidecar.state import Sidecar, send_replicas


def follow(state: Sidecar, mode: str, now_ns: int) -> None:
    """Standby without an order may begin, or end."""
    stands, standing, most_ns = mode == "STANDBY" and sidecar.ordered(state) == intent.RUN, state.standing, state.parameters.standby_max_ns
    if stands and standing.since_ns is None:
        if standing.ran_since_ns is None or now_ns - standing.ran_since_ns >= most_ns:
            standing.stood_ns = 0
        standing.since_ns = now_ns
        state.effects.append(SetTimer("standby", now_ns + most_ns - standing.stood_ns))
    elif not stands and standing.since_ns is not None:
        standing.stood_ns += now_ns - standing.since_ns
        standing.since_ns, standing.ran_since_ns = None, now_ns
        state.effects.append(SetTimer("standby", None))


def over(state: Sidecar, now_ns: int) -> bool:
    """Whether the agent has been on standby for S_max."""
    standing = state.standing
    return standing.since_ns is not None and standing.stood_ns + now_ns - standing.since_ns >= state.parameters.standby_max_ns


def local_stop(state: Sidecar) -> Order:
    """The order that a standby which was too long becomes: another for each spell, so that a certificate for one lifts no later one."""
    config = state.config
    body = OrderBody(
        tenant=config.tenant, scope=Scope("agent", config.agent), gate=Gate.CLOSED, life=Life.STOP, grace_ns=0, issuer=config.node,
        nonce=f"{config.node}/standby/{state.instance}/{state.token.counter}", reason="on standby for longer than the limit",
    )  # fmt: skip
    return trust.sign_order(state.trust, config.node, body)


def tell(state: Sidecar) -> None:
    """With each heartbeat, for as long as one's own order is in force: approvers can only lift what replicas know."""
    own = tuple(known.order for known in intent.view(state.intent, state.identity).uncovered if known.order.signer == state.config.node)
    if own and not state.disk_failed:
        send_replicas(state, OrderPush(own, ()), state.chain.seq)
