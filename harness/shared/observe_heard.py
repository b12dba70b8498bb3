"""What a sidecar hears, for both drivers: the greatest token that anybody has promised or fenced out, who promised its own away, what its agent asks,
and what it should never have been told.

Owns what is remembered of that from one boot to the next. Must not know when it is a fact (``observe``), nor what the sidecar makes of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from msgspec import DecodeError, msgpack

from killswitch.core.certificates import ResumeBody
from killswitch.core.events import Receive
from killswitch.core.messages import COUNTER_MAX, NO_TOKEN, FenceAck, LeaseReply, OrderBody, OrderPush, ResolveRequest, StartReply, Token

NOBODY: Final[frozenset[str]] = frozenset()  # shared: most tokens are never promised away


class Heard:
    """``greatest``: the greatest token that this start of the sidecar was told of, and by whom. Everybody speaks for himself alone.
    ``asked``: the keys of effects that the agent has asked about, as far as no sink was asked since."""

    __slots__ = ("_agent", "_away", "_opened", "asked", "greatest")

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self._opened = NO_TOKEN
        self._away: frozenset[str] = NOBODY
        self.asked: frozenset[str] = NOBODY
        self.greatest: tuple[Token, str] = (NO_TOKEN, "")

    def open(self, token: Any) -> None:
        """The sidecar opened this token: what was said of an earlier one is over."""
        self._opened, self._away = Token(*token), NOBODY

    def hear(self, event: Receive, emit: Callable[[str, dict[str, Any]], None]) -> None:
        """Remember what is to be remembered, and tell what is a fact at once. Nothing could follow the greatest number: that is no word."""
        message = event.message
        if isinstance(message, LeaseReply | StartReply | OrderPush) and (message.orders or message.certificates):
            self._hear_of_others(event.sender, message, emit)
        if isinstance(message, ResolveRequest):
            self.asked |= {message.key}
            return
        if isinstance(message, FenceAck):
            token, speaks = message.min_token, message.sink
        elif isinstance(message, LeaseReply | StartReply):
            token, speaks = message.promised, message.replica
        else:
            return
        if message.agent != self._agent or speaks != event.sender:
            return
        if self.greatest[0] < token and token.counter < COUNTER_MAX:
            self.greatest = (token, speaks)
        if isinstance(message, LeaseReply):
            self._hear_of_promise(message, emit)

    def _hear_of_others(self, sender: str, message: LeaseReply | StartReply | OrderPush, emit: Callable[[str, dict[str, Any]], None]) -> None:
        """Whatever another tenant ordered or lifts, whether the sidecar makes something of it or not. What is for everybody is nobody's secret."""
        said: list[tuple[str, bytes, type[OrderBody | ResumeBody]]] = [("order", order.raw, OrderBody) for order in message.orders]
        said += [("certificate", certificate.raw, ResumeBody) for certificate in message.certificates]
        for what, raw, kind in said:
            with suppress(DecodeError, ValueError):  # it says nothing to anybody
                body = msgpack.decode(raw, type=kind)
                if body.scope.kind != "global" and body.tenant != self._agent.partition("/")[0]:
                    emit("foreign-news", {"what": what, "id": hashlib.sha256(raw).hexdigest(), "tenant": body.tenant, "sender": sender})

    def _hear_of_promise(self, answer: LeaseReply, emit: Callable[[str, dict[str, Any]], None]) -> None:
        """Only changes are told. Who has not promised the token yet says nothing of a greater one."""
        away, token, promised = answer.promised > answer.token, answer.token, answer.promised
        asked_of = token == self._opened and token.counter and answer.why != "unpromised"
        if asked_of and away != (answer.replica in self._away):
            self._away ^= {answer.replica}
            tokens = {"token": (token.epoch, token.counter, token.instance), "promised": (promised.epoch, promised.counter, promised.instance)}
            emit("promised-away", {"agent": self._agent, "replica": answer.replica, **tokens})
