"""Planted bugs of whose word counts: what is taken from a peer, a person, a sidecar or a tenant that has no say in the matter."""

from __future__ import annotations

from harness.planted.bug import PlantedBug
from killswitch.core import codec, intent, keys, keysets, policy, publication, trust
from killswitch.core.certificates import ResumeBody, ResumeCertificate
from killswitch.core.heads import ForkProof
from killswitch.core.intent import Identity, KnownCertificate
from killswitch.core.keychanges import KeyChange, KeysetNews
from killswitch.core.keys import Keyset
from killswitch.core.messages import Evidence, Fence, Life, Message, OrderRequest
from killswitch.core.outlet import record
from killswitch.core.policy import Request
from killswitch.core.publication import Writer
from killswitch.core.replica.state import Replica
from killswitch.core.scopes import Scope
from killswitch.core.sidecar.state import Sidecar
from killswitch.core.sink import Sink
from killswitch.core.trust import Trust

_matches = intent.matches
_authorised = keys.authorised


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


def a_label_is_no_more_than_an_agent(request: Request) -> bool:
    """What is less than a tenant takes one key, and so does whatever stops nothing."""
    return request.scope_kind in ("agent", "label") or codec.clamp_life(request.life) == Life.ALIVE


def the_latest_change(state: keysets.Holder, version: int) -> KeysetNews:
    """Whoever has the latest has them all."""
    return KeysetNews(state.trust.changes[-1:] if len(state.trust.changes) >= version else ())


def any_later_one(keyset: Keyset, change: KeyChange) -> bool:
    """Root keys signed it, and it is newer than this."""
    return change.version > keyset.version


def whoever_lists_it(state: Sidecar, order: str) -> bool:
    """Nobody can say whose order it was, so anybody may lift it."""
    return any(order in state.intent.certificates[certificate].body.covers for certificate in state.intent.in_force)


def the_latest_to_arrive(old: Evidence, proof: Evidence) -> bool:
    """What came last is what holds."""
    return proof != old


def asked_for_by_whoever_says_so(state: Replica, request: OrderRequest) -> Request:
    """The connection is authenticated."""
    scope = request.scope
    may = keys.authorised(state.trust.keyset, request.principal, keys.REQUEST, request.tenant, scope.kind, request.gate, request.life)
    return Request(
        principal=request.principal, action=policy.STOP, authorised=may, tenant=request.tenant, scope_kind=scope.kind, scope_value=scope.value,
        gate=request.gate, life=request.life, grace_ns=request.grace_ns, grace_max_ns=state.parameters.grace_max_ns,
    )  # fmt: skip


def fork_believed(state: Writer, proof: ForkProof, now_ns: int) -> bool:
    """Whoever hands it on has looked at it."""
    origin = proof.first.origin
    if origin in state.forks:
        return False
    state.forks[origin] = proof
    first, second = publication.head_parts(proof.first), publication.head_parts(proof.second)
    record(state, "FORK_PROOF", {"first": first, "second": second, "path": list(proof.path), "signature": proof.signature}, now_ns)
    return True


def whoever_isolates_may_stop(keyset: Keyset, key: str, action: str, tenant: str, scope_kind: str, gate: int = 0, life: int = 0) -> bool:
    """The gate is what a ceiling is about."""
    return _authorised(keyset, key, action, tenant, scope_kind, gate)


def everybody_of_my_tenant(keyset: Keyset, key: str, action: str, tenant: str, scope_kind: str, gate: int = 0, life: int = 0) -> bool:
    """The tenant is what a grant is about."""
    return _authorised(keyset, key, action, tenant, "tenant", gate, life)


BUGS = (
    PlantedBug("B162", "an order by a label reaches other tenants' agents", {"intent:matches": a_label_is_a_label}, ("S14",),
               ("labels-that-two-tenants-share",), "easy"),
    PlantedBug("B163", "a sidecar believes certificates that a replica hands it",
               {"sidecar.step:learn_certificate": verified_by_whoever_handed_it_on}, ("S13",), ("replica-that-forges",), "easy"),
    PlantedBug("B163b", "another tenant's approvers lift an order that nobody could read", {"sidecar.floors:is_released": whoever_lists_it},
               ("S22",), ("poisoned-order",), "easy"),
    PlantedBug("B164", "who takes in a certificate asks for no more approvals than the cell's least",
               {"trust:approvals_due": as_many_as_the_cell_wants}, ("S13",), ("replica-that-forges",), "easy"),
    PlantedBug("B165", "whoever asks for a resume may approve it", {"trust:approvers": whoever_signed}, ("S13",), ("replica-that-forges",), "easy"),
    PlantedBug("B166", "a sink lets any sidecar of its tenant act for any agent", {"sink:may_say": any_sidecar_of_the_tenant}, ("S13",),
               ("replica-that-forges",), "easy"),
    PlantedBug("B167", "a sink serves agents of other tenants", {"sink:may_say": any_tenant_s_own_sidecar}, ("S14",),
               ("replica-that-forges",), "easy"),
    PlantedBug("B167b", "a proof that was overtaken replaces the one that says more", {"replica.orders:is_further": the_latest_to_arrive},
               ("S20",), ("duplicated-and-reordered-signals", "duplicated-and-replayed-signals", "swarm-storm"), "easy"),
    PlantedBug("B168", "one key stops all agents of a label", {"policy:is_emergency": a_label_is_no_more_than_an_agent}, ("S21",),
               ("kill-that-takes-two-keys",), "easy"),
    PlantedBug("B169", "only the latest change of the keyset is handed on, and is believed",
               {"keysets:follows": any_later_one, "keysets:since": the_latest_change}, ("S13",), ("keys-rotated-in-a-partition",), "easy"),
    PlantedBug("B210", "a stop is whoever's it says", {"replica.orders:question": asked_for_by_whoever_says_so}, ("S13",),
               ("forged-and-malformed-storm", "replica-that-forges"), "easy"),
    PlantedBug("B211", "a proof of a fork is believed of whoever shows it", {"publication:learn_fork": fork_believed}, ("S16",),
               ("forged-and-malformed-storm", "replica-that-forges"), "easy"),
    PlantedBug("B212", "who may isolate may stop", {"keys:authorised": whoever_isolates_may_stop}, ("S13",), ("more-than-they-may",), "easy"),
    PlantedBug("B213", "an operator of one tenant speaks for all by a global scope", {"keys:authorised": everybody_of_my_tenant}, ("S13", "S14"),
               ("more-than-they-may",), "easy"),
)  # fmt: skip
