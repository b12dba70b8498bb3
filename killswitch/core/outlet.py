"""The ways out of a step, the same for every role: send, record, observe.

Owns how an effect is put on the list of the step that is under way. Must not know any role: a state needs only ``effects`` and ``chain``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from killswitch.core.audit import Chain
from killswitch.core.events import Effect, Observe, Send
from killswitch.core.messages import Message, Token


class Emitter(Protocol):
    """A state whose steps have effects."""

    effects: list[Effect]


class Writer(Protocol):
    """A state that keeps a log besides."""

    effects: list[Effect]
    chain: Chain


def send(state: Emitter, to: str, message: Message, after_lsn: int = 0) -> None:
    """Send, not before ``after_lsn`` is durable (0: at once)."""
    state.effects.append(Send(to, message, after_lsn))


def record(state: Writer, kind: str, body: Mapping[str, object], now_ns: int) -> int:
    """Append to the log; the record's lsn."""
    effect = state.chain.append(kind, body, now_ns)
    state.effects.append(effect)
    return effect.record.seq


def observe(state: Emitter, kind: str, **fields: object) -> None:
    state.effects.append(Observe(kind, fields))


def parts(token: Token) -> tuple[int, int, str]:
    """A token as records and facts hold it."""
    return (token.epoch, token.counter, token.instance)
