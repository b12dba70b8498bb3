"""The messages by which a replica that may have forgotten something is taught by its peers (protocol 3.7).

Owns their form only. Must not know when a replica has to learn (``replica.joining``).
"""

from __future__ import annotations

from msgspec import Struct


class Promised(Struct, frozen=True, array_like=True):
    """The greatest token that a replica has promised for an agent, in the parts of a `messages.Token`."""

    agent: str
    epoch: int
    counter: int
    instance: str


class LessonRequest(Struct, frozen=True, tag=True):
    """Ask a peer for all it knows and has promised. Answered by an `IntentReply` and a `Lesson` of the same nonce."""

    nonce: str


class Lesson(Struct, frozen=True, tag=True):
    """What the asked replica has promised."""

    nonce: str
    promised: tuple[Promised, ...]
