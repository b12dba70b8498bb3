"""Resumes, as data: what is drafted, what approvers sign, and what is said about both (protocol 3.8).

Owns the messages. Must not know who may approve (``trust``), what a certificate lifts (``intent``) or how a resume is drafted (``replica.resumes``).
Like an order, a certificate travels as the bytes that were signed, and the hash of those is its id.
"""

from __future__ import annotations

from msgspec import Struct

from killswitch.core.bundles import Decision
from killswitch.core.scopes import Scope
from killswitch.core.stamps import Reading


class ResumeBody(Struct, frozen=True):
    """The content of a resume certificate: it lifts exactly the orders named in ``covers`` (D1). ``approvals``: how many approvers policy demands
    of it; every receiver holds it to that, and to the cell's own least number. ``ends``: until when it can be handed in, and to whom."""

    tenant: str
    scope: Scope
    covers: tuple[str, ...]
    epoch: int
    reason: str
    requester: str
    nonce: str
    decision: Decision = Decision(0, "", "")
    approvals: int = 0
    ends: tuple[Reading, ...] = ()


class Approval(Struct, frozen=True, array_like=True):
    """One person's signature over exactly the bytes of a resume body: an approver's, or that of the requester, who asks for exactly this."""

    approver: str
    signature: bytes


class ResumeCertificate(Struct, frozen=True, tag=True):
    """A resume body, and over its exact bytes the signatures of its requester and of M distinct approvers."""

    raw: bytes
    approvals: tuple[Approval, ...]


class ResumeDraftRequest(Struct, frozen=True, tag=True):
    """A person asks what a resume of ``scope`` would have to lift."""

    request: str
    principal: str
    tenant: str
    scope: Scope
    reason: str
    signature: bytes = b""


class ResumeDraft(Struct, frozen=True, tag=True):
    """The body that approvers are asked to sign; ``stage`` is DRAFTED, NOTHING_TO_COVER, REFUSED, or ASK_ANOTHER: this replica cannot."""

    request: str
    stage: str
    raw: bytes
    approvals_needed: int
    why: str = ""


class ResumeSubmit(Struct, frozen=True, tag=True):
    """A draft comes back with its approvals."""

    request: str
    certificate: ResumeCertificate


class ResumeStatus(Struct, frozen=True, tag=True):
    """``stage``: ACCEPTED, NEEDS_CONTEXT (with ``missing`` order ids), EXPIRED, REFUSED, or ASK_ANOTHER: this replica cannot tell."""

    request: str
    certificate: str
    stage: str
    missing: tuple[str, ...] = ()
    why: str = ""
