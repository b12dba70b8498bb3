"""Which orders, certificates and evidence a node believes: signature and authority together (protocol 3.2, D7).

Owns the checks that stand between a received message and a node's intent. Must not know what is done with what passed.

Prohibitions are checked liberally: whoever may order is believed under any keyset version. Permissions are checked strictly: M
distinct approvers with authority over the certificate's scope, over exactly the bytes received.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

from msgspec import structs

from killswitch.core import codec, intent, keys, rollout
from killswitch.core.bundles import BundleBody, PolicyBundle, RolloutRecord, RolloutRequest
from killswitch.core.certificates import Approval, ResumeBody, ResumeCertificate, ResumeDraftRequest
from killswitch.core.countersigns import COUNTERSIGNATURES_MAX, CountersignedRequest, Countersignature
from killswitch.core.keychanges import SignedChange
from killswitch.core.keys import Keyset, Signer
from killswitch.core.messages import Evidence, Life, Order, OrderBody, OrderRequest


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
    return known if allowed or stops_its_own(trust, order.signer, known) else None


def stops_its_own(trust: Trust, signer: str, known: intent.KnownOrder) -> bool:
    """Whether this is a sidecar's order to its own agent to stop, which takes nobody's leave (protocol 3.5). To kill, it has no order of its own."""
    scope = known.body.scope
    own = scope.kind == "agent" and known.body.tenant == scope.value.partition("/")[0] and keys.speaks_for(trust.keyset, signer, scope.value)
    return own and known.severity.life is not Life.KILL


def read_certificate(trust: Trust, certificate: ResumeCertificate) -> intent.KnownCertificate | None:
    """The certificate, if its requester and enough distinct approvers signed exactly its bytes: the cell's least number of these, and as many as it
    says itself; else `None`."""
    known = intent.read_certificate(certificate)
    if known is None or not is_asked_for(trust, known) or len(approvers(trust, known)) < approvals_due(trust, known.body):
        return None
    return known


def is_asked_for(trust: Trust, known: intent.KnownCertificate) -> bool:
    """Whether the person in whose name it was drafted asks for exactly this: nobody is made the requester of what he approves, or of what others
    wish. Whether he may ask is for the replica that lets it in."""
    return any(_asks(trust, known, each) for each in known.certificate.approvals)


def _asks(trust: Trust, known: intent.KnownCertificate, signed: Approval) -> bool:
    requester = known.body.requester
    return signed.approver == requester and trust.signer.verify(requester, keys.RESUME_ASKED, known.certificate.raw, signed.signature)


def approvals_due(trust: Trust, body: ResumeBody) -> int:
    """What policy asked for travels in the body that approvers sign, so that every receiver can hold it to that (protocol 3.8)."""
    return max(trust.approvals, body.approvals)


def approvers(trust: Trust, known: intent.KnownCertificate) -> frozenset[str]:
    """The distinct people whose approval of this certificate counts, however many keys they have. Nobody approves what he asked for himself."""
    return frozenset(holder(trust, approval.approver) for approval in known.certificate.approvals if not objection(trust, known, approval))


def objection(trust: Trust, known: intent.KnownCertificate, approval: Approval) -> str:
    """Why an approval does not count, in words; empty if it does."""
    body = known.body
    if asks_himself(trust, body, approval.approver):
        return "asked for it, and nobody approves what he asked for himself"
    if not keys.authorised(trust.keyset, approval.approver, keys.APPROVE_RESUME, body.tenant, body.scope.kind):
        return f"may not approve a resume of {body.scope.kind} {body.scope.value or 'everything'}"
    if not trust.signer.verify(approval.approver, keys.RESUME, known.certificate.raw, approval.signature):
        return "signed something else, or with another key"
    return ""


def asks_himself(trust: Trust, body: ResumeBody, key: str) -> bool:
    """Whether a key is of the very person who asks, be it another key than the one he asks with."""
    return holder(trust, key) == holder(trust, body.requester)


def shortfall(trust: Trust, certificate: ResumeCertificate) -> str:
    """Why `read_certificate` does not believe a certificate, for whoever handed it in: each approval that does not count, and why."""
    known = intent.read_certificate(certificate)
    if known is None:
        return "not a certificate that can be read"
    if not is_asked_for(trust, known):
        return f"{known.body.requester}, in whose name it is asked for, has not signed exactly this; whoever asks has it drafted in his own name"
    others = (approval for approval in certificate.approvals if not _asks(trust, known, approval))
    wrong = [f"{approval.approver} {why}" for approval in others if (why := objection(trust, known, approval))]
    counted = f"{len(approvers(trust, known))} of the {approvals_due(trust, known.body)} approvals of distinct people that it takes are there"
    return f"{counted}; not counted: {'; '.join(wrong)}" if wrong else counted


def holder(trust: Trust, key: str) -> str:
    """Whose key it is: by its name, or by the change of the keyset that brought it."""
    return trust.keyset.holders.get(key, key)


def is_stranger(trust: Trust, key: str) -> bool:
    """Whether the keyset at hand has never heard of a key: a forgery, or the word of a later keyset."""
    return key not in trust.keyset.grants


def sign_order(trust: Trust, replica: str, body: OrderBody) -> Order:
    """Signed with the replica's key of the keyset at hand; if it does not hold that yet, with its first one: an order is never left unsigned."""
    raw = codec.pack(body)
    return Order(raw, *_replica_signature(trust, replica, keys.ORDER, raw))


def _replica_signature(trust: Trust, replica: str, domain: str, raw: bytes) -> tuple[str, bytes]:
    """The key that a replica signs with by now, and its signature."""
    key = trust.keyset.signing.get(replica, replica)
    try:
        return key, trust.signer.sign(key, domain, raw)
    except KeyError:
        return replica, trust.signer.sign(replica, domain, raw)


