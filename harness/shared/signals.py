"""What a message carries, in the words of scenarios: order, grant, certificate, or any.

Owns this one reading for both drivers, so that "duplicate the order" hits the same frames in simulation and live.
"""

from __future__ import annotations

from typing import Final

from killswitch.core.certificates import ResumeSubmit
from killswitch.core.messages import Gossip, IntentReply, LeaseReply, Message, Order, OrderPush, StartReply

# role -> the fact that a replica's word of an order has come to such a node, which may be unable to read or verify it
ARRIVED: Final = {"sidecar": "prohibition-arrived", "replica": "order-handed-on"}


def carries(message: Message, what: str) -> bool:
    """Whether ``message`` is a signal of that kind."""
    if what == "any":
        return True
    if what == "grant":
        return isinstance(message, LeaseReply) and message.len_ns > 0
    if isinstance(message, ResumeSubmit):
        return what == "certificate"
    if not isinstance(message, LeaseReply | StartReply | OrderPush | Gossip | IntentReply):
        return False
    return bool(message.orders if what == "order" else message.certificates)


def orders_of(message: Message) -> tuple[Order, ...]:
    """The orders that ``message`` brings."""
    return message.orders if isinstance(message, LeaseReply | StartReply | OrderPush | Gossip | IntentReply) else ()
