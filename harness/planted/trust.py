"""Planted bugs of trust: keys that change, versions that differ, input that is hostile."""

from __future__ import annotations

import msgspec

from harness.planted.bug import PlantedBug
from killswitch.core import attempts, codec, intent, keys
from killswitch.core.bundles import PolicyBundle, RolloutRecord
from killswitch.core.intent import KnownCertificate, KnownOrder, Severity
from killswitch.core.keychanges import SignedChange
from killswitch.core.keys import Keyset
from killswitch.core.messages import Order, OrderBody, UnknownProhibition
from killswitch.core.outlet import record
from killswitch.core.scopes import Scope
from killswitch.core.sidecar import floors
from killswitch.core.sidecar.state import Sidecar
from killswitch.core.trust import Trust

_authorised = keys.authorised


def revocation_forgotten(keyset: Keyset, key: str, action: str, tenant: str, scope_kind: str, gate: int = 0, life: int = 0) -> bool:
    """A key that was good once is good."""
    return any(
        grant.role == keys.ROLE_OF_ACTION.get(action) and (keys.EVERY_TENANT in grant.tenants or tenant in grant.tenants)
        for grant in keyset.grants.get(key, ())
    )


def revocation_voids_orders(keyset: Keyset, key: str, action: str, tenant: str, scope_kind: str, gate: int = 0, life: int = 0) -> bool:
    """Whoever stole the key shall stop nobody."""
    return key not in keyset.revoked and _authorised(keyset, key, action, tenant, scope_kind, gate, life)


def unknown_key_dropped(state: Sidecar, order: Order, sender: str, now_ns: int) -> None:
    """What does not verify is refused, whoever hands it on."""


def unknown_prohibition_dropped(state: Sidecar, message: UnknownProhibition, sender: str, now_ns: int) -> None:
    """What cannot be read cannot be obeyed."""


def signatures_counted(trust: Trust, known: KnownCertificate) -> frozenset[str]:
    """As many approvals as there are valid signatures."""
    return frozenset(
        f"{number}" for number, approval in enumerate(known.certificate.approvals)
        if trust.signer.verify(approval.approver, keys.RESUME, known.certificate.raw, approval.signature)
    )  # fmt: skip


def any_domain(trust: Trust, order: Order) -> KnownOrder | None:
    """It is a replica's signature, and it is over these bytes."""
    known = intent.read_order(order)
    signed = any(trust.signer.verify(order.signer, domain, order.raw, order.signature) for domain in keys.DOMAINS)
    may = known is not None and _authorised(trust.keyset, order.signer, keys.SIGN_ORDER, known.body.tenant, known.body.scope.kind)
    return known if signed and may else None


def unguarded_reading(order: Order) -> KnownOrder:
    """Whatever a replica signed can be decoded."""
    body = msgspec.msgpack.decode(order.raw, type=OrderBody)
    return KnownOrder(intent.content_id(order.raw), order, body, Severity(codec.clamp_gate(body.gate), codec.clamp_life(body.life)))


def read_at_once(state: attempts.Reader, order: Order, sender: str, now_ns: int) -> bool:
    """A mark costs a write and a wait."""
    return False


def marked_whoever_signed(state: attempts.Reader, order: Order, sender: str, now_ns: int) -> bool:
    """Whether it is to be believed is looked at when it is read."""
    if not state.attempts.cautious and not state.attempts.open:
        return False
    identity = intent.content_id(order.raw)
    if attempts.is_quarantined(state, identity) or identity in state.attempts.waiting:
        return True
    if not state.attempts.cautious:
        return False
    state.attempts.waiting[identity] = (order, sender)
    state.attempts.open[identity] = state.attempts.open.get(identity, 0) + 1
    state.awaiting[record(state, attempts.ATTEMPT, {"order": identity}, now_ns)] = ("attempt", identity)
    return True


def any_tenant(tenant: str, outer: Scope, body: OrderBody) -> bool:
    """The approvers have seen the list."""
    return True


def root_signatures_counted(trust: Trust, signed: SignedChange) -> frozenset[str]:
    """Two signatures by root keys: what else could the second be."""
    valid = [each.key for each in signed.signatures if trust.signer.verify(each.key, keys.KEYSET, signed.raw, each.signature)]
    return frozenset(keys.ROOTS[: len(valid)])


def any_answer_ends_a_floor(state: Sidecar, sender: str, sent_ns: int) -> None:
    """Whoever forbade it permits it now."""
    for reason in [reason for reason, floor in state.floors.held.items() if floor.origin == sender]:
        floors.drop(state, reason)


def keyset_ends_all_floors(state: Sidecar) -> list[tuple[Order, str]]:
    """The keyset is here, so what was withheld for want of it will come again."""
    for reason in list(state.floors.withheld):
        floors.drop(state, reason)
    return []


