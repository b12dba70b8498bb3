"""The wire format: golden vectors of every version both ways, the version rules, the limits, and the strict scan."""

from __future__ import annotations

import importlib.util
import json
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest

from killswitch.core import codec
from killswitch.core.messages import Evidence, Gate, Life, Order, OrderBody, OrderPush, OrderRequest, StopRequest, Token, UnknownProhibition
from killswitch.core.scopes import Scope

GOLDEN = Path(__file__).parent / "golden"
VERSIONS: dict[int, dict[str, Any]] = {int(path.stem.partition(".")[2]): json.loads(path.read_text()) for path in sorted(GOLDEN.glob("v1.*.json"))}
VECTORS = [(minor, name) for minor, vectors in VERSIONS.items() for name in sorted(vectors)]
LATER: dict[str, Any] = json.loads((GOLDEN / "later.json").read_text())
SENDER, RECEIVER, TENANT = "replica/1", "sidecar/acme/1", "acme"


def order(gate: int, life: int) -> Order:
    body = OrderBody(TENANT, Scope("tenant", TENANT), gate, life, 0, "alice", "n1", "test")
    return Order(codec.pack(body), SENDER, b"signature")


def frame(body: bytes, kind: str = "StopRequest", **header: Any) -> bytes:
    frozen = {"magic": "KSP", "major": 1, "minor": 0, "type": kind, "tenant": TENANT, "from": SENDER, "to": RECEIVER, "msg_id": "m1"}
    return msgspec.msgpack.encode({**frozen, "sev_floor": [0, 0], "crit": [], **header}) + body


def refusal(raw: bytes) -> str:
    answer = codec.decode(raw)
    assert isinstance(answer, codec.Refusal), answer
    return answer.why


def enforced(raw: bytes) -> tuple[int, int]:
    answer = codec.decode(raw)
    assert isinstance(answer, codec.Envelope), answer
    assert isinstance(answer.message, UnknownProhibition), answer.message
    return answer.message.gate, answer.message.life


class TestGoldenVectors:
    def test_every_version_has_all_that_it_knew(self) -> None:
        assert sorted(VERSIONS) == list(range(codec.MINOR + 1)), "run: python tests/unit/golden/write.py"
        for minor, vectors in VERSIONS.items():
            assert sorted(vectors) == sorted(name for name in codec.WIRE_TYPES if codec.TYPES_SINCE.get(name, 0) <= minor)

    @pytest.mark.parametrize(("minor", "name"), VECTORS)
    def test_is_read_as_it_was_meant(self, minor: int, name: str) -> None:
        vector = VERSIONS[minor][name]
        answer = codec.decode(bytes.fromhex(vector["frame"]))
        assert isinstance(answer, codec.Envelope), answer
        assert answer.message == msgspec.convert(vector["message"], codec.WIRE_TYPES[name])
        assert (answer.header.sender, answer.header.to, answer.header.tenant) == (SENDER, RECEIVER, TENANT)

    @pytest.mark.parametrize(("minor", "name"), VECTORS)
    def test_is_written_as_it_was(self, minor: int, name: str) -> None:
        """Also for a peer of an earlier version, whose frames lack what was added since."""
        vector = VERSIONS[minor][name]
        message: Any = msgspec.convert(vector["message"], codec.WIRE_TYPES[name])
        assert codec.encode(message, SENDER, RECEIVER, TENANT, minor=minor).hex() == vector["frame"]

    @pytest.mark.parametrize("case", sorted(LATER))
    def test_of_a_later_version_is_read_by_the_rules(self, case: str) -> None:
        raw, expect = bytes.fromhex(LATER[case]["frame"]), LATER[case]["expect"]
        if expect == "refused":
            assert refusal(raw)
        elif isinstance(expect, list):
            assert enforced(raw) == tuple(expect)
        else:
            answer = codec.decode(raw)
            assert isinstance(answer, codec.Envelope), answer
            assert type(answer.message).__name__ == expect

    def test_the_writer_keeps_what_is_there(self, tmp_path: Path) -> None:
        spec = importlib.util.spec_from_file_location("golden_writer", GOLDEN / "write.py")
        assert spec is not None
        assert spec.loader is not None
        writer = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(writer)
        target = tmp_path / "v.json"
        target.write_text(json.dumps({"Order": {"frame": "old"}}))
        assert writer.add_missing(target, {"Order": {"frame": "new"}, "Fence": {"frame": "f"}}) == ["Fence"]
        assert json.loads(target.read_text()) == {"Order": {"frame": "old"}, "Fence": {"frame": "f"}}


