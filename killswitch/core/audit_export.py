"""What an auditor of one tenant is given, and how he checks it without trusting whoever gave it (protocol 5, S16).

Owns the export of a tenant's records with proofs, and its verification. Must not know files (the caller reads and writes them) nor how
logs came to be. `verify` is total: any export gives a `Report`, which names the first thing that is wrong.

An export holds, for every log that concerns the tenant, the hash of each record in order, the records that are the tenant's, and the heads
that witnesses cosigned, with an inclusion proof for each record under the last of them. Of other tenants' records there is the hash
alone. A hash hides content only as far as it cannot be guessed; what must not be guessed at has to be blinded before it is logged.

|What was done to the logs|What shows it|
|---|---|
|a record edited|its hash, and every hash and root after it|
|one deleted, added, or two swapped|sequence numbers, links, roots|
|the end cut off below a cosigned size|the cosigned head is longer than the log|
|the end cut off with the heads over it|what other logs of the export claim of it (`audit_claims`)|
|a log left out whole|whoever verifies says which logs there have to be|
|everything rewritten, hashes and all|the roots that witnesses cosigned, and nothing where none did: `Standing` says where|
|two logs shown to two people|two cosigned heads of one size, or a root that fits only one of them|

What no proof can show: that a record of a replica which is shown as a bare hash, and of which no other log speaks, is not the tenant's; and that
an end was cut off, or written anew, which nobody cosigned and no other log of the export speaks of. The logs of a tenant's own sidecars, agents and
sinks have to be shown whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec
from msgspec import Struct

from killswitch.core.certificates import ResumeBody
from killswitch.core.heads import Cosignature, Sth
from killswitch.core import audit, audit_claims, codec, intent, merkle, transparency, unreadable
from killswitch.core.audit_claims import Claim
from killswitch.core.events import Record
from killswitch.core.keys import Signer
from killswitch.core.messages import OrderBody

SCHEMA: Final = "ksp/audit-export/1"
TOLD_MAX: Final = 20


class LogExport(Struct, frozen=True):
    """One log. ``hashes``: of all its records. ``heads``: notes (`transparency.write_note`), shortest first. ``proofs``: for each of
    ``records`` its inclusion in the last head, empty for one after it."""

    writer: str
    hashes: tuple[bytes, ...]
    records: tuple[Record, ...]
    proofs: tuple[tuple[bytes, ...], ...]
    heads: tuple[str, ...]


class Export(Struct, frozen=True):
    """What ``tenant``'s auditor is given: ``logs`` by writer."""

    schema: str
    tenant: str
    logs: tuple[LogExport, ...]


class Standing(Struct, frozen=True):
    """How sure the records of one log are. ``cosigned``: so many lie under a head that its writer signed and a witness cosigned; ``chained``: so many
    after it have the log's own chain of hashes alone, which whoever writes the log anew makes anew. ``shown``: as records; the rest are hashes."""

    cosigned: int
    chained: int
    shown: int


class Report(Struct, frozen=True):
    """``problem`` is empty for an export that verifies, else one of edited, deleted, reordered, truncated, forked, unproven, foreign, incomplete,
    malformed, or `NOTHING`; ``writer`` and ``seq`` (0: the log as a whole) say where, ``why`` in words.

    ``records``: how many are shown; ``covered``: {writer: largest cosigned size}; ``standings``: {writer: how sure his log is}, of an export that
    verifies; ``unseen``: logs that others speak of, and nobody asked for.
    """

    problem: str = ""
    writer: str = ""
    seq: int = 0
    why: str = ""
    records: int = 0
    covered: dict[str, int] = {}
    standings: dict[str, Standing] = {}
    unseen: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        return not self.problem

    @property
    def unvouched(self) -> tuple[str, ...]:
        """The logs that witnesses cosign and none has: whoever cut or rewrote one of them, heads and all, would show exactly this."""
        return tuple(writer for writer, log in self.standings.items() if writer.startswith(WITNESSED) and not log.cosigned and log.chained)

    @property
    def verdict(self) -> str:
        """``valid``, ``invalid``, or ``unknown`` where there was nothing to check, or a log has nobody's word but its writer's."""
        if not self.sound:
            return "unknown" if self.problem == NOTHING else "invalid"
        return "valid" if any(log.cosigned for log in self.standings.values()) and not self.unvouched else "unknown"

    def words(self, place: str) -> str:
        """The report for people, verdict first. ``place``: the file."""
        if not self.sound:
            where = ": ".join(part for part in (self.writer or place, f"record {self.seq}" if self.seq else "") if part)
            return f"{self.verdict}: {where}: {self.problem}: {self.why}"
        under = sum(bool(each.cosigned) for each in self.standings.values())
        count = len(self.standings)
        lines = [f"{self.verdict}: {self.records} records in {count} logs; {under} of the {count} logs are under cosigned heads"]
        lines += [f"  {writer}: {_standing(each)}" for writer, each in self.standings.items()]
        chained = sum(each.chained for each in self.standings.values())
        bare = sum(each.cosigned + each.chained - each.shown for each in self.standings.values())
        if chained:
            lines.append(
                f"by their chain alone: {chained} in all, for which no witness vouches: an edit shows; a log written anew from there on, hashes "
                "and all, does not, nor does a cut, unless another log speaks of what is gone"
            )
        if bare:
            lines.append(f"as a hash alone: {bare} in all, of other tenants or withheld")
        if self.unseen:
            lines.append(f"spoken of, and not in this export: {', '.join(self.unseen)}")
        if self.verdict == "unknown":
            whose = ", ".join(self.unvouched) or "any of these logs"
            lines.append(f"no witness vouches for {whose}: cut or written anew as a whole, it would look the same; export again, a lease later")
        lines.append("that nothing was withheld, no proof can show")
        return "\n".join(lines)


