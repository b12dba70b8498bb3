"""Policies on their way through a cell, as data: bundles, the rollouts that bring them into force, and what is said about both (protocol 3.4, 3.9).

Owns the forms. Must not know how a rollout is decided (``rollout``) or travels (``replica.rollouts``). Like orders, bundles and rollouts travel
as the bytes that were signed, and the hash of those is their id; a policy goes by the hash of its Cedar text, which is what decisions name.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

TEXT_MAX = 1 << 15  # characters of a policy: so many bundles fit into one message


class Stage(StrEnum):
    """How far a policy has come: SHADOW only notes what it would have decided, CANARY decides for a part, STABLE for all, ROLLED_BACK is undone."""

    SHADOW = "SHADOW"
    CANARY = "CANARY"
    STABLE = "STABLE"
    ROLLED_BACK = "ROLLED_BACK"


class Decision(Struct, frozen=True, array_like=True):
    """Which policy, over which input, allowed this (replayable: invariant S21). ``policy_seq`` is the number of the rollout in force.

    ``canary_hash``: the policy on trial, if it was heard as well; ``raised``: it made the stop more severe than ``policy_hash`` alone would have.
    """

    policy_seq: int
    policy_hash: str
    input_hash: str
    rules: tuple[str, ...] = ()
    canary_hash: str = ""
    raised: bool = False


class BundleBody(Struct, frozen=True):
    """A policy as it was installed. ``seq`` counts bundles, ``parent`` is the hash of the policy that was stable then.

    ``tests``: SHA-256 of the cases that its author held it against; kept for the audit trail, and read by nobody here.
    """

    seq: int
    parent: str
    text: str
    tests: str
    author: str


class PolicyBundle(Struct, frozen=True, tag=True):
    """A signed bundle: ``raw`` is the canonical encoding of a `BundleBody`."""

    raw: bytes
    signer: str
    signature: bytes


class RolloutBody(Struct, frozen=True):
    """What is in force from here on. ``seq`` is above that of every rollout it follows, also when it goes back to an old policy.

    ``stable``, ``canary`` (on trial, may be empty) and ``former`` (stable before the last promotion) are hashes of policies. ``percent`` of all
    scopes, chosen by ``salt``, are decided by the canary as well, until it alone has made more than ``guard`` stops. ``parent``: the id of the
    rollout that this one follows; ``request``: who asked, and under which key.
    """

    seq: int
    stage: str
    stable: str
    canary: str
    former: str
    percent: int
    salt: str
    guard: int
    request: str
    parent: str


class RolloutRecord(Struct, frozen=True, tag=True):
    """A signed rollout: ``raw`` is the canonical encoding of a `RolloutBody`."""

    raw: bytes
    signer: str
    signature: bytes


class RolloutRequest(Struct, frozen=True, tag=True):
    """A person asks for a stage. ``text`` is the Cedar text to try (SHADOW, CANARY); empty takes what is on trial already."""

    request: str
    principal: str
    stage: str
    text: str = ""
    tests: str = ""
    percent: int = 0
    guard: int = 0
    signature: bytes = b""


class RolloutStatus(Struct, frozen=True, tag=True):
    """What has become of a request, as rollout ``seq``. ``why``: of the last two.

    ACCEPTED    durable at the replica that answers
    EFFECTIVE   in force there, and durable at k replicas: no resume is decided without it any more
    SUPERSEDED  another rollout took its place, perhaps before anybody decided by this one; after EFFECTIVE: one that was made apart from it,
                on top of another of its number
    REFUSED     there is none, and will not be
    """

    request: str
    stage: str
    seq: int
    why: str = ""


class PolicyNews(Struct, frozen=True, tag=True):
    """Anti-entropy of policies between replicas: the digest of what the sender knows and, where digests were found to differ, all of it."""

    digest: str
    bundles: tuple[PolicyBundle, ...] = ()
    records: tuple[RolloutRecord, ...] = ()
