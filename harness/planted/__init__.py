"""Planted bugs: realistic mistakes in the core, each found by the harness or shown in plain sight as not found.

Owns the collection: a family a subject, so that one knows where a bug lives. A bug replaces named functions of the core from outside; the core has
no `if` for any of them.
"""

from __future__ import annotations

from harness.planted import (
    authority,
    checkpoints,
    clients,
    clocks,
    controls,
    disks,
    durability,
    effects,
    federation,
    fences,
    leases,
    load,
    policies,
    prohibitions,
    proofs,
    records,
    recovery,
    requests,
    resumes,
    starts,
    stops,
    transparency,
    trust,
    waits,
    work,
)  # fmt: skip
from harness.planted.bug import PlantedBug

FAMILIES = (
    leases.BUGS,
    waits.BUGS,
    stops.BUGS,
    starts.BUGS,
    prohibitions.BUGS,
    resumes.BUGS,
    fences.BUGS,
    effects.BUGS,
    work.BUGS,
    clients.BUGS,
    checkpoints.BUGS,
    durability.BUGS,
    disks.BUGS,
    recovery.BUGS,
    records.BUGS,
    requests.BUGS,
    proofs.BUGS,
    clocks.BUGS,
    authority.BUGS,
    trust.BUGS,
    policies.BUGS,
    transparency.BUGS,
    load.BUGS,
    federation.BUGS,
    controls.CONTROLS,
)


def _number(bug: PlantedBug) -> tuple[str, int, str]:
    """B28 before B28b before B103, and controls last."""
    return bug.name[0], int(bug.name.strip("BCb")), bug.name


COLLECTION: dict[str, PlantedBug] = {bug.name: bug for bug in sorted((bug for family in FAMILIES for bug in family), key=_number)}
