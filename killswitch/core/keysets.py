"""How a keyset changes while nodes run: judged, recorded, handed on (protocol 3.2, TUF's rules for roots). Shared by replicas and sidecars.

Owns which change is believed and what it makes of a keyset. Must not know who else is told, or what follows for orders that could not be
verified before (``replica.step``, ``sidecar.step``).

A change is believed if it follows the keyset at hand directly and enough distinct root keys signed it, of the old roots and of the new ones.
Nobody can skip a change, so whoever has the latest has all revocations; and there is nothing in a change that could take one back.
"""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import structs

from killswitch.core import codec, intent, keys
from killswitch.core.audit import Chain
from killswitch.core.events import Effect
from killswitch.core.keychanges import KeyChange, KeysetNews, RootSignature, SignedChange
from killswitch.core.keys import Keyset
from killswitch.core.outlet import record
from killswitch.core.trust import Trust

CHANGES_MAX = 256  # of one message
KEYSET = "KEYSET"


class Holder(Protocol):
    """A state with a keyset and a log."""

    trust: Trust
    effects: list[Effect]
    chain: Chain


def learn(state: Holder, news: KeysetNews, now_ns: int) -> bool:
    """Take in what follows the keyset at hand; whether anything did. In force at once: whatever it permits is on the log after it."""
    before = state.trust.keyset.version
    for signed in news.changes[:CHANGES_MAX]:
        change = codec.unpack(signed.raw, KeyChange)
        if change is not None and follows(state.trust.keyset, change) and signed_by_roots(state.trust, signed, change):
            install(state, signed, change)
            signatures = [[each.key, each.signature] for each in signed.signatures]
            record(state, KEYSET, {"raw": signed.raw, "signatures": signatures}, now_ns)
    return state.trust.keyset.version > before


def fold(state: Holder, body: dict[str, Any]) -> None:
    """Take a change of an earlier life into account. Raises `ValueError` for one that this version cannot read: it may have revoked anything."""
    change = codec.unpack(body["raw"], KeyChange)
    if change is None:
        raise ValueError("a change of the keyset in a form that this version does not know")
    install(state, SignedChange(body["raw"], tuple(RootSignature(*each) for each in body["signatures"])), change)


def install(state: Holder, signed: SignedChange, change: KeyChange) -> None:
    old = state.trust
    signer = old.signer.knowing(change.public) if change.public else old.signer
    keyset = changed(old.keyset, change, intent.content_id(signed.raw))
    state.trust = old._replace(signer=signer, keyset=keyset, changes=(*old.changes, signed))


def since(state: Holder, version: int) -> KeysetNews:
    """What somebody lacks who has the keyset of ``version``; the deployed one has version 1."""
    return KeysetNews(state.trust.changes[max(version - 1, 0) :][:CHANGES_MAX])


# -- judging a change --------------------------------------------------------------------------------------------------------------------


def follows(keyset: Keyset, change: KeyChange) -> bool:
    return change.version == keyset.version + 1 and change.previous == keyset.head


def signed_by_roots(trust: Trust, signed: SignedChange, change: KeyChange) -> bool:
    """Enough of the old root keys, and of the new ones if it names any: neither a lost old key nor a made-up new one is enough."""
    valid = root_signers(trust, signed)
    roots, threshold = change.roots or trust.keyset.roots, change.threshold or trust.keyset.threshold
    enough = len(valid.intersection(trust.keyset.roots)) >= trust.keyset.threshold
    return enough and 0 < threshold <= len(valid.intersection(roots))


def root_signers(trust: Trust, signed: SignedChange) -> frozenset[str]:
    """The distinct keys that signed exactly this: a key that signs twice is one key."""
    return frozenset(each.key for each in signed.signatures if trust.signer.verify(each.key, keys.KEYSET, signed.raw, each.signature))


def changed(keyset: Keyset, change: KeyChange, head: str) -> Keyset:
    """The keyset after a change. A new key has whatever authority its predecessor was given; the predecessor keeps it until it is revoked."""
    grants = dict(keyset.grants)
    for who, key in change.rotates.items():
        grants[key] = keyset.grants.get(keyset.signing.get(who, who), ())
    return structs.replace(
        keyset, version=change.version, head=head, grants=grants, revoked=keyset.revoked.union(change.revokes),
        signing={**keyset.signing, **change.rotates}, holders={**keyset.holders, **{key: who for who, key in change.rotates.items()}},
        roots=change.roots or keyset.roots, threshold=change.threshold or keyset.threshold,
    )  # fmt: skip


def sign_change(signer: keys.Signer, change: KeyChange, roots: tuple[str, ...]) -> SignedChange:
    """The change as ``roots`` sign it: an act of people with their keys, not of a node."""
    raw = codec.pack(change)
    return SignedChange(raw, tuple(RootSignature(root, signer.sign(root, keys.KEYSET, raw)) for root in roots))
