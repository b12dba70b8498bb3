"""What floods are made of: well-formed messages that their receiver has to read, and can do nothing with. The same for both drivers.

Owns these messages, and knowing them again among all that a node has heard. Must not know how they are sent, or how many.
"""

from __future__ import annotations

from killswitch.core.heads import Cosigned
from killswitch.core.messages import NO_TOKEN, Evidence, Gate, LeaseRequest, Life, Message, OrderRequest
from killswitch.core.scopes import Scope

KINDS = ("requests", "telemetry", "orders")
MARK = "flood"


def useless(source: str, kind: str, number: int) -> Message:
    """The message of that number, of a kind or of each in turn (``any``); a replica has nothing to ask for."""
    kind = KINDS[number % len(KINDS)] if kind == "any" else kind
    agent = source.partition("/")[2]
    if kind == "orders":
        return OrderRequest(f"{MARK}-{number}", "mallory", agent.partition("/")[0], Scope("agent", agent), Gate.CLOSED, Life.KILL, 0, MARK)
    if source.startswith("replica/") or source == "operator":
        return Cosigned(())
    if kind == "requests":
        return LeaseRequest(agent, NO_TOKEN, f"{MARK}/{number}", "", 0, "BOOT")
    return Evidence(agent, NO_TOKEN, f"{MARK}/{number}", "GATE_CLOSED", 0, (), b"no signature")


def is_useless(message: Message) -> bool:
    """Whether it is one of these; no node says such a thing by itself."""
    match message:
        case OrderRequest(request=name):
            return name.startswith(f"{MARK}-")
        case LeaseRequest(nonce=name) | Evidence(order=name):
            return name.startswith(f"{MARK}/")
        case _:
            return message == Cosigned(())
