"""Planted bugs of whose word counts: what is taken from a peer, a person, a sidecar or a tenant that has no say in the matter."""

from __future__ import annotations

from harness.planted.bug import PlantedBug
from killswitch.core import intent, keys, policy, trust
from killswitch.core.certificates import ResumeBody, ResumeCertificate
from killswitch.core.intent import Identity, KnownCertificate
from killswitch.core.keys import Keyset
from killswitch.core.messages import Fence, FenceAck, IntentReply, LeaseReply, Message, OrderBody, OrderPush, OrderRequest, StartReply
from killswitch.core.outlet import record
from killswitch.core.policy import Request
from killswitch.core.replica.state import Replica
from killswitch.core.scopes import Scope
from killswitch.core.sidecar.state import Sidecar
from killswitch.core.sink import Sink
from killswitch.core.trust import Trust

_authorised = keys.authorised
_matches = intent.matches


def tenants_by_prefix(tenant: str, scope: Scope, identity: Identity) -> bool:
    if scope.kind == "global":
        return True
    if not identity.tenant.startswith(tenant):
        return False
    return scope.kind == "tenant" or scope.value == identity.agent or (scope.kind == "label" and scope.value in identity.labels)


def any_tenant(tenant: str, outer: Scope, body: OrderBody) -> bool:
    """The approvers have seen the list."""
    return True


def whatever_holds_for_the_tenant(tenant: str, outer: Scope, body: OrderBody) -> bool:
    """An order for everybody is one for this tenant, too."""
    if body.scope.kind == "global":
        return outer.kind in ("global", "tenant")
    return body.tenant == tenant and outer.kind != "global" and (outer.kind == "tenant" or body.scope == outer)


def a_label_is_a_label(tenant: str, scope: Scope, identity: Identity) -> bool:
    """Labels say what an agent is, whoever runs it."""
    return scope.value in identity.labels if scope.kind == "label" else _matches(tenant, scope, identity)


def verified_by_whoever_handed_it_on(state: Sidecar, certificate: ResumeCertificate, now_ns: int) -> None:
    """Replicas hand on only what they have verified."""
    if state.disk_full or intent.content_id(certificate.raw) in state.intent.certificates:
        return
    known = intent.read_certificate(certificate)
    if known is not None:
        intent.add_certificate(state.intent, known)
        approvals = [[approval.approver, approval.signature] for approval in certificate.approvals]
        state.awaiting[record(state, "CERT_ACCEPTED", {"raw": certificate.raw, "approvals": approvals}, now_ns)] = ("certificate", known)


def as_many_as_the_cell_wants(trust: Trust, body: ResumeBody) -> int:
    """How many policy wants was asked where it was handed in."""
    return trust.approvals


def whoever_signed(trust_: Trust, known: KnownCertificate) -> frozenset[str]:
    """An approver is an approver."""
    body = known.body
    return frozenset(
        trust.holder(trust_, approval.approver)
        for approval in known.certificate.approvals
        if keys.authorised(trust_.keyset, approval.approver, keys.APPROVE_RESUME, body.tenant, body.scope.kind)
        and trust_.signer.verify(approval.approver, keys.RESUME, known.certificate.raw, approval.signature)
    )


def any_sidecar_of_the_tenant(state: Sink, message: Message, sender: str) -> bool:
    """A tenant's sidecars trust one another."""
    if isinstance(message, Fence) and sender in state.config.replicas:
        return True
    tenant = getattr(message, "agent", "").partition("/")[0]
    return sender.startswith(f"sidecar/{tenant}/") and tenant == state.tenant


def any_tenant_s_own_sidecar(state: Sink, message: Message, sender: str) -> bool:
    """It speaks for its own agent."""
    if isinstance(message, Fence) and sender in state.config.replicas:
        return True
    return sender == f"sidecar/{getattr(message, 'agent', '')}"


def asked_for_by_whoever_says_so(state: Replica, request: OrderRequest) -> Request:
    """The connection is authenticated."""
    scope = request.scope
    may = keys.authorised(state.trust.keyset, request.principal, keys.REQUEST, request.tenant, scope.kind, request.gate, request.life)
    return Request(
        principal=request.principal, action=policy.STOP, authorised=may, tenant=request.tenant, scope_kind=scope.kind, scope_value=scope.value,
        gate=request.gate, life=request.life, grace_ns=request.grace_ns, grace_max_ns=state.parameters.grace_max_ns,
    )  # fmt: skip


def whoever_isolates_may_stop(keyset: Keyset, key: str, action: str, tenant: str, scope_kind: str, gate: int = 0, life: int = 0) -> bool:
    """The gate is what a ceiling is about."""
    return _authorised(keyset, key, action, tenant, scope_kind, gate)


def everybody_of_my_tenant(keyset: Keyset, key: str, action: str, tenant: str, scope_kind: str, gate: int = 0, life: int = 0) -> bool:
    """The tenant is what a grant is about."""
    return _authorised(keyset, key, action, tenant, "tenant", gate, life)


def as_the_draft_says(trust: Trust, known: KnownCertificate) -> bool:
    """Who asked for it stands in what the approvers signed."""
    return True


def whoever_says_it(state: Sidecar, message: LeaseReply | StartReply, sender: str) -> bool:
    """It came from a replica, and replicas do not lie."""
    return sender not in state.forks


