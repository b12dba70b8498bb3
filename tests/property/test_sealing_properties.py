"""Properties of sealed bodies: a round trip for whatever is said, and no altered byte that is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.core import codec
from killswitch.core.messages import Query
from killswitch.live import frames
from killswitch.live.pki import Pki, sealing_file
from killswitch.live.sealing import ENVELOPE, Sealing, Seals, Unopened

SIDECAR, REPLICA = "sidecar/acme/1", "replica/1"
SECRET = "what-nobody-else-reads"
NODES = (REPLICA, "replica/2", SIDECAR, "sidecar/globex/1", "sink/acme/ledger", "operator")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    Pki(directory, "test.example").issue(NODES)
    return directory


@pytest.fixture(scope="module")
def ends(folder: Path) -> tuple[Seals, Seals]:
    sidecar, replica = (Seals(Sealing(str(sealing_file(folder, node))), node) for node in (SIDECAR, REPLICA))
    return sidecar, replica


def said(text: str) -> bytes:
    return frames.message_payload(1, codec.encode(Query("acme/1", text), SIDECAR, REPLICA, "acme"))


@given(st.one_of(st.binary(max_size=2000).map(lambda content: frames.message_payload(7, content)), st.text(max_size=300).map(said)))
def test_whatever_is_said_is_opened_as_it_was(ends: tuple[Seals, Seals], payload: bytes) -> None:
    sidecar, replica = ends
    assert replica.open(SIDECAR, sidecar.seal(REPLICA, payload)) == payload
    assert sidecar.open(REPLICA, replica.seal(SIDECAR, payload)) == payload


@given(st.text(max_size=60), st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_no_byte_of_stamp_envelope_header_or_body_can_be_altered(ends: tuple[Seals, Seals], text: str, place: int, flip: int) -> None:
    sidecar, replica = ends
    spoilt = bytearray(sidecar.seal(REPLICA, said(text)))
    spoilt[place % len(spoilt)] ^= flip
    with pytest.raises(Unopened):
        replica.open(SIDECAR, bytes(spoilt))


@given(st.text(max_size=60), st.integers(min_value=0))
def test_nothing_can_be_cut_off_or_added(ends: tuple[Seals, Seals], text: str, place: int) -> None:
    sidecar, replica = ends
    sealed = sidecar.seal(REPLICA, said(text))
    for other in (sealed[: place % len(sealed)], sealed + b"\0"):
        with pytest.raises(Unopened):
            replica.open(SIDECAR, other)


@given(st.binary(max_size=400))
def test_bytes_that_nobody_sealed_are_refused_and_never_raise_anything_else(ends: tuple[Seals, Seals], raw: bytes) -> None:
    with pytest.raises(Unopened):
        ends[1].open(SIDECAR, raw)


def test_the_header_can_be_read_by_who_passes_it_on_and_the_body_cannot(ends: tuple[Seals, Seals]) -> None:
    sealed = ends[0].seal(REPLICA, said(SECRET))
    assert sealed[ENVELOPE.size :].startswith(said("")[frames.STAMP.size :][:40])
    assert SIDECAR.encode() in sealed and SECRET.encode() in said(SECRET) and SECRET.encode() not in sealed


def test_the_same_words_are_never_sealed_under_the_same_nonce(ends: tuple[Seals, Seals]) -> None:
    envelopes = [ENVELOPE.unpack_from(ends[0].seal(REPLICA, said("again"))) for _ in range(5000)]
    assert len({nonce for _, _, nonce, _ in envelopes}) == 5000
    assert len({key for _, key, _, _ in envelopes}) == 1
