"""Faults of keys: they change while everything runs. What root keys sign is handed to the replicas named, and spreads from there."""

from __future__ import annotations

from scenarios.faults.kinds import Aim, FaultKind, Live, Setting, Unit

_HANDED = Live("root-keys", "the version in each replica's trace, and in its log on the disk, read from outside")
EVERY_REPLICA = "replicas"
PEOPLE = ("alice", "bob", "carol", "dave", "erin", "frank")
REVOCABLE = ("issuer", "sidecar", *PEOPLE)

ROWS = (
    FaultKind(
        "rotate-keys", Aim.NODES, ("replica",),
        "Root keys sign a keyset in which every replica has a new key for orders, or a person a new one beside the old; these replicas are handed "
        "it, together with all that came before.",
        "the new keys stay",
        (Setting("whose", "whose", Unit.CHOICE, "whose key is new", default=EVERY_REPLICA, choices=(EVERY_REPLICA, *PEOPLE),
                 swarm=(EVERY_REPLICA,)),),
        lasting=False, swarm_roles=("replica",), live=_HANDED,
    ),
    FaultKind(
        "revoke-key", Aim.NODES, ("replica",),
        "Root keys sign a keyset that revokes a key, and gives a replica that it takes one from a new one; these replicas are handed it.",
        "the key stays revoked",
        (Setting("key", "key", Unit.CHOICE, "issuer: the key under the latest order that anybody learned; sidecar: that of the first agent's; or a "
                 "person's", default="issuer",
                 choices=REVOCABLE, swarm=("issuer", "bob")),),
        lasting=False, swarm_roles=("replica",), live=_HANDED,
    ),
)  # fmt: skip
