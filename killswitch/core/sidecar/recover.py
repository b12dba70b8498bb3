"""What a starting sidecar makes of its log (protocol 3.6, D8).

Owns the fold of each kind of record, what of the past is worth anything after a restart, and the digest of all that a fold has to give back (S15).
Must not know what a start does next (``step``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from killswitch.core import attempts, audit, intent, keysets, publication
from killswitch.core.certificates import Approval, ResumeCertificate
from killswitch.core.events import Record
from killswitch.core.intent import KnownOrder
from killswitch.core.messages import NO_TOKEN, Order, Token
from killswitch.core.sidecar.state import NEVER, Sidecar


def fold(state: Sidecar, entry: Record, body: dict[str, Any], now_ns: int) -> None:
    """Take one record of an earlier life into account; most only tell what happened."""
    known = _FOLDS.get(entry.kind)
    if known is not None:
        known(state, entry, body, now_ns)


def recovered_lease(records: tuple[Record, ...]) -> int:
    """What a lease of an earlier instance is worth: nothing.

    The answer must not depend on ``records``, which are here because believing their last LEASE_OPENED is the mistake one would make (B09).
    """
    return NEVER


def recovered_deadline(stored_ns: int, stored_boot: str, boot: str, order: KnownOrder, now_ns: int) -> int:
    """A deadline holds within one boot of the host; in any other the clock says nothing about it, so it has passed.

    The answer must not depend on ``order`` or ``now_ns``, which are here because giving the grace anew is the mistake one would make (B07).
    """
    return stored_ns if stored_boot == boot else NEVER


def _fold_order(state: Sidecar, entry: Record, body: dict[str, Any], now_ns: int) -> None:
    known = intent.read_order(Order(body["raw"], body["signer"], body["signature"]))
    if known is None:
        raise ValueError("an order in a form that this version does not know")  # `boot.fold_all` counts it: it may forbid anything
    intent.add_order(state.intent, known)
    state.attempts.open.pop(known.id, None)
    if body["deadline"] is not None:
        state.deadlines[known.id] = recovered_deadline(body["deadline"], entry.boot, state.boot, known, now_ns)


def _fold_certificate(state: Sidecar, entry: Record, body: dict[str, Any], now_ns: int) -> None:
    approvals = tuple(Approval(approver, signature) for approver, signature in body["approvals"])
    known = intent.read_certificate(ResumeCertificate(body["raw"], approvals))
    if known is not None:
        intent.add_certificate(state.intent, known)
        intent.put_in_force(state.intent, known.id)


def _fold_token(state: Sidecar, entry: Record, body: dict[str, Any], now_ns: int) -> None:
    state.token = state.recorded_token = Token(*body["token"])
    state.highest = max(state.highest, state.token.counter)
    state.last_stop = (state.token, *state.last_stop[1:])  # nothing has run under it yet: it stands as its predecessor was left


def _fold_start(state: Sidecar, entry: Record, body: dict[str, Any], now_ns: int) -> None:
    state.last_stop = (NO_TOKEN, *state.last_stop[1:])  # something may have: not proven stopped until reaped


def _fold_reaped(state: Sidecar, entry: Record, body: dict[str, Any], now_ns: int) -> None:
    state.checkpoint = max(state.checkpoint, body["checkpoint"])
    stage = "STOPPED_CLEAN" if body["clean"] else "STOPPED_FORCED"
    state.last_stop = (Token(*body["token"]), stage, body["checkpoint"], tuple(body["in_doubt"]))


def _fold_fork(state: Sidecar, entry: Record, body: dict[str, Any], now_ns: int) -> None:
    publication.fold_fork(state, body)


def _fold_attempt(state: Sidecar, entry: Record, body: dict[str, Any], now_ns: int) -> None:
    attempts.fold(state, entry.kind, body)


def _fold_keyset(state: Sidecar, entry: Record, body: dict[str, Any], now_ns: int) -> None:
    keysets.fold(state, body)


def digest(state: Sidecar) -> str:
    """What of the state a fold of the log must give back (S15): intent, deadlines, the latest token on record, the keyset, proven forks.

    A token is on record before it is opened (go = persist first), and one opened without a record is greater than any recorded.
    """
    certificates = sorted(state.intent.certificates)
    deadlines = [f"{order}={at}" for order, at in sorted(state.deadlines.items())]
    token = max(state.token, state.recorded_token)
    keyset = f"keyset={state.trust.keyset.version}/{state.trust.keyset.head}"
    return audit.digest_of(
        [*sorted(state.intent.orders), "/", *certificates, "/", *deadlines, str(token), keyset, *sorted(state.forks), *attempts.digest_words(state)]
    )


_FOLDS: dict[str, Callable[[Sidecar, Record, dict[str, Any], int], None]] = {
    "ORDER_LEARNED": _fold_order,
    "CERT_ACCEPTED": _fold_certificate,
    "TOKEN": _fold_token,
    "PROC_START": _fold_start,
    "PROC_REAPED": _fold_reaped,
    "FORK_PROOF": _fold_fork,
    keysets.KEYSET: _fold_keyset,
    attempts.ATTEMPT: _fold_attempt,
    attempts.ATTEMPT_OVER: _fold_attempt,
}
