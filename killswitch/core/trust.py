"""Which orders, certificates and evidence a node believes: signature and authority together (protocol 3.2, D7).

Owns the checks that stand between a received message and a node's intent. Must not know what is done with what passed.

Prohibitions are checked liberally: whoever may order is believed under any keyset version. Permissions are checked strictly: M
distinct approvers with authority over the certificate's scope, over exactly the bytes received.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from msgspec import structs

from killswitch.core import codec, intent, keys
from killswitch.core.keychanges import SignedChange
from killswitch.core.keys import Keyset, Signer
from killswitch.core.messages import Approval, Evidence, Order, OrderBody, OrderRequest, ResumeBody, ResumeCertificate, ResumeDraftRequest


class Trust(NamedTuple):
    """The keys that a node verifies with, what they are allowed to say, and how many approvals a resume needs.

    ``changes``: all that made the keyset at hand of the deployed one, to be handed on.
    """

    signer: Signer
    keyset: Keyset
    approvals: int
    changes: tuple[SignedChange, ...] = ()


def read_order(trust: Trust, order: Order) -> intent.KnownOrder | None:
    """The order, if its signature verifies and its signer may order that severity there; else `None`."""
    known = intent.read_order(order)
    if known is None or not trust.signer.verify(order.signer, keys.ORDER, order.raw, order.signature):
        return None
    body = known.body
    allowed = keys.authorised(trust.keyset, order.signer, keys.SIGN_ORDER, body.tenant, body.scope.kind, body.gate, body.life)
    return known if allowed else None


def read_certificate(trust: Trust, certificate: ResumeCertificate) -> intent.KnownCertificate | None:
    """The certificate, if enough distinct approvers signed exactly its bytes; else `None`."""
    known = intent.read_certificate(certificate)
    if known is None or len(approvers(trust, known)) < trust.approvals:
        return None
    return known


def approvers(trust: Trust, known: intent.KnownCertificate) -> frozenset[str]:
    """The distinct people whose approval of this certificate counts, however many keys they have. Nobody approves what he asked for himself."""
    body = known.body
    return frozenset(
        person
        for approval in known.certificate.approvals
        if (person := holder(trust, approval.approver)) != holder(trust, body.requester)
        and keys.authorised(trust.keyset, approval.approver, keys.APPROVE_RESUME, body.tenant, body.scope.kind)
        and trust.signer.verify(approval.approver, keys.RESUME, known.certificate.raw, approval.signature)
    )


def holder(trust: Trust, key: str) -> str:
    """Whose key it is: by its name, or by the change of the keyset that brought it."""
    return trust.keyset.holders.get(key, key)


def is_stranger(trust: Trust, key: str) -> bool:
    """Whether the keyset at hand has never heard of a key: a forgery, or the word of a later keyset."""
    return key not in trust.keyset.grants


def sign_order(trust: Trust, replica: str, body: OrderBody) -> Order:
    """Signed with the replica's key of the keyset at hand; if it does not hold that yet, with its first one: an order is never left unsigned."""
    raw = codec.pack(body)
    key = trust.keyset.signing.get(replica, replica)
    try:
        return Order(raw, key, trust.signer.sign(key, keys.ORDER, raw))
    except KeyError:
        return Order(raw, replica, trust.signer.sign(replica, keys.ORDER, raw))


def sign_approval(trust: Trust, approver: str, raw: bytes) -> Approval:
    return Approval(approver, trust.signer.sign(approver, keys.RESUME, raw))


def read_draft(raw: bytes) -> ResumeBody | None:
    return codec.unpack(raw, ResumeBody)


def sign_evidence(trust: Trust, sidecar: str, evidence: Evidence) -> Evidence:
    return structs.replace(evidence, signature=trust.signer.sign(sidecar, keys.EVIDENCE, codec.unsigned(evidence)))


def believes_evidence(trust: Trust, sidecar: str, evidence: Evidence) -> bool:
    """Only an agent's own sidecar can prove anything about it, and only what it signed."""
    return keys.speaks_for(trust.keyset, sidecar, evidence.agent) and trust.signer.verify(
        sidecar, keys.EVIDENCE, codec.unsigned(evidence), evidence.signature
    )


AnyRequest = TypeVar("AnyRequest", OrderRequest, ResumeDraftRequest)


def sign_request(trust: Trust, request: AnyRequest) -> AnyRequest:
    signature = trust.signer.sign(request.principal, _domain(request), codec.unsigned(request))
    return structs.replace(request, signature=signature)


def believes_request(trust: Trust, request: OrderRequest | ResumeDraftRequest) -> bool:
    """Whether the person named asked for exactly this. Whether he may is the policy's question."""
    return trust.signer.verify(request.principal, _domain(request), codec.unsigned(request), request.signature)


def _domain(request: OrderRequest | ResumeDraftRequest) -> str:
    return keys.ORDER_REQUEST if isinstance(request, OrderRequest) else keys.RESUME_REQUEST