class TestVersionRules:
    def test_v3_floor_never_opens_the_gate(self) -> None:
        assert enforced(frame(b"\x80", "Order", major=2, sev_floor=[1, 0])) == (Gate.CLOSED, Life.ALIVE)

    def test_v3_unread_bodies_of_prohibitions_are_still_enforced(self) -> None:
        whole = codec.encode(order(2, 2), SENDER, RECEIVER, TENANT)
        assert enforced(whole[:-1]) == (Gate.CLOSED, Life.KILL)
        assert enforced(whole + b"\0") == (Gate.CLOSED, Life.KILL)
        assert enforced(whole + bytes(codec.FRAME_LIMIT)) == (Gate.CLOSED, Life.KILL)

    def test_v4_numbers_outside_the_lattice_are_the_most_severe(self) -> None:
        assert [codec.clamp_gate(number) for number in (-1, 0, 1, 2, 3, 2**64)] == [2, 0, 1, 2, 2, 2]
        assert [codec.clamp_life(number) for number in (-1, 0, 1, 2, 3, 2**64)] == [2, 0, 1, 2, 2, 2]

    def test_floor_is_the_join_of_the_orders(self) -> None:
        assert codec.severity_floor(OrderPush((order(2, 0), order(1, 1)), ())) == (2, 1)
        assert codec.severity_floor(OrderPush((), ())) == (0, 0)
        assert codec.severity_floor(StopRequest(True)) == (0, 0)
        assert codec.severity_floor(Order(b"what", SENDER, b"")) == (2, 0)
        assert codec.severity_floor(OrderPush((order(2, 2), Order(b"what", SENDER, b""), order(1, 1)), ())) == (2, 2)

    def test_v5_a_peer_does_not_go_back(self) -> None:
        def header(minor: int, kind: str) -> codec.Header:
            return codec.Header("KSP", 1, minor, kind, TENANT, SENDER, RECEIVER, "", (0, 0), ())

        versions = codec.PeerVersions()
        assert versions.admits("replica/1", header(3, "LeaseReply"))
        assert not versions.admits("replica/1", header(2, "LeaseReply"))
        assert versions.admits("replica/1", header(2, "Order")), "a prohibition is enforced whatever its version"
        assert not versions.admits("replica/1", header(2, "LeaseReply")), "and does not lower what is remembered"
        assert versions.admits("replica/2", header(2, "LeaseReply")), "each peer for itself"
        versions.turn()
        assert versions.admits("replica/1", header(2, "LeaseReply"))


class TestRefusals:
    def test_an_unknown_prohibition_is_not_spoken(self) -> None:
        with pytest.raises(TypeError, match="cannot be sent"):
            codec.encode(UnknownProhibition(2, 2, SENDER, ""), SENDER, RECEIVER, TENANT)
        assert refusal(frame(b"\x80", "UnknownProhibition")) == "unknown type"

    def test_frames_over_the_limit_are_not_sent(self) -> None:
        with pytest.raises(ValueError, match="limit"):
            codec.encode(Order(bytes(codec.FRAME_LIMIT), SENDER, b""), SENDER, RECEIVER, TENANT)
        with pytest.raises(ValueError, match="limit"):
            codec.encode(StopRequest(True), SENDER, RECEIVER, "t" * codec.HEADER_LIMIT)

    @pytest.mark.parametrize(
        ("raw", "why"),
        [
            (b"", "header: truncated"),
            (b"\x80", "header: not of the frozen form"),
            (frame(b"\xc3")[:40], "header: truncated"),
            (frame(b"", magic="PSK"), "header: not of the frozen form"),
            (frame(b"", tenant="t" * 5000), "header: truncated"),
            (frame(b""), "body: truncated"),
            (frame(b"\x81\xa5drain\xc3\xc0"), "body: bytes after its end"),
            (frame(b"\x82\xa5drain\xc3\xa5drain\xc2"), "body: duplicate key"),
            (frame(b"\x82\xa5drain\xc3\xd9\x05drain\xc2"), "body: duplicate key"),
            (frame(b"\x82\xa5drain\xc3\xa1x\xcb" + struct.pack(">d", 1.0)), "body: forbidden type"),
            (frame(b"\x82\xa5drain\xc3\xa1x\xd4\x01\x00"), "body: forbidden type"),
            (frame(b"\x82\xa5drain\xc3\x01\xc0"), "body: key not a string"),
            (frame(b"\x82\xa5drain\xc3\xa1x" + b"\x91" * 100_000 + b"\xc0"), "body: too deep"),
            (frame(b"\x82\xa5drain\xc3\xa1x\xdd\xff\xff\xff\xff"), "body: truncated"),
            (frame(b"\x81\xa5drain\x01"), "body: not of the form of its type"),
            (frame(b"\x81\xa4type\xa5Order"), "body: not of the form of its type"),
            (frame(bytes(codec.FRAME_LIMIT)), "body: too large"),
        ],
    )
    def test_says_why(self, raw: bytes, why: str) -> None:
        assert refusal(raw) == why

    def test_a_body_of_one_type_is_not_read_as_another(self) -> None:
        """The body names its own type too: a frame whose header was exchanged for another's says nothing."""
        body = codec.pack(codec.WIRE_TYPES["GateNotice"](gate=0))
        assert refusal(frame(body, "StopRequest")) == "body: not of the form of its type"