def sinks_of_one_tenant(message: object, sender: str) -> bool:
    """They belong together."""
    return getattr(message, "sink", "").split("/")[:2] == sender.split("/")[:2]


def told_by_a_sink(ack: FenceAck, sender: str) -> bool:
    """It is a sink that says so."""
    return sender.startswith("sink/")


def approvers_vouch_for_it(state: Sidecar, message: OrderPush, sender: str) -> tuple[ResumeCertificate, ...]:
    """It is verified here, whoever hands it on."""
    return message.certificates


def approvers_vouch_for_it_there(state: Replica, reply: IntentReply, sender: str) -> tuple[ResumeCertificate, ...]:
    """A certificate proves itself."""
    return reply.certificates


def by_that_very_key(trust_: Trust, body: ResumeBody, key: str) -> bool:
    """Nobody approves what he signed himself."""
    return key == body.requester


def whoever_may_ask_for_anything(trust_: Trust, key: str, request: OrderRequest) -> bool:
    """He need not order it, only agree."""
    actions = (keys.REQUEST, keys.APPROVE_RESUME)
    return any(keys.authorised(trust_.keyset, key, action, request.tenant, request.scope.kind) for action in actions)


BUGS = (
    PlantedBug("B26", "tenants are matched by prefix", {"intent:matches": tenants_by_prefix}, ("S14",), ("swarm-storm",), "easy"),
    PlantedBug("B72", "approvers of one tenant lift another's orders", {"intent:includes": any_tenant}, ("S7", "S6", "S1"),
               ("replica-that-forges", "forged-and-malformed-storm"), "easy"),
    PlantedBug("B161", "a tenant's resume lifts orders that hold for everybody", {"intent:includes": whatever_holds_for_the_tenant}, ("S7", "S6"),
               ("tenant-resumes-under-a-global-order",), "easy"),
    PlantedBug("B162", "an order by a label reaches other tenants' agents", {"intent:matches": a_label_is_a_label}, ("S14",),
               ("labels-that-two-tenants-share",), "easy"),
    PlantedBug("B163", "a sidecar believes certificates that a replica hands it",
               {"sidecar.step:learn_certificate": verified_by_whoever_handed_it_on}, ("S13",), ("replica-that-forges",), "easy"),
    PlantedBug("B164", "who takes in a certificate asks for no more approvals than the cell's least",
               {"trust:approvals_due": as_many_as_the_cell_wants}, ("S13",), ("replica-that-forges",), "easy"),
    PlantedBug("B165", "whoever asks for a resume may approve it", {"trust:approvers": whoever_signed}, ("S13",), ("replica-that-forges",), "easy"),
    PlantedBug("B166", "a sink lets any sidecar of its tenant act for any agent", {"sink:may_say": any_sidecar_of_the_tenant}, ("S13",),
               ("replica-that-forges",), "easy"),
    PlantedBug("B167", "a sink serves agents of other tenants", {"sink:may_say": any_tenant_s_own_sidecar}, ("S14",),
               ("replica-that-forges",), "easy"),
    PlantedBug("B210", "a stop is whoever's it says", {"replica.orders:question": asked_for_by_whoever_says_so}, ("S13",),
               ("forged-and-malformed-storm", "replica-that-forges"), "easy"),
    PlantedBug("B212", "who may isolate may stop", {"keys:authorised": whoever_isolates_may_stop}, ("S13",), ("more-than-they-may",), "easy"),
    PlantedBug("B213", "an operator of one tenant speaks for all by a global scope", {"keys:authorised": everybody_of_my_tenant}, ("S13", "S14"),
               ("more-than-they-may",), "easy"),
    PlantedBug("B234", "a resume is asked for by whoever its draft names", {"trust:is_asked_for": as_the_draft_says}, ("S13",),
               ("replica-that-forges",), "easy"),
    PlantedBug("B298", "a sidecar counts what a replica says for another", {"sidecar.state:counts_for": whoever_says_it}, ("S8", "S19"),
               ("answers-in-anothers-name",), "easy"),
    PlantedBug("B299", "a sidecar believes one sink about another", {"sidecar.state:is_its_own": sinks_of_one_tenant}, ("S8",),
               ("answers-in-anothers-name",), "easy"),
    PlantedBug("B300", "a replica believes one sink about the fence of another", {"replica.dispatch:is_its_own": told_by_a_sink}, ("S20",),
               ("answers-in-anothers-name",), "easy"),
    PlantedBug("B301", "a sidecar takes a certificate of anybody who hands it on", {"sidecar.state:vouched_for": approvers_vouch_for_it}, ("S13",),
               ("forged-and-malformed-storm",), "easy"),
    PlantedBug("B302", "a replica takes a certificate of anybody who hands it on", {"replica.resumes:vouched_for": approvers_vouch_for_it_there},
               ("S13",), ("forged-and-malformed-storm",), "easy"),
    PlantedBug("B303", "whoever asks for a resume may approve it with a later key of his", {"trust:asks_himself": by_that_very_key}, ("S13",),
               ("replica-that-forges",), "easy"),
    PlantedBug("B304", "who may isolate may countersign a stop", {"trust:may_countersign": whoever_may_ask_for_anything}, ("S13",),
               ("kill-that-takes-two-keys",), "easy"),
)  # fmt: skip
