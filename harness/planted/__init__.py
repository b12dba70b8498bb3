"""Planted bugs: realistic mistakes in the core, each found by the harness or shown in plain sight as not found.

Owns the collection. A bug replaces named functions of the core from outside; the core has no `if` for any of them.
"""

from __future__ import annotations

from harness.planted import (
    clocks,
    controls,
    defences,
    disks,
    doubles,
    durability,
    federation,
    first_ten,
    gaps,
    leftovers,
    load,
    outwitted,
    overlooked,
    policies,
    resumes,
    strangers,
    transparency,
    trust,
    unnoticed,
    unseen,
    work,
)  # fmt: skip
from harness.planted.bug import PlantedBug

FAMILIES = (
    first_ten.BUGS,
    durability.BUGS,
    clocks.BUGS,
    transparency.BUGS,
    gaps.BUGS,
    load.BUGS,
    policies.BUGS,
    federation.BUGS,
    unnoticed.BUGS,
    doubles.BUGS,
    overlooked.BUGS,
    work.BUGS,
    trust.BUGS,
    disks.BUGS,
    unseen.BUGS,
    defences.BUGS,
    strangers.BUGS,
    leftovers.BUGS,
    resumes.BUGS,
    outwitted.BUGS,
    controls.CONTROLS,
)

COLLECTION: dict[str, PlantedBug] = {bug.name: bug for family in FAMILIES for bug in family}