class TestSignedBodies:
    BODY = OrderBody(TENANT, Scope("agent", "acme/1"), 1, 1, 5, "alice", "n1", "why")

    def test_round_trip_and_unknown_fields(self) -> None:
        raw = codec.pack(self.BODY)
        assert codec.unpack(raw, OrderBody) == self.BODY
        later = msgspec.msgpack.encode({**msgspec.msgpack.decode(raw), "urgency": 3})
        assert codec.unpack(later, OrderBody) == self.BODY

    @pytest.mark.parametrize("raw", [b"", b"\xc0", b"\x80", b"\xff" * 9, bytes(codec.SIGNED_LIMIT + 1), b"\x81\xa6tenant\xa1\xff"])
    def test_anything_else_is_none(self, raw: bytes) -> None:
        assert codec.unpack(raw, OrderBody) is None

    def test_no_bytes_after_the_end_and_no_second_reading(self) -> None:
        raw = codec.pack(self.BODY)
        assert codec.unpack(raw + b"\xc0", OrderBody) is None
        twice = bytes([raw[0] + 1]) + raw[1:] + b"\xa4gate\x00"
        assert msgspec.msgpack.decode(twice, type=OrderBody).gate == 0, "an ordinary reader takes the last of two"
        assert codec.unpack(twice, OrderBody) is None

    def test_unsigned_leaves_out_the_signature_alone(self) -> None:
        request = OrderRequest("r1", "alice", TENANT, Scope("tenant", TENANT), 2, 2, 0, "why")
        signed = msgspec.structs.replace(request, signature=b"s")
        assert codec.unsigned(signed) == codec.unsigned(request) != codec.unsigned(msgspec.structs.replace(request, gate=1))
        proof = Evidence("acme/1", Token(1, 1, "i"), "o", "DRAINING", 0, (), b"s")
        assert codec.unsigned(proof) == codec.pack(msgspec.structs.replace(proof, signature=b""))


class TestScan:
    def test_finds_the_end_of_every_kind_of_value(self) -> None:
        values: list[Any] = [0, -1, 127, -32, 200, 2**16, 2**32, 2**63, -(2**63), None, True, False, "", "x" * 300, b"", b"x" * 70_000]
        values += [[], list(range(20)), {}, {"a": {"b": [1, {"c": None}]}}, {str(n): n for n in range(70_000)}, ["x" * 40] * 70_000]
        for value in values:
            raw = msgspec.msgpack.encode(value)
            assert codec.scan(raw) == len(raw)
            assert codec.scan(raw + b"\xc1") == len(raw), "what follows is not its business"
            assert codec.scan(raw[:-1]) is codec.Malformed.TRUNCATED

    def test_depth_limit_is_exact(self) -> None:
        deepest = b"\x91" * codec.DEPTH_LIMIT + b"\xc0"
        assert codec.scan(deepest) == len(deepest)
        assert codec.scan(b"\x91" + deepest) is codec.Malformed.TOO_DEEP

    def test_the_same_key_in_different_maps_is_fine(self) -> None:
        raw = msgspec.msgpack.encode({"a": {"a": [{"a": 1}, {"a": 2}]}})
        assert codec.scan(raw) == len(raw)
