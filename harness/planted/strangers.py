"""Planted bugs of whose word counts: what is taken from a peer, a person, a sidecar or a tenant that has no say in the matter."""

from __future__ import annotations

from harness.planted.bug import PlantedBug
from killswitch.core import codec, intent, keys, keysets, trust
from killswitch.core.certificates import ResumeBody, ResumeCertificate
from killswitch.core.intent import Identity, KnownCertificate
from killswitch.core.keychanges import KeyChange, KeysetNews
from killswitch.core.keys import Keyset
from killswitch.core.messages import Evidence, Fence, Life, Message
from killswitch.core.outlet import record
from killswitch.core.policy import Request
from killswitch.core.scopes import Scope
from killswitch.core.sidecar.state import Sidecar
from killswitch.core.sink import Sink
from killswitch.core.trust import Trust

_matches = intent.matches


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
)  # fmt: skip
