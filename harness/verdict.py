"""Verdicts of three values, and how they compose. A checker that fails to run is `UNKNOWN`, and unknown is never a pass."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct


class Verdict(StrEnum):
    """Only `VALID` is a pass."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"


def compose(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of all: one invalid makes invalid, else one unknown makes unknown. Of nothing: unknown."""
    seen = set(verdicts)
    if Verdict.INVALID in seen:
        return Verdict.INVALID
    return Verdict.VALID if seen == {Verdict.VALID} else Verdict.UNKNOWN


class Finding(Struct, frozen=True, kw_only=True):
    """What one checker says of one history.

    ``witness``: indices into the history of the facts that prove a violation. ``examined``: how many instances of the
    property were looked at (0: it held vacuously); ``skipped``: how many were not, for what they lean on was broken, doubled or gone.
    ``observed_ns`` and ``bound_ns``: the tightest instance of a timed bound, if timed.
    """

    invariant: str
    verdict: Verdict
    why: str = ""
    witness: tuple[int, ...] = ()
    examined: int = 0
    observed_ns: int | None = None
    bound_ns: int | None = None
    skipped: int = 0
