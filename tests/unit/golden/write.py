"""Writes golden vectors: frames as each version puts them on the wire, kept for ever (protocol 3.3, V6).

``python tests/unit/golden/write.py`` adds a vector for each message type that has none yet, and changes no vector that is there: a
frame that was once sent must be readable for ever. ``later.json`` holds what a later version might send to this one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, inspect

from killswitch.core import codec
from killswitch.core.bundles import Decision
from killswitch.core.messages import Order, OrderBody
from killswitch.core.scopes import Scope

HERE = Path(__file__).parent
CURRENT = HERE / f"v{codec.MAJOR}.{codec.MINOR}.json"
LATER = HERE / "later.json"
SENDER, RECEIVER, TENANT = "replica/1", "sidecar/acme/1", "acme"


def sample(kind: type[Struct]) -> Struct:
    """One message of ``kind`` with every field filled, the same each time."""
    if kind is Order:
        return soft_order()
    fields = msgspec.structs.fields(kind)
    return kind(*(_value(inspect.type_info(field.type), field.name) for field in fields))


def soft_order() -> Order:
    decision = Decision(3, "ab" * 32, "cd" * 32, ("operators-stop",))
    body = OrderBody(TENANT, Scope("agent", "acme/1"), 1, 1, 30_000_000_000, "alice", "0f" * 16, "runaway spend", decision=decision)
    return Order(codec.pack(body), SENDER, bytes(range(64)))


def _value(kind: inspect.Type, name: str) -> Any:
    match kind:
        case inspect.BoolType():
            return True
        case inspect.IntType():
            return 1 + len(name)
        case inspect.StrType():
            return f"{name}-é"
        case inspect.BytesType():
            return name.encode() + b"\0\xff"
        case inspect.VarTupleType():
            return (_value(kind.item_type, name), _value(kind.item_type, f"{name}2"))
        case inspect.UnionType():
            return _value(kind.types[0], name)
        case inspect.StructType():
            return sample(kind.cls)
    raise TypeError(f"no sample for {name}: {kind}; add a case to {__file__}")


def vectors() -> dict[str, dict[str, Any]]:
    """{message type: {message, frame in hex}} for every type of this version."""
    result = {}
    for name, kind in codec.WIRE_TYPES.items():
        message: Any = sample(kind)
        frame = codec.encode(message, SENDER, RECEIVER, TENANT)
        result[name] = {"message": msgspec.to_builtins(message), "frame": frame.hex()}
    return result


def later_vectors() -> dict[str, dict[str, Any]]:
    """{case: {frame in hex, expect}}: hand-made frames of versions that do not exist yet. ``expect`` is a type, ``refused``, or [gate, life]."""
    order, lease = codec.pack(soft_order()), codec.pack(sample(codec.WIRE_TYPES["LeaseReply"]))
    hard_gate = {**_map(soft_order().raw), "gate": 7, "life": 9, "cause": ["x"]}
    unknown_severity = codec.pack(Order(msgspec.msgpack.encode(hard_gate), SENDER, b""))
    return {
        "V1 later minor and unknown fields, order": _later("Order", {**_map(order), "urgency": [1, {"why": None}]}, "Order", minor=9),
        "V1 later minor and unknown fields, permission": _later("LeaseReply", {**_map(lease), "zone": "eu"}, "LeaseReply", minor=9),
        "V1 unknown header field": _later("Order", _map(order), "Order", traceparent="00-1"),
        "V2 unknown major, permission": _later("LeaseReply", _map(lease), "refused", major=2),
        "V2 unknown critical field, permission": _later("LeaseReply", _map(lease), "refused", crit=["cosigned"]),
        "V2 unknown type": _later("Amnesty", {"all": True}, "refused"),
        "V3 unknown major, order": _later("Order", {"v2": b"\1"}, [2, 2], major=2, sev_floor=[2, 2]),
        "V3 unknown major, order without a floor": _later("Order", {"v2": b"\1"}, [2, 0], major=2),
        "V3 unknown major, soft order": _later("Order", {"v2": b"\1"}, [2, 1], major=2, sev_floor=[1, 1]),
        "V3 unknown critical field, push": _later("OrderPush", {"orders": [], "certificates": []}, [2, 1], crit=["x"], sev_floor=[1, 1]),
        "V3 unknown type with a floor": _later("Recall", {"all": True}, [2, 2], sev_floor=[2, 2]),
        "V3 order whose body is of another form": _later("Order", {"raw": 5}, [2, 1], sev_floor=[2, 1]),
        "V4 unknown severity in a floor": _later("Order", {}, [2, 2], major=2, sev_floor=[9, 9]),
        "V4 unknown severity in an order": _later("Order", _map(unknown_severity), "Order", sev_floor=[7, 9]),
    }


def _later(kind: str, body: dict[str, Any], expect: object, **header: Any) -> dict[str, Any]:
    frozen = {"magic": "KSP", "major": 1, "minor": 0, "type": kind, "tenant": TENANT, "from": SENDER, "to": RECEIVER, "msg_id": "m1"}
    frame = msgspec.msgpack.encode({**frozen, "sev_floor": [0, 0], "crit": [], **header}) + msgspec.msgpack.encode(body)
    return {"expect": expect, "frame": frame.hex()}


def _map(raw: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.msgpack.decode(raw)
    return decoded


def add_missing(path: Path, fresh: dict[str, dict[str, Any]]) -> list[str]:
    """Add to the file what it does not have; returns the names added."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    missing = {name: vector for name, vector in fresh.items() if name not in kept}
    path.write_text(json.dumps(kept | missing, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    return sorted(missing)


if __name__ == "__main__":
    for target, made in ((CURRENT, vectors()), (LATER, later_vectors())):
        print(f"{target.name}: added {', '.join(add_missing(target, made)) or 'nothing'}")