def _standing(log: Standing) -> str:
    size = log.cosigned + log.chained
    parts = [
        f"1 to {log.cosigned} under a cosigned head" if log.cosigned else "",
        f"{log.cosigned + 1} to {size} by their chain alone" if log.chained else "",
    ]
    hidden = size - log.shown
    return (", ".join(part for part in parts if part) or "empty") + (f"; {hidden} of them as a hash alone" if hidden else "")


NOTHING: Final = "empty"
WITNESSED: Final = ("replica/", "sidecar/")  # whose logs witnesses cosign: in an export as it is made, each has a head (`publication`)


# -- whose a record is -------------------------------------------------------------------------------------------------------------------

WHATEVER: Final[Mapping[str, int]] = MappingProxyType({})
EVERYBODY: Final = ""  # what a log says of its own writer, and what concerns all tenants
NOBODY: Final = "*"  # what speaks of several tenants at once, or of none that can be told


def owners(writer: str, records: Sequence[Record]) -> list[str]:
    """For each record the tenant whose it is, `EVERYBODY` or `NOBODY`. What lies at a tenant's own node is that tenant's."""
    if not writer.startswith("replica/"):
        return [tenant_of(writer)] * len(records)
    orders: dict[str, str] = {}
    return [_owner(record, audit.content(record) if audit.is_canonical(record.body) else {}, orders) for record in records]


def tenant_of(node: str) -> str:
    """The tenant in ``sidecar/acme/1``; empty for a replica, which is everybody's."""
    parts = node.split("/")
    return parts[1] if len(parts) == 3 else EVERYBODY


def _owner(record: Record, body: dict[str, Any], orders: dict[str, str]) -> str:
    """``orders``: {order id: tenant} of those that came before it in the log; it is added to."""
    match record.kind, body:
        case "ORDER_ACCEPTED", {"raw": bytes() as raw}:
            return orders.setdefault(intent.content_id(raw), _addressee(codec.unpack(raw, OrderBody)))
        case "CERT_ACCEPTED", {"raw": bytes() as raw}:
            return _addressee(codec.unpack(raw, ResumeBody))
        case _, {"tenant": str() as tenant} | {"agent": str() as tenant}:
            return tenant.partition("/")[0]
        case _, {"order": str() as order_id}:
            return orders.get(order_id, NOBODY)
        case "COSIG", {"heads": list() as heads}:
            return _shared(tenant_of(head[0]) for head in heads)
        case "FORK_PROOF", {"first": [str() as origin, *_]}:
            return tenant_of(origin)
    return EVERYBODY if record.kind in ("BOOT", "RECOVERED") else NOBODY


def _addressee(body: OrderBody | ResumeBody | None) -> str:
    if body is None:
        return NOBODY
    return EVERYBODY if body.scope.kind == "global" else body.tenant


def _shared(tenants: Iterable[str]) -> str:
    """The one tenant among them, `EVERYBODY` if there is none, `NOBODY` if there are several."""
    found = sorted(set(tenants) - {EVERYBODY})
    return NOBODY if len(found) > 1 else found[0] if found else EVERYBODY