def whoever_signed_it(trust: Trust, domain: str, signed: PolicyBundle | RolloutRecord) -> bool:
    """It came from a replica."""
    return True


def replicas_are_replicas(trust: Trust, domain: str, signed: PolicyBundle | RolloutRecord) -> bool:
    """As with an order: what a key signed stands, whatever became of it."""
    may = keys.authorised(trust.keyset, signed.signer, keys.SIGN_ORDER, "", "global")
    return may and trust.signer.verify(signed.signer, domain, signed.raw, signed.signature)


def sidecars_are_sidecars(keyset: Keyset, key: str, agent: str) -> bool:
    """Each speaks for its own agent, and for no other."""
    return any(grant.role == keys.SIDECAR and grant.agent == agent for grant in keyset.grants.get(key, ()))


def as_the_draft_says(trust: Trust, known: KnownCertificate) -> bool:
    """Who asked for it stands in what the approvers signed."""
    return True


BUGS = (
    PlantedBug("B234", "a resume is asked for by whoever its draft names", {"trust:is_asked_for": as_the_draft_says}, ("S13",),
               ("forged-and-malformed-storm", "replica-that-forges"), "easy"),
    PlantedBug("B231", "a policy is believed because a peer hands it on", {"trust:_of_control_plane": whoever_signed_it}, ("S13",),
               ("replica-that-forges",), "easy"),
    PlantedBug("B232", "a replica whose key was revoked goes on bringing policies into force", {"trust:_of_control_plane": replicas_are_replicas},
               ("S13",), ("rollout-under-a-revoked-key",), "easy"),
    PlantedBug("B233", "a sidecar whose key was revoked goes on proving stops", {"keys:speaks_for": sidecars_are_sidecars}, ("S13",),
               ("sidecar-key-revoked-under-a-kill",), "easy"),
    PlantedBug("B122", "an answer from before a prohibition ends it", {"sidecar.floors:heard_in_full": any_answer_ends_a_floor}, ("S22",),
               ("answers-overtaken-by-prohibitions",), "medium"),
    PlantedBug("B123", "what was withheld is dropped when its keyset comes", {"sidecar.floors:hand_back": keyset_ends_all_floors}, ("S22",),
               ("answers-overtaken-by-prohibitions", "sidecar-behind-on-keys"), "easy"),
    PlantedBug("B17", "an order under a key that the keyset at hand does not know is refused", {"sidecar.floors:withhold": unknown_key_dropped},
               ("S22",), ("sidecar-behind-on-keys", "keys-rotated-in-a-partition"), "easy"),
    PlantedBug("B28", "what was signed as one thing counts as another", {"trust:read_order": any_domain}, ("S13",),
               ("forged-and-malformed-storm",), "easy"),
    PlantedBug("B28b", "two signatures of one approver are two approvals", {"trust:approvers": signatures_counted}, ("S13",),
               ("forged-and-malformed-storm",), "easy"),
    PlantedBug("B29", "an order of an unknown major version is dropped", {"sidecar.floors:on_unknown": unknown_prohibition_dropped}, ("S22",),
               ("control-plane-ahead-of-its-sidecars",), "easy"),
    PlantedBug("B36", "a body that cannot be decoded raises in the receive loop", {"intent:read_order": unguarded_reading}, ("S26", "S27"),
               ("forged-and-malformed-storm",), "easy"),
    PlantedBug("B37", "an order that kills its reader is read again by each next start", {"attempts:puts_off": read_at_once}, ("S26",),
               ("poisoned-order",), "easy"),
    PlantedBug("B214", "a node that restarted marks orders that nobody signed", {"attempts:puts_off": marked_whoever_signed}, ("S26",),
               ("forged-after-a-restart",), "easy"),
    PlantedBug("B72", "approvers of one tenant lift another's orders", {"intent:includes": any_tenant}, ("S7", "S6", "S1"),
               ("replica-that-forges", "forged-and-malformed-storm"), "easy"),
    PlantedBug("B73", "two signatures of one root key change the keyset", {"keysets:root_signers": root_signatures_counted}, ("S13",),
               ("forged-and-malformed-storm",), "easy"),
    PlantedBug("B74", "a revoked approver's approvals go on counting", {"keys:authorised": revocation_forgotten}, ("S13",),
               ("revoked-with-a-resume-in-flight",), "easy"),
    PlantedBug("B75", "an order whose key was revoked is refused by whoever hears of it later", {"keys:authorised": revocation_voids_orders},
               ("L1", "L10"), ("revoked-with-a-resume-in-flight", "keys-rotated-in-a-partition"), "easy"),
)  # fmt: skip
