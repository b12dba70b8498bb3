"""Small audit trails for tests: logs of replicas and sidecars of two tenants, witnessed by hand.

Owns a set of logs as kept runs have them, with every kind of record that the export tells apart. Must not know what is tried on them.
"""

from __future__ import annotations

from collections.abc import Mapping

from killswitch.core import audit, codec, intent, merkle, transparency
from killswitch.core.certificates import ResumeBody
from killswitch.core.events import Record
from killswitch.core.heads import Sth
from killswitch.core.keys import KeyedHash
from killswitch.core.messages import OrderBody
from killswitch.core.publication import head_parts
from killswitch.core.scopes import Scope

SIGNER = KeyedHash(b"trails")
WITNESSES = ("replica/1", "replica/2", "replica/3")
WRITERS = ("replica/1", "replica/2", "sidecar/acme/1", "sidecar/acme/2", "sidecar/globex/1")


class Log:
    """A log under construction."""

    def __init__(self, writer: str) -> None:
        self.writer = writer
        self.chain = audit.Chain("boot-1")
        self.records: list[Record] = []

    def add(self, kind: str, body: Mapping[str, object]) -> Log:
        self.records.append(self.chain.append(kind, body, 1000 * (self.chain.seq + 1)).record)
        return self

    def head(self, size: int | None = None) -> Sth:
        tree = merkle.Tree(merkle.leaf_hash(record.hash) for record in self.records)
        size = tree.size if size is None else size
        return transparency.sign_head(SIGNER, self.writer, size, tree.root(size), 0)

    def cosign(self, *heads: Sth) -> Log:
        """Put it on record that this log's writer cosigned ``heads``."""
        cosignatures = [transparency.cosign(SIGNER, self.writer, head) for head in heads]
        parts = [[*head_parts(each.head), each.signature] for each in cosignatures]
        return self.add(audit.COSIG, {"witness": self.writer, "heads": parts})


def order(tenant: str, kind: str = "tenant", reason: str = "test") -> bytes:
    return codec.pack(OrderBody(tenant, Scope(kind, tenant if kind == "tenant" else ""), 2, 2, 0, "alice", f"n/{tenant}/{reason}", reason))


def resume(tenant: str, raw: bytes) -> bytes:
    return codec.pack(ResumeBody(tenant, Scope("tenant", tenant), (intent.content_id(raw),), 1, "over", "alice", f"r/{tenant}"))


def grown() -> dict[str, Log]:
    """Two replicas and three sidecars. Every log but replica/2's is cosigned by replica/2, at two sizes, with some records after the last head."""
    logs = {writer: Log(writer) for writer in WRITERS}
    first = logs["replica/1"].add("BOOT", {"instance": "1.1", "records": 0})
    for tenant in ("acme", "globex"):
        raw = order(tenant)
        first.add("ORDER_ACCEPTED", {"raw": raw, "signer": "replica/1", "signature": b"s"})
        first.add("DECISION", {"request": f"{tenant}-1", "principal": "alice", "allowed": True, "order": intent.content_id(raw)})
        first.add("ORDER_EFFECTIVE", {"order": intent.content_id(raw), "holders": ["replica/1", "replica/2"]})
        first.add("PROMISE", {"agent": f"{tenant}/1", "token": [1, 1, "a"]})
        first.add("CERT_ACCEPTED", {"raw": resume(tenant, raw), "approvals": []})
        first.add("DECISION", {"request": f"{tenant}-2", "tenant": tenant, "principal": "eve", "allowed": False, "why": []})
    first.add("ORDER_ACCEPTED", {"raw": order("globex", "global"), "signer": "replica/1", "signature": b"s"})
    for writer, log in logs.items():
        if writer.startswith("sidecar/"):
            log.add("BOOT", {"instance": "1.1", "records": 0}).add("GATE_CHANGE", {"gate": 0, "mode": "RUNNING", "token": [1, 1, "a"]})
            log.add("GATE_CHANGE", {"gate": 2, "mode": "STANDBY", "token": [1, 1, "a"]})
    witness = logs["replica/2"].add("BOOT", {"instance": "1.1", "records": 0})
    for tenant in ("acme", "globex"):
        witness.add("ORDER_ACCEPTED", {"raw": order(tenant), "signer": "replica/1", "signature": b"s"})
    early = [log.head(2) for writer, log in logs.items() if writer != "replica/2"]
    witness.cosign(*early[:1]).cosign(*early[1:])
    for log in logs.values():
        if log is not witness:
            log.add("BOOT", {"instance": "1.2", "records": len(log.records)})
            witness.cosign(log.head())
            log.add("BOOT", {"instance": "1.3", "records": len(log.records)})
    first.cosign(witness.head())
    return logs


def records(logs: Mapping[str, Log]) -> dict[str, list[Record]]:
    return {writer: log.records for writer, log in logs.items()}