# -- exporting ---------------------------------------------------------------------------------------------------------------------------


def export(logs: Mapping[str, Sequence[Record]], tenant: str, heads: Mapping[str, Sequence[str]] | None = None) -> Export:
    """The tenant's part of ``logs``: of every replica's log the tenant's records, of its own nodes' logs all. Cosigned heads are taken from
    the records of whoever cosigned them, if they are not given: {writer: notes, shortest first}."""
    heads = cosigned_heads(logs.values()) if heads is None else heads
    chosen = [writer for writer in sorted(logs) if tenant_of(writer) in (EVERYBODY, tenant)]
    return Export(SCHEMA, tenant, tuple(_export_log(writer, logs[writer], tenant, heads.get(writer, ())) for writer in chosen))


def _export_log(writer: str, records: Sequence[Record], tenant: str, heads: Sequence[str]) -> LogExport:
    visible = tuple(record for record, owner in zip(records, owners(writer, records), strict=True) if owner in (EVERYBODY, tenant))
    tree = merkle.Tree(merkle.leaf_hash(record.hash) for record in records)
    last = transparency.read_note(heads[-1]) if heads else None
    covered = min(last[0].size, tree.size) if last is not None else 0
    proofs = tuple(tree.inclusion(record.seq - 1, covered) if record.seq <= covered else () for record in visible)
    return LogExport(writer, tuple(record.hash for record in records), visible, proofs, tuple(heads))


def cosigned_heads(logs: Iterable[Iterable[Record]]) -> dict[str, tuple[str, ...]]:
    """{writer: notes of its cosigned heads, shortest first}, from the COSIG records of ``logs``. Two notes of one size are a fork, shown as it is."""
    found: dict[str, dict[Sth, set[Cosignature]]] = {}
    for witness, heads in _cosignatures(logs):
        for *head, signature in heads:
            sth = Sth(*head)
            found.setdefault(sth.origin, {}).setdefault(sth, set()).add(Cosignature(sth, witness, signature))
    return {
        origin: tuple(transparency.write_note(head, signed) for head, signed in sorted(notes.items(), key=lambda item: (item[0].size, item[0].root)))
        for origin, notes in found.items()
    }


def _cosignatures(logs: Iterable[Iterable[Record]]) -> Iterator[tuple[str, list[Any]]]:
    for records in logs:
        for record in records:
            if record.kind == audit.COSIG and audit.is_canonical(record.body):
                body = audit.content(record)
                yield body["witness"], body["heads"]


# -- verifying ---------------------------------------------------------------------------------------------------------------------------


def read(content: bytes) -> Export:
    """An export from the bytes of its file. Raises `ValueError` saying why it is none, or which of its keys stand there twice or
    say what nobody checks."""
    try:
        exported = msgspec.json.decode(content, type=Export)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(unreadable.why(content, error)) from error
    if twice := unreadable.repeated(content):
        raise ValueError("; ".join(twice[:TOLD_MAX]))
    if exported.schema == SCHEMA and (unknown := list(_unknown(content))):
        raise ValueError(f"{'; '.join(unknown[:TOLD_MAX])}: no {SCHEMA} has that, and what it says is not checked; take it out, or export again")
    return exported


def _unknown(content: bytes) -> Iterator[str]:
    """What stands in an export and has no place in its form, each as ``field: problem``. A form that holds more has another number."""
    document = msgspec.json.decode(content)
    yield from (f"{key}: unknown key" for key in document if key not in Export.__struct_fields__)
    for number, log in enumerate(document["logs"]):
        yield from (f"logs[{number}].{key}: unknown key" for key in log if key not in LogExport.__struct_fields__)
        long = (index for index, record in enumerate(log["records"]) if len(record) > len(Record.__struct_fields__))
        yield from (f"logs[{number}].records[{index}]: more values than a record has" for index in long)


class _Wrong(Exception):
    """The first problem of a log; carried to the one place that turns it into a `Report`."""

    def __init__(self, problem: str, seq: int, why: str) -> None:
        super().__init__(why)
        self.problem, self.seq = problem, seq


