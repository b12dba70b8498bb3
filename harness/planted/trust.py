"""Planted bugs of keys and signatures: keysets that change, keys that are revoked, signatures that count for more than they are, hostile bytes."""

from __future__ import annotations

import msgspec
from msgspec import structs

from harness.planted.bug import PlantedBug
from killswitch.core import codec, intent, keys, keysets
from killswitch.core.bundles import PolicyBundle, RolloutRecord
from killswitch.core.intent import KnownCertificate, KnownOrder, Severity
from killswitch.core.keychanges import KeyChange, KeysetNews, SignedChange
from killswitch.core.keys import Keyset
from killswitch.core.messages import Evidence, Order, OrderBody
from killswitch.core.outlet import send
from killswitch.core.replica.state import Replica
from killswitch.core.stamps import Stamps
from killswitch.core.trust import Trust

_authorised = keys.authorised
_changed = keysets.changed


def any_domain(trust: Trust, order: Order) -> KnownOrder | None:
    """It is a replica's signature, and it is over these bytes."""
    known = intent.read_order(order)
    signed = any(trust.signer.verify(order.signer, domain, order.raw, order.signature) for domain in keys.DOMAINS)
    may = known is not None and _authorised(trust.keyset, order.signer, keys.SIGN_ORDER, known.body.tenant, known.body.scope.kind)
    return known if signed and may else None


def signatures_counted(trust: Trust, known: KnownCertificate) -> frozenset[str]:
    """As many approvals as there are valid signatures."""
    return frozenset(
        f"{number}" for number, approval in enumerate(known.certificate.approvals)
        if trust.signer.verify(approval.approver, keys.RESUME, known.certificate.raw, approval.signature)
    )  # fmt: skip


def unguarded_reading(order: Order) -> KnownOrder:
    """Whatever a replica signed can be decoded."""
    body = msgspec.msgpack.decode(order.raw, type=OrderBody)
    return KnownOrder(intent.content_id(order.raw), order, body, Severity(codec.clamp_gate(body.gate), codec.clamp_life(body.life)))


def root_signatures_counted(trust: Trust, signed: SignedChange) -> frozenset[str]:
    """Two signatures by root keys: what else could the second be."""
    valid = [each.key for each in signed.signatures if trust.signer.verify(each.key, keys.KEYSET, signed.raw, each.signature)]
    return frozenset(keys.ROOTS[: len(valid)])


def revocation_forgotten(keyset: Keyset, key: str, action: str, tenant: str, scope_kind: str, gate: int = 0, life: int = 0) -> bool:
    """A key that was good once is good."""
    return any(
        grant.role == keys.ROLE_OF_ACTION.get(action) and (keys.EVERY_TENANT in grant.tenants or tenant in grant.tenants)
        for grant in keyset.grants.get(key, ())
    )


def revocation_voids_orders(keyset: Keyset, key: str, action: str, tenant: str, scope_kind: str, gate: int = 0, life: int = 0) -> bool:
    """Whoever stole the key shall stop nobody."""
    return key not in keyset.revoked and _authorised(keyset, key, action, tenant, scope_kind, gate, life)


def the_latest_keyset_says_it_all(keyset: Keyset, change: KeyChange, head: str) -> Keyset:
    """A change names what it revokes."""
    return structs.replace(_changed(keyset, change, head), revoked=frozenset(change.revokes))


def any_later_one(keyset: Keyset, change: KeyChange) -> bool:
    """Root keys signed it, and it is newer than this."""
    return change.version > keyset.version


def the_latest_change(state: keysets.Holder, version: int) -> KeysetNews:
    """Whoever has the latest has them all."""
    return KeysetNews(state.trust.changes[-1:] if len(state.trust.changes) >= version else ())


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


def peers_will_say_it_again(state: Replica, message: KeysetNews, sender: str, now_ns: int) -> None:
    """Whoever believes an order hands it on with the next digest."""
    before = state.trust.keyset.version
    if keysets.learn(state, message, now_ns):
        for peer in state.others:
            send(state, peer, keysets.since(state, before))
        state.withheld = {}


def a_word_is_a_word(state: Replica, sender: str, keyset: int, stamps: Stamps | None) -> bool:
    """The keyset that it waits for will come."""
    return False


def mistaken_by_now(state: Replica, sender: str, keyset: int, stamps: Stamps | None) -> bool:
    """Whoever says nothing more of an order has thought better of it."""
    over = [about for about in state.withheld if about[1] == sender]
    for about in over:
        del state.withheld[about]
    return bool(over)


