"""The audit trail of a run that is over: what an auditor would find who had every log and every cosignature (S16, S17, L7).

Owns the facts ``log-verified`` and ``log-stamped``, made from the records that the nodes left and from nothing that a node says of itself.
Shared by both drivers. Must not know how a run was played, nor what is judged by these facts.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from killswitch.core import audit, audit_merge, merkle
from killswitch.core.events import Record

Heads = dict[str, dict[str, list[tuple[int, bytes]]]]


def cosigned(logs: Mapping[str, Iterable[Record]]) -> Heads:
    """{writer: {witness: [(size, root)]}}: the heads that each witness has on record as cosigned, in the order in which it cosigned them. Records
    that do not verify count for nothing."""
    heads: Heads = {}
    for witness, records in logs.items():
        for record in records:
            if record.kind == audit.COSIG and audit.is_canonical(record.body):
                for origin, size, root, *_ in audit.content(record)["heads"]:
                    heads.setdefault(origin, {}).setdefault(witness, []).append((size, root))
    return heads


def verified(writer: str, records: Sequence[Record], heads: Heads, *, chain_ok: bool) -> dict[str, Any]:
    """The body of ``log-verified``: whether the log is what was cosigned of it. ``chain_ok``: whether its hash chain verifies."""
    by_witness = heads.get(writer, {})
    shown: dict[int, set[bytes]] = {}
    for size, root in (head for signed in by_witness.values() for head in signed):
        shown.setdefault(size, set()).add(root)
    why = "" if chain_ok else "its hash chain does not verify"
    frontier, borne_out = merkle.Frontier(), set()
    for record in records if shown else ():
        frontier.append(merkle.leaf_hash(record.hash))
        roots = shown.get(frontier.size)
        if roots is not None:
            borne_out.add((frontier.size, frontier.root()))
            if roots != {frontier.root()}:
                why = why or f"is not the log that was cosigned at size {frontier.size}"
    longest = max(shown, default=0)
    if longest > len(records):
        why = why or f"ends at {len(records)}, below the cosigned size {longest}"
    returned = sorted(witness for witness, signed in by_witness.items() if _came_back(signed, borne_out))
    return {"writer": writer, "records": len(records), "cosigned": longest, "sound": not why, "why": why, "returned": returned}


def _came_back(signed: Sequence[tuple[int, bytes]], borne_out: Container[tuple[int, bytes]]) -> bool:
    """Whether a witness that had cosigned a head of another log cosigned one of this log later."""
    return any(head not in borne_out and later in borne_out for head, later in pairwise(signed))


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
