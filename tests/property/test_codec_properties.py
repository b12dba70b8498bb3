"""Properties of the wire format: total on any bytes, a round trip for every message, and no change to a signed order goes unseen."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct, inspect

from killswitch.core import codec, keys
from killswitch.core.certificates import ResumeBody
from killswitch.core.messages import Order, OrderBody, UnknownProhibition
from tests.property import structures

INTEGERS = st.integers(min_value=-(2**63), max_value=2**64 - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)


def leaves(kind: inspect.Type, _name: str) -> st.SearchStrategy[Any] | None:
    match kind:
        case inspect.IntType():
            return INTEGERS
        case inspect.StrType():
            return TEXT
        case inspect.BytesType():
            return st.binary(max_size=40)
    return None


def messages(kind: type[Struct]) -> st.SearchStrategy[Any]:
    return structures.built(kind, leaves)


ANY_MESSAGE = st.sampled_from(sorted(codec.WIRE_TYPES)).flatmap(lambda name: messages(codec.WIRE_TYPES[name]))
PLAIN = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXT | st.binary(max_size=9) | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT | st.integers(0, 9), inner, max_size=4),
    max_leaves=12,
)


def is_plain(value: Any) -> bool:
    """Whether a value holds no floats and no keys but strings: what the project puts on the wire."""
    if isinstance(value, float):
        return False
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(each) for key, each in value.items())
    return all(map(is_plain, value)) if isinstance(value, list) else True


HEADERS = st.fixed_dictionaries(
    {"magic": st.just("KSP"), "major": st.integers(0, 3), "minor": INTEGERS, "type": st.sampled_from([*codec.WIRE_TYPES, "Recall"]), "tenant": TEXT,
     "from": TEXT, "to": TEXT, "msg_id": TEXT, "sev_floor": st.tuples(INTEGERS, INTEGERS), "crit": st.lists(TEXT, max_size=1)},
    optional={"extra": PLAIN.filter(is_plain)},
)  # fmt: skip


def understood(answer: codec.Envelope | codec.Refusal) -> codec.Envelope:
    assert isinstance(answer, codec.Envelope), answer
    return answer


@given(st.binary(max_size=200))
def test_any_bytes_give_an_answer(raw: bytes) -> None:
    assert isinstance(codec.decode(raw), codec.Envelope | codec.Refusal)
    assert codec.unpack(raw, OrderBody) is None or isinstance(codec.unpack(raw, OrderBody), OrderBody)
    end = codec.scan(raw)
    assert isinstance(end, codec.Malformed) or 0 < end <= len(raw)


@given(PLAIN)
def test_scan_passes_exactly_what_it_promises(value: Any) -> None:
    raw = msgspec.msgpack.encode(value)
    end = codec.scan(raw)
    if is_plain(value):
        assert end == len(raw)
    else:
        assert end in (codec.Malformed.FORBIDDEN_TYPE, codec.Malformed.KEY_NOT_A_STRING)


@given(HEADERS, PLAIN | ANY_MESSAGE)
def test_a_prohibition_never_gets_lost(header: dict[str, Any], body: Any) -> None:
    """Whatever the body and version: what a header says must stop, stops."""
    answer = codec.decode(msgspec.msgpack.encode(header) + msgspec.msgpack.encode(body))
    if header["type"] in ("Order", "OrderPush") or any(header["sev_floor"]):
        message = understood(answer).message
        if isinstance(message, UnknownProhibition):
            assert (message.gate, message.life) == (2, codec.clamp_life(header["sev_floor"][1]))
    if isinstance(answer, codec.Envelope) and not isinstance(answer.message, UnknownProhibition):
        assert (header["major"], header["crit"]) == (codec.MAJOR, []), "and what this version cannot know it does not claim to have read"


@given(ANY_MESSAGE, TEXT, TEXT, TEXT)
@settings(max_examples=300)
def test_every_message_survives_the_wire(message: Any, sender: str, to: str, tenant: str) -> None:
    frame = codec.encode(message, sender, to, tenant)
    envelope = understood(codec.decode(frame))
    assert envelope.message == message
    assert (envelope.header.sender, envelope.header.to, envelope.header.tenant) == (sender, to, tenant)
    assert codec.encode(envelope.message, sender, to, tenant) == frame


@given(ANY_MESSAGE, st.data())
def test_a_damaged_frame_gives_an_answer(message: Any, data: st.DataObject) -> None:
    frame = bytearray(codec.encode(message, "replica/1", "sidecar/acme/1", "acme"))
    frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    assert isinstance(codec.decode(bytes(frame)), codec.Envelope | codec.Refusal)


@pytest.mark.parametrize("kind", [OrderBody, ResumeBody])
@given(data=st.data())
def test_signed_bodies_survive(kind: type[Struct], data: st.DataObject) -> None:
    body = data.draw(messages(kind))
    assert codec.unpack(codec.pack(body), kind) == body


PRIVATE, PUBLIC = keys.Ed25519.generate(["replica/1"])


@pytest.mark.parametrize("signer", [keys.KeyedHash(b"world"), keys.Ed25519(PRIVATE, PUBLIC)], ids=["keyed hash", "ed25519"])
@given(body=messages(OrderBody), data=st.data())
@settings(max_examples=50)
def test_any_changed_byte_of_a_signed_order_is_seen(signer: keys.Signer, body: OrderBody, data: st.DataObject) -> None:
    raw = codec.pack(body)
    order = Order(raw, "replica/1", signer.sign("replica/1", keys.ORDER, raw))
    assert signer.verify(order.signer, keys.ORDER, order.raw, order.signature)
    whole = bytearray(order.raw + order.signature)
    position = data.draw(st.integers(0, len(whole) - 1))
    whole[position] ^= data.draw(st.integers(1, 255))
    changed, signature = bytes(whole[: len(raw)]), bytes(whole[len(raw) :])
    assert not signer.verify(order.signer, keys.ORDER, changed, signature)