def sign_approval(trust: Trust, approver: str, raw: bytes) -> Approval:
    return Approval(approver, trust.signer.sign(approver, keys.RESUME, raw))


def sign_asked(trust: Trust, requester: str, raw: bytes) -> Approval:
    """The requester's own signature over what was drafted for him."""
    return Approval(requester, trust.signer.sign(requester, keys.RESUME_ASKED, raw))


def read_draft(raw: bytes) -> ResumeBody | None:
    return codec.unpack(raw, ResumeBody)


def sign_evidence(trust: Trust, sidecar: str, evidence: Evidence) -> Evidence:
    return structs.replace(evidence, signature=trust.signer.sign(sidecar, keys.EVIDENCE, codec.unsigned(evidence)))


def believes_evidence(trust: Trust, sidecar: str, evidence: Evidence) -> bool:
    """Only an agent's own sidecar can prove anything about it, and only what it signed."""
    return keys.speaks_for(trust.keyset, sidecar, evidence.agent) and trust.signer.verify(
        sidecar, keys.EVIDENCE, codec.unsigned(evidence), evidence.signature
    )


# -- policies --------------------------------------------------------------------------------------------------------------------------


def read_bundle(trust: Trust, bundle: PolicyBundle) -> BundleBody | None:
    """The policy, if a replica of the control plane installed it; else `None`."""
    body = rollout.read_bundle(bundle)
    return body if body is not None and _of_control_plane(trust, keys.POLICY, bundle) else None


def read_rollout(trust: Trust, record: RolloutRecord) -> rollout.KnownRollout | None:
    """The rollout, if a replica of the control plane made it; else `None`."""
    known = rollout.read_rollout(record)
    return known if known is not None and _of_control_plane(trust, keys.ROLLOUT, record) else None


def _of_control_plane(trust: Trust, domain: str, signed: PolicyBundle | RolloutRecord) -> bool:
    """Policies are permissions as well as prohibitions, so a key that was revoked installs none. What it signed before lives on by the signatures of
    those who took it in, and hand it on as their own word."""
    may = signed.signer not in trust.keyset.revoked and keys.authorised(trust.keyset, signed.signer, keys.SIGN_ORDER, "", "global")
    return may and trust.signer.verify(signed.signer, domain, signed.raw, signed.signature)


def sign_bundle(trust: Trust, replica: str, raw: bytes) -> PolicyBundle:
    """``raw``: the canonical encoding of a `BundleBody`."""
    return PolicyBundle(raw, *_replica_signature(trust, replica, keys.POLICY, raw))


def sign_rollout(trust: Trust, replica: str, raw: bytes) -> RolloutRecord:
    """``raw``: the canonical encoding of a `RolloutBody`."""
    return RolloutRecord(raw, *_replica_signature(trust, replica, keys.ROLLOUT, raw))


# -- requests --------------------------------------------------------------------------------------------------------------------------

SomeRequest = OrderRequest | ResumeDraftRequest | RolloutRequest
AnyRequest = TypeVar("AnyRequest", OrderRequest, ResumeDraftRequest, RolloutRequest)
_DOMAINS: Final[dict[type[SomeRequest], str]] = {
    OrderRequest: keys.ORDER_REQUEST, ResumeDraftRequest: keys.RESUME_REQUEST, RolloutRequest: keys.ROLLOUT_REQUEST,
}  # fmt: skip


def sign_request(trust: Trust, request: AnyRequest) -> AnyRequest:
    signature = trust.signer.sign(request.principal, _DOMAINS[type(request)], codec.unsigned(request))
    return structs.replace(request, signature=signature)


def believes_request(trust: Trust, request: SomeRequest) -> bool:
    """Whether the person named asked for exactly this. Whether he may is the policy's question."""
    return trust.signer.verify(request.principal, _DOMAINS[type(request)], codec.unsigned(request), request.signature)


# -- further keys ------------------------------------------------------------------------------------------------------------------------


def read_countersigned(message: CountersignedRequest) -> OrderRequest | None:
    """The request that further people sign; `None` if it is none, or not the one that it is named as. Says nothing about who signed it."""
    request = codec.unpack(message.raw, OrderRequest)
    if request is None or request.request != message.request or codec.unsigned(request) != message.raw:
        return None
    return structs.replace(request, signature=message.signature)


def countersigners(trust: Trust, request: OrderRequest, signatures: tuple[Countersignature, ...]) -> dict[str, Countersignature]:
    """The distinct people, beside the one who asks, whose keys ask for exactly this as well, however many keys they have; each with what shows it."""
    raw = codec.unsigned(request)
    return {
        person: each
        for each in signatures[:COUNTERSIGNATURES_MAX]
        if (person := holder(trust, each.countersigner)) != holder(trust, request.principal)
        and may_countersign(trust, each.countersigner, request)
        and trust.signer.verify(each.countersigner, keys.COUNTERSIGN, raw, each.signature)
    }


def may_countersign(trust: Trust, key: str, request: OrderRequest) -> bool:
    """Whoever may ask for this very stop himself, and the approvers of its scope, whose part it is to be asked second."""
    asked = (request.tenant, request.scope.kind, request.gate, request.life)
    return any(keys.authorised(trust.keyset, key, action, *asked) for action in (keys.REQUEST, keys.APPROVE_RESUME))


def countersign(trust: Trust, person: str, request: OrderRequest) -> Countersignature:
    return Countersignature(person, trust.signer.sign(person, keys.COUNTERSIGN, codec.unsigned(request)))