def verify(exported: Export, signer: Signer, witnesses: Collection[str], expected: Mapping[str, int], whole: Mapping[str, int] = WHATEVER) -> Report:
    """Check everything that an export claims, with public keys (``signer``) and the names of those who may cosign. Total.

    ``expected``: {writer: how many records his log has at the least}, of those whose logs have to be in it as far as they concern the tenant; have
    this from somebody else than the export. ``whole``: {writer: how many it has at the most}, of logs that are known to grow no more.
    """
    covered: dict[str, int] = {}
    records = 0
    logs = {log.writer: log for log in exported.logs}
    if exported.schema != SCHEMA or len(logs) != len(exported.logs):
        return Report("malformed", why=f"not one {SCHEMA} with each log once")
    if not any(log.hashes or log.records for log in exported.logs):
        return Report(NOTHING, why="no log in it has a record, so it shows nothing")
    for log in exported.logs:
        try:
            _check_records(log, exported.tenant)
            covered[log.writer] = _check_heads(log, signer, witnesses)
        except _Wrong as wrong:
            return Report(wrong.problem, log.writer, wrong.seq, str(wrong), records, covered)
        except (ValueError, TypeError, OverflowError, AttributeError) as error:  # a shape that no exporter makes
            return Report("malformed", log.writer, 0, f"cannot be read: {error}", records, covered)
        records += len(log.records)
    claims = [claim for log in exported.logs for claim in audit_claims.claims(log.writer, log.records, signer)]
    left_out = _left_out(exported, expected, claims)
    if left_out is not None:
        return left_out
    for writer, log in logs.items():
        try:
            about = [claim for claim in claims if claim.about == writer]
            _check_end(log, about, expected.get(writer, 0), whole.get(writer, len(log.hashes)))
            covered[writer] = max(covered[writer], *(claim.size for claim in about if claim.witness in witnesses and claim.witness != writer), 0)
        except _Wrong as wrong:
            return Report(wrong.problem, writer, wrong.seq, str(wrong), records, covered)
    unseen = tuple(sorted({claim.about for claim in claims} - set(logs)))
    standings = {writer: Standing(covered[writer], len(log.hashes) - covered[writer], len(log.records)) for writer, log in logs.items()}
    return Report(records=records, covered=covered, standings=standings, unseen=unseen)


def _left_out(exported: Export, expected: Iterable[str], claims: Sequence[Claim]) -> Report | None:
    """What is wrong with an export that lacks logs which have to be in it; None if none is missing."""
    shown = {log.writer for log in exported.logs if log.hashes}
    missing = sorted(writer for writer in expected if tenant_of(writer) in (EVERYBODY, exported.tenant) and writer not in shown)
    if not missing:
        return None
    proofs = {claim.about: claim for claim in reversed(claims)}
    named = ", ".join(f"{writer} (of which {proofs[writer].source} speaks)" if writer in proofs else writer for writer in missing)
    return Report("incomplete", missing[0], 0, f"nothing is in the export of {named}")


def _check_end(log: LogExport, claims: Sequence[Claim], least: int, most: int) -> None:
    """All that other logs prove of this one is so, and it is at least, and at the most, so long."""
    roots = _roots_at(log.hashes, {claim.size for claim in claims})
    held = audit_claims.marks(log.records)
    end = len(log.hashes)
    for claim in claims:
        if claim.size > end:
            raise _Wrong("truncated", end, f"the log ends at {end}, and {claim.source} is over {claim.size} records of it: its end was cut off")
        if claim.size and roots[claim.size] != claim.root:
            raise _Wrong("forked", claim.size, f"this is not the log of which {claim.source} is over the first {claim.size} records")
        if claim.mark and claim.mark not in held:
            kind = claim.mark.partition(" ")[0]
            withheld = "the record is withheld" if log.writer.startswith("replica/") else "there were two logs of that name"
            raise _Wrong(
                "truncated", end, f"the log ends at {end} without the {kind} that {claim.source} rests on: its end was cut off, or {withheld}"
            )
    if end < least:
        raise _Wrong("truncated", end, f"the log ends at {end}, and is known to have {least} records: its end was cut off")
    if end > most:
        raise _Wrong("extended", most + 1, f"the log ends at {end}, and is known to have {most} records: what is behind them was made up")


def _roots_at(hashes: Sequence[bytes], sizes: Collection[int]) -> dict[int, bytes]:
    """{size: root} of those ``sizes`` that a log of these record hashes has reached."""
    frontier = merkle.Frontier()
    roots = {}
    for entry in hashes:
        frontier.append(merkle.leaf_hash(entry))
        if frontier.size in sizes:
            roots[frontier.size] = frontier.root()
    return roots


