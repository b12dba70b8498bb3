"""The audit trail of a run that is over: what an auditor would find who had every log and every cosignature (S16, S17, L7).

Owns the facts ``log-verified`` and ``log-stamped``, made from the records that the nodes left and from nothing that a node says of itself.
Shared by both drivers. Must not know how a run was played, nor what is judged by these facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from killswitch.core import audit, audit_merge, merkle
from killswitch.core.events import Record

Heads = dict[str, dict[int, set[bytes]]]


def cosigned(logs: Mapping[str, Iterable[Record]]) -> Heads:
    """{writer: {size: roots}}: every head that a witness has on record as cosigned. Records that do not verify count for nothing."""
    heads: Heads = {}
    for records in logs.values():
        for record in records:
            if record.kind == audit.COSIG and audit.is_canonical(record.body):
                for origin, size, root, *_ in audit.content(record)["heads"]:
                    heads.setdefault(origin, {}).setdefault(size, set()).add(root)
    return heads


def verified(writer: str, records: Sequence[Record], heads: Heads, *, chain_ok: bool) -> dict[str, Any]:
    """The body of ``log-verified``: whether the log is what was cosigned of it. ``chain_ok``: whether its hash chain verifies."""
    shown = heads.get(writer, {})
    why = "" if chain_ok else "its hash chain does not verify"
    frontier = merkle.Frontier()
    for record in records if shown else ():
        frontier.append(merkle.leaf_hash(record.hash))
        roots = shown.get(frontier.size)
        if roots is not None and roots != {frontier.root()}:
            why = why or f"is not the log that was cosigned at size {frontier.size}"
    longest = max(shown, default=0)
    if longest > len(records):
        why = why or f"ends at {len(records)}, below the cosigned size {longest}"
    return {"writer": writer, "records": len(records), "cosigned": longest, "sound": not why, "why": why}


def stamped(writer: str, records: Sequence[Record], stamps: Sequence[int]) -> dict[str, Any]:
    """The body of ``log-stamped``: the stamps of a log, its own clock with the sequence numbers at which a boot began, what it refers to."""
    boots: list[int] = []
    name = None
    for record in records:
        if record.boot != name:
            boots.append(record.seq)
            name = record.boot
    references = [[each.seq, each.origin, each.size] for each in audit_merge.references(writer, records)]
    clocks = [record.clock_ns for record in records]
    return {"writer": writer, "stamps": list(stamps), "clocks": clocks, "boots": boots, "references": references}
