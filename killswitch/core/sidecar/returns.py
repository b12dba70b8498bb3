"""Orders that a replica lacks: whoever still holds one hands it back (protocol 3.7).

Owns what a sidecar returns to a replica. An order reaches sidecars before it is durable anywhere, so all replicas may lose it with their power, while
the agent stays stopped: approvers can only lift what replicas know. Must not know why a replica lacks what it lacks.
"""

from __future__ import annotations

from killswitch.core import intent
from killswitch.core.intent import KnownOrder
from killswitch.core.messages import LeaseReply, OrderPush
from killswitch.core.outlet import send
from killswitch.core.sidecar import floors
from killswitch.core.sidecar.state import Sidecar


def hand_back(state: Sidecar, reply: LeaseReply) -> None:
    """With each answer to a heartbeat: what is in force here, and not in the view that the replica told in full. Nothing, if the views are one."""
    view = intent.view(state.intent, state.identity)
    if reply.view == floors.view_told(state) or not reply.complete or reply.nonce not in state.rounds:
        return
    told = {intent.content_id(order.raw) for order in reply.orders}
    missing = tuple(known.order for known in view.uncovered if known.id not in told and is_anybodys(state, known))
    if missing:
        send(state, reply.replica, OrderPush(missing, ()))


def is_anybodys(state: Sidecar, known: KnownOrder) -> bool:
    """Whether an order is one to hand on: a sidecar's own waits for its record (`standby`), and one that is being lifted is not missed."""
    listing = (each.body for each in state.intent.certificates.values() if known.id in each.body.covers)
    return known.order.signer != state.config.node and not any(intent.includes(body.tenant, body.scope, known.body) for body in listing)
