"""The world's own judgement of signatures: whether an order or certificate that a node took in was authentic.

Owns a second, small reading of the rules of authority, apart from the core's on purpose: a mistake in the core's checks must not
blind the harness. Knows the people and nodes of the convention (`killswitch.core.keys.default_keyset`), and their keys.
"""

from __future__ import annotations

import msgspec

from killswitch.core.keys import Signer
from killswitch.core.messages import ResumeBody

APPROVERS = frozenset({"bob", "carol", "dave"})


class Judge:
    """``signer`` verifies everybody's keys; ``replicas`` are the only ones who sign orders; ``approvals`` is M."""

    def __init__(self, signer: Signer, replicas: tuple[str, ...], approvals: int) -> None:
        self._signer = signer
        self._replicas = frozenset(replicas)
        self._approvals = approvals

    def order(self, raw: bytes, signer: str, signature: bytes) -> bool:
        return signer in self._replicas and self._signer.verify(signer, "order", raw, signature)

    def certificate(self, raw: bytes, approvals: list[tuple[str, bytes]]) -> bool:
        try:
            requester = msgspec.msgpack.decode(raw, type=ResumeBody).requester
        except (msgspec.DecodeError, ValueError):
            return False
        valid = {
            approver
            for approver, signature in approvals
            if approver in APPROVERS - {requester} and self._signer.verify(approver, "resume", raw, signature)
        }
        return len(valid) >= self._approvals