def _check_records(log: LogExport, tenant: str) -> None:
    """Each record that is shown is the one whose hash stands in its place, and follows the hash before it."""
    if len(log.proofs) != len(log.records):
        raise _Wrong("malformed", 0, "there is not one proof for each record")
    if tenant_of(log.writer) not in (EVERYBODY, tenant):
        raise _Wrong("foreign", 0, f"the log of another tenant's node, {log.writer}")
    if len(set(log.hashes)) < len(log.hashes):
        raise _Wrong("extended", len(log.hashes), "two of its records have one hash, and each is over the one before: one of them was made up")
    before = 0
    for record in log.records:
        _check_record(log, record, before)
        before = record.seq
    if not log.writer.startswith("replica/") and len(log.records) != len(log.hashes):
        shown = {record.seq for record in log.records}
        missing = next(seq for seq in range(1, len(log.hashes) + 1) if seq not in shown)
        raise _Wrong("deleted", missing, f"record {missing} is not shown, though the whole log is the tenant's")
    for record, owner in zip(log.records, owners(log.writer, log.records), strict=True):
        if owner not in (EVERYBODY, tenant):
            whose = "several tenants or none" if owner == NOBODY else owner
            raise _Wrong("foreign", record.seq, f"record {record.seq} is of {whose}, and the export says that it is for {tenant}")


def _check_record(log: LogExport, record: Record, before: int) -> None:
    if record.seq <= before:
        raise _Wrong("reordered", record.seq, f"record {record.seq} stands after record {before}")
    if record.seq > len(log.hashes):
        raise _Wrong("truncated", record.seq, f"record {record.seq} lies beyond the {len(log.hashes)} hashes of its log")
    if record.hash != audit.record_hash(record.previous, record.seq, record.kind, record.clock_ns, record.boot, record.body):
        raise _Wrong("edited", record.seq, f"record {record.seq} does not have the hash that it claims")
    if not audit.is_canonical(record.body):
        raise _Wrong("edited", record.seq, f"the body of record {record.seq} is not in its one encoding")
    previous = log.hashes[record.seq - 2] if record.seq > 1 else audit.GENESIS
    if record.hash != log.hashes[record.seq - 1]:
        swapped = record.hash in log.hashes
        raise _Wrong("reordered" if swapped else "edited", record.seq, f"another hash stands in the place of record {record.seq}")
    if record.previous != previous:
        problem = "reordered" if record.previous in log.hashes else "deleted"
        raise _Wrong(problem, record.seq, f"record {record.seq} does not follow the one before it")


def _check_heads(log: LogExport, signer: Signer, witnesses: Collection[str]) -> int:
    """Every head is signed, cosigned, and of this very log; every record under the last has its proof. The largest cosigned size."""
    roots: dict[int, bytes] = {}
    for text in log.heads:
        head = _read_head(log, text, signer, witnesses)
        if roots.setdefault(head.size, head.root) != head.root:
            raise _Wrong("forked", head.size, f"{log.writer} signed two different heads of size {head.size}")
    for size, root in _roots_at(log.hashes, roots).items():
        if root != roots[size]:
            raise _Wrong("forked", size, f"this is not the log whose first {size} records were cosigned")
    covered = max(roots, default=0)
    if covered > len(log.hashes):
        raise _Wrong("truncated", len(log.hashes), f"the log ends at {len(log.hashes)}, and {covered} records of it were cosigned")
    for record, proof in zip(log.records, log.proofs, strict=True):
        if record.seq <= covered and not merkle.verify_inclusion(merkle.leaf_hash(record.hash), record.seq - 1, covered, proof, roots[covered]):
            raise _Wrong("unproven", record.seq, f"record {record.seq} is not proven to lie under the head of size {covered}")
    return covered


def _read_head(log: LogExport, text: str, signer: Signer, witnesses: Collection[str]) -> Sth:
    """The head of a note that its writer signed and an allowed witness, not the writer itself, cosigned."""
    found = transparency.read_note(text)
    if found is None or found[0].origin != log.writer or not transparency.believes_head(signer, found[0]):
        raise _Wrong("unproven", 0, f"a head is not one that {log.writer} signed")
    head, cosignatures = found
    if not cosignatures:
        raise _Wrong("unproven", head.size, f"nobody cosigned the head of size {head.size}")
    for cosignature in cosignatures:
        allowed = cosignature.witness in witnesses and cosignature.witness != log.writer
        if not allowed or not transparency.believes_cosignature(signer, cosignature):
            raise _Wrong("unproven", head.size, f"the head of size {head.size} bears a cosignature of {cosignature.witness} that does not hold")
    return head