def roots_name_roots(trust: Trust, signed: SignedChange, change: KeyChange) -> bool:
    """It is for the old roots to say who comes after them."""
    threshold = change.threshold or trust.keyset.threshold
    enough = len(keysets.root_signers(trust, signed).intersection(trust.keyset.roots)) >= trust.keyset.threshold
    return enough and 0 < threshold <= len(change.roots or trust.keyset.roots)


def named_by_the_change(trust: Trust, signed: SignedChange, change: KeyChange) -> bool:
    """How many have to sign, the change says."""
    return 0 < change.threshold <= len(keysets.root_signers(trust, signed))


def ask_the_people(state: keysets.Holder, version: int) -> KeysetNews:
    """Those with the root keys hand them out."""
    return KeysetNews(())


def what_is_proven_is_proven(trust: Trust, sidecar: str, evidence: Evidence) -> bool:
    """Who would say so if it were not?"""
    return True


BUGS = (
    PlantedBug("B28", "what was signed as one thing counts as another", {"trust:read_order": any_domain}, ("S13",),
               ("forged-and-malformed-storm",), "easy"),
    PlantedBug("B28b", "two signatures of one approver are two approvals", {"trust:approvers": signatures_counted}, ("S13",),
               ("replica-that-forges",), "easy"),
    PlantedBug("B36", "a body that cannot be decoded raises in the receive loop", {"intent:read_order": unguarded_reading}, ("S26", "S27"),
               ("forged-and-malformed-storm",), "easy"),
    PlantedBug("B73", "two signatures of one root key change the keyset", {"keysets:root_signers": root_signatures_counted}, ("S13",),
               ("forged-and-malformed-storm",), "easy"),
    PlantedBug("B74", "a revoked approver's approvals go on counting", {"keys:authorised": revocation_forgotten}, ("S13",),
               ("revoked-with-a-resume-in-flight",), "easy"),
    PlantedBug("B75", "an order whose key was revoked is refused by whoever hears of it later", {"keys:authorised": revocation_voids_orders},
               ("L1", "L10"), ("keys-rotated-in-a-partition", "revoked-with-a-resume-in-flight"), "easy"),
    PlantedBug("B157", "a later change of the keyset forgets what earlier ones revoked", {"keysets:changed": the_latest_keyset_says_it_all}, ("S13",),
               ("revoked-with-a-resume-in-flight",), "easy"),
    PlantedBug("B169", "only the latest change of the keyset is handed on, and is believed",
               {"keysets:follows": any_later_one, "keysets:since": the_latest_change}, ("S13",), ("keys-rotated-in-a-partition",), "easy"),
    PlantedBug("B231", "a policy is believed because a peer hands it on", {"trust:_of_control_plane": whoever_signed_it}, ("S13",),
               ("replica-that-forges",), "easy"),
    PlantedBug("B232", "a replica whose key was revoked goes on bringing policies into force", {"trust:_of_control_plane": replicas_are_replicas},
               ("S13",), ("rollout-under-a-revoked-key",), "easy"),
    PlantedBug("B233", "a sidecar whose key was revoked goes on proving stops", {"keys:speaks_for": sidecars_are_sidecars}, ("S13",),
               ("sidecar-key-revoked-under-a-kill",), "easy"),
    PlantedBug("B266", "orders that waited for a keyset are dropped when it comes to a replica",
               {"replica.step:on_keyset_news": peers_will_say_it_again}, ("S22",), ("order-that-waited-for-its-key",), "easy"),
    PlantedBug("B269", "new root keys need not sign that they are", {"keysets:signed_by_roots": roots_name_roots}, ("S13",),
               ("forged-and-malformed-storm",), "easy"),
    PlantedBug("B347", "a change of the keyset that names no new threshold is refused", {"keysets:signed_by_roots": named_by_the_change}, ("L10",),
               ("rollout-under-a-revoked-key", "rolling-upgrade-under-kills"), "easy"),
    PlantedBug("B348", "a keyset stays with whoever was handed it", {"keysets:since": ask_the_people}, ("L10",),
               ("sidecar-behind-on-keys", "keys-rotated-in-a-partition"), "easy"),
    PlantedBug("B415", "a proof is believed whoever gives it", {"trust:believes_evidence": what_is_proven_is_proven}, ("S13",),
               ("forged-and-malformed-storm", "forged-by-a-replica"), "easy"),
    PlantedBug("B497", "what a replica made up under a key of nobody is waited for for ever", {"replica.state:let_go": a_word_is_a_word}, ("L5",),
               ("made-up-under-no-key",), "easy"),
    PlantedBug("B498", "an order that waits for its keyset is let go with the next word of who handed it on",
               {"replica.state:let_go": mistaken_by_now}, ("S22",), ("order-that-waited-for-its-key",), "easy"),
)  # fmt: skip
