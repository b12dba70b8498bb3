"""Who a key is, and what it may say: signatures behind a port, and the keyset that turns a signature into authority.

Owns the port `Signer` with its two implementations, the signing domains, and the pure lookup `authorised` (protocol 3.2). Must not
know what is signed: content is bytes here. Apart from `Ed25519.generate`, which a deployment runs once, nothing here draws
randomness, reads a clock or a disk: both schemes are deterministic.

Two separate questions, on purpose: *did this key sign these bytes* (`Signer.verify`) and *may this key say that*
(`authorised`). An answer to the first alone never opens or closes a gate.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from killswitch.core import codec
from killswitch.core.messages import Gate, Life

# Signing domains: a signature made in one never verifies in another, so an approval cannot be replayed as an order (S13).
ORDER: Final = "order"
RESUME: Final = "resume"
ORDER_REQUEST: Final = "order-request"
COUNTERSIGN: Final = "countersign"
RESUME_REQUEST: Final = "resume-request"
RESUME_ASKED: Final = "resume-asked"
EVIDENCE: Final = "evidence"
STH: Final = "sth"
COSIGN: Final = "cosign"
CONSISTENCY: Final = "consistency"
KEYSET: Final = "keyset"
POLICY: Final = "policy"
ROLLOUT: Final = "rollout"
ROLLOUT_REQUEST: Final = "rollout-request"
DOMAINS: Final = (
    ORDER, RESUME, ORDER_REQUEST, COUNTERSIGN, RESUME_REQUEST, RESUME_ASKED, EVIDENCE, STH, COSIGN, CONSISTENCY, KEYSET, POLICY, ROLLOUT,
    ROLLOUT_REQUEST,
)  # fmt: skip

ROOTS: Final = ("root/1", "root/2", "root/3")
SUCCESSOR: Final = "#"  # the keys of one holder by convention: replica/1, replica/1#2, replica/1#3


class Signer(Protocol):
    """Signs with the keys that this node holds and verifies with those that everybody knows. Keys go by name (a node or a person)."""

    def sign(self, key: str, domain: str, content: bytes) -> bytes:
        """The signature of ``content`` in ``domain``. Raises `KeyError` if this node does not hold ``key``: a local mistake."""
        ...

    def verify(self, key: str, domain: str, content: bytes, signature: bytes) -> bool:
        """Whether ``key`` signed exactly ``content`` in ``domain``. Total: false for an unknown key or any malformed argument."""
        ...

    def knowing(self, public: Mapping[str, bytes]) -> Signer:
        """The same, with the public keys that a change of the keyset brought. Total: what is no key is left out, and verifies nothing."""
        ...


def framed(domain: str, content: bytes) -> bytes:
    """What is really signed (protocol 3.2). No domain contains a zero byte, so no two (domain, content) pairs give the same bytes."""
    return b"ksp/1/" + domain.encode() + b"\0" + content


class KeyedHash:
    """The simulator's scheme: BLAKE2b under a secret that every node of the simulated world shares.

    A MAC, not a signature: sound as long as nobody in the world signs with a name that is not its own. ``holds`` names whose keys
    this node may sign with, their successors included; ``None`` holds all (the world's own keyring).
    """

    SIZE: Final = 32

    def __init__(self, secret: bytes, holds: Iterable[str] | None = None) -> None:
        self._secret = _as_key(secret)
        self._holds = None if holds is None else tuple(holds)

    def sign(self, key: str, domain: str, content: bytes) -> bytes:
        if self._holds is not None and key.partition(SUCCESSOR)[0] not in self._holds:
            raise KeyError(key)
        return self._code(key, domain, content)

    def verify(self, key: str, domain: str, content: bytes, signature: bytes) -> bool:
        try:
            return hmac.compare_digest(self._code(key, domain, content), signature)
        except (TypeError, AttributeError, UnicodeError):
            return False

    def knowing(self, public: Mapping[str, bytes]) -> KeyedHash:  # noqa: ARG002  # a key is its name here
        return self

    def _code(self, key: str, domain: str, content: bytes) -> bytes:
        name = key.encode()
        # The length in front keeps (key, content) pairs apart; the key of BLAKE2b makes it a MAC by itself, without HMAC.
        return blake2b(b"%d:%b%b" % (len(name), name, framed(domain, content)), key=self._secret, digest_size=self.SIZE).digest()


@lru_cache(maxsize=1)
def _as_key(secret: bytes) -> bytes:
    """A secret of any length as a key of BLAKE2b: the same one for every node of a world."""
    return blake2b(secret, digest_size=KeyedHash.SIZE).digest()


ED25519_BYTES: Final = 32


class Ed25519:
    """The real scheme (RFC 8032). ``private``: raw 32-byte keys that this node holds; ``public``: raw 32-byte keys of everybody."""

    def __init__(self, private: Mapping[str, bytes], public: Mapping[str, bytes]) -> None:
        """Raises `ValueError` for a key that is not 32 bytes: a deployment record that is wrong is refused at start."""
        self._private = {name: Ed25519PrivateKey.from_private_bytes(raw) for name, raw in private.items()}
        self._public = {name: Ed25519PublicKey.from_public_bytes(raw) for name, raw in public.items()}

    def knowing(self, public: Mapping[str, bytes]) -> Ed25519:
        other = Ed25519({}, {name: raw for name, raw in public.items() if len(raw) == ED25519_BYTES and name not in self._public})
        other._private = self._private
        other._public = {**self._public, **other._public}  # a name once bound to a key stays bound to it
        return other

    @staticmethod
    def generate(names: Iterable[str]) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """Fresh pairs for ``names``: ({name: private}, {name: public}). For a deployment, before any node runs; never in a step."""
        private = {name: Ed25519PrivateKey.generate() for name in names}
        return (
            {name: key.private_bytes_raw() for name, key in private.items()},
            {name: key.public_key().public_bytes_raw() for name, key in private.items()},
        )

    def sign(self, key: str, domain: str, content: bytes) -> bytes:
        return self._private[key].sign(framed(domain, content))

    def verify(self, key: str, domain: str, content: bytes, signature: bytes) -> bool:
        try:
            self._public[key].verify(signature, framed(domain, content))
        except (InvalidSignature, KeyError, TypeError, ValueError, AttributeError):
            return False
        return True


# -- Authority -------------------------------------------------------------------------------------------------------------------------

# Roles, and for each action the role that may do it.
OPERATOR: Final = "operator"
APPROVER: Final = "approver"
CONTROL_PLANE: Final = "control-plane"
SIDECAR: Final = "sidecar"

SIGN_ORDER: Final = "order"
APPROVE_RESUME: Final = "resume"
GIVE_EVIDENCE: Final = "evidence"
REQUEST: Final = "request"
ROLE_OF_ACTION: Final[Mapping[str, str]] = {
    SIGN_ORDER: CONTROL_PLANE,
    APPROVE_RESUME: APPROVER,
    GIVE_EVIDENCE: SIDECAR,
    REQUEST: OPERATOR,
}

EVERY_TENANT: Final = "*"


class Grant(Struct, frozen=True, array_like=True):
    """One role of a key: for ``tenants`` (``*`` is every one), up to severity (``gate``, ``life``); a sidecar's also for one ``agent``."""

    role: str
    tenants: tuple[str, ...]
    gate: int = Gate.CLOSED
    life: int = Life.KILL
    agent: str = ""


class Keyset(Struct, frozen=True):
    """Which key has which roles. ``revoked`` only grows. ``keysets`` knows how one follows from another.

    ``signing``: {who: the key that he signs with by now, if it is not the one of his name}; ``holders``: {such a key: whose it is}.
    ``roots``, of which ``threshold`` sign the next version; ``head``: the id of the change that made this one, empty for a deployed one.

    Revocation takes away every permission of a key but none of its prohibitions: orders that it signed stay in force and are lifted
    by a resume that covers them, never by losing a key (protocol 3.2, D7).
    """

    version: int
    grants: dict[str, tuple[Grant, ...]]
    revoked: frozenset[str] = frozenset()
    signing: dict[str, str] = {}
    holders: dict[str, str] = {}
    roots: tuple[str, ...] = ROOTS
    threshold: int = 2
    head: str = ""


def authorised(keyset: Keyset, key: str, action: str, tenant: str, scope_kind: str, gate: int = 0, life: int = 0) -> bool:
    """Whether ``key`` may do ``action`` in ``tenant`` at that scope and severity (protocol 3.2). Pure and total.

    Scope ``global`` needs a grant for every tenant. A severity above a grant's ceiling is refused; a number outside the lattice
    counts as its top (V4). Tenants compare whole, never by prefix (B26).
    """
    role = ROLE_OF_ACTION.get(action)
    if role is None or (key in keyset.revoked and action != SIGN_ORDER):
        return False
    return any(
        grant.role == role
        and (EVERY_TENANT in grant.tenants or (scope_kind != "global" and tenant in grant.tenants))
        and codec.clamp_gate(gate) <= grant.gate
        and codec.clamp_life(life) <= grant.life
        for grant in keyset.grants.get(key, ())
    )


def speaks_for(keyset: Keyset, key: str, agent: str) -> bool:
    """Whether evidence about ``agent`` signed by ``key`` counts: only its own sidecar's does (S20)."""
    return key not in keyset.revoked and any(grant.role == SIDECAR and grant.agent == agent for grant in keyset.grants.get(key, ()))


def default_keyset(replicas: Iterable[str], sidecars: Iterable[str]) -> Keyset:
    """The keyset by convention: replicas sign orders for every tenant, each sidecar (``sidecar/tenant/name``) speaks for its agent,
    alice is an operator and bob, carol and dave are approvers of every tenant; erin is an operator of the tenant acme alone, and frank one of every
    tenant who may isolate and not stop. Nobody else has any authority."""
    everywhere = (EVERY_TENANT,)
    grants: dict[str, tuple[Grant, ...]] = {"alice": (Grant(OPERATOR, everywhere),)}
    grants |= {"erin": (Grant(OPERATOR, ("acme",)),), "frank": (Grant(OPERATOR, everywhere, life=Life.ALIVE),)}
    grants |= {approver: (Grant(APPROVER, everywhere),) for approver in ("bob", "carol", "dave")}
    grants |= {replica: (Grant(CONTROL_PLANE, everywhere),) for replica in replicas}
    tenants: dict[str, tuple[str]] = {}  # of a large fleet there are few
    for sidecar in sidecars:
        agent = sidecar.removeprefix("sidecar/")
        tenant = agent.partition("/")[0]
        grants[sidecar] = (Grant(SIDECAR, tenants.setdefault(tenant, (tenant,)), agent=agent),)
    return Keyset(version=1, grants=grants)
