"""What messages between replicas carry of clocks (protocol 2, T5; 3.8): data, like the messages themselves. ``drift`` and ``resumes`` judge it.

Stands apart so that the vocabulary of messages need not know the judgement.
"""

from __future__ import annotations

from msgspec import Struct


class Stamps(Struct, frozen=True, array_like=True):
    """``sent_ns`` on the sender's clock, in its boot ``boot``; ``heard_ns`` the latest it had heard of the receiver's, in boot ``heard_boot``."""

    boot: str
    sent_ns: int
    heard_boot: str
    heard_ns: int


class Reading(Struct, frozen=True, array_like=True):
    """A moment on a replica's own clock. It means something to that replica alone, and only in that boot of its host."""

    replica: str
    boot: str
    clock_ns: int


NO_READING = Reading("", "", 0)
