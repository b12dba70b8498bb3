"""Planted bugs of trust: keys that change, versions that differ, input that is hostile."""

from __future__ import annotations

from harness.planted.bug import PlantedBug
from killswitch.core import keys
from killswitch.core.keys import Keyset

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


BUGS = (
    PlantedBug("B70", "a revoked approver's approvals go on counting", {"keys:authorised": revocation_forgotten}, ("S13",),
               ("revoked-with-a-resume-in-flight",), "easy"),
    PlantedBug("B71", "an order whose key was revoked is refused by whoever hears of it later", {"keys:authorised": revocation_voids_orders},
               ("L1", "L10"), ("revoked-with-a-resume-in-flight", "keys-rotated-in-a-partition"), "easy"),
)  # fmt: skip
