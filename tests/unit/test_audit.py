"""The hash chain: what it seals, what it tells apart, and how it goes on after a crash."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec
import pytest
from msgspec import Struct, structs

from killswitch.core import audit
from killswitch.core.events import Record


def log(length: int) -> list[Record]:
    chain = audit.Chain("boot-1")
    return [chain.append("ORDER_LEARNED", {"order": f"o{number}", "gate": 2}, 1000 + number).record for number in range(length)]


def problem(records: list[Record]) -> tuple[int, str]:
    answer = audit.verify(records)
    assert isinstance(answer, audit.Problem), answer
    return answer.index, answer.why


class TestSeal:
    def test_hash_is_as_documented(self) -> None:
        """Written out by hand: a reader of the log in another language has to come to the same bytes."""
        record = audit.seal(None, "K", 5, "b", {"z": 1, "a": b"\0"})
        assert record.body == b"\x82\xa1a\xc4\x01\x00\xa1z\x01"
        assert record.hash == sha256(bytes(32) + b"\x95\x01\xa1K\x05\xa1b" + b"\xc4\x09" + record.body).digest()

    def test_a_body_has_one_encoding(self) -> None:
        class Body(Struct):
            zone: str
            agent: str

        one = audit.seal(None, "K", 0, "b", {"zone": "z", "agent": "a"})
        assert audit.seal(None, "K", 0, "b", {"agent": "a", "zone": "z"}) == one
        assert audit.seal(None, "K", 0, "b", Body("z", "a")) == one
        assert audit.content(one) == {"agent": "a", "zone": "z"}

    def test_first_and_following(self) -> None:
        first, second = log(2)
        assert (first.seq, first.previous) == (1, audit.GENESIS)
        assert (second.seq, second.previous) == (2, first.hash)


class TestVerify:
    def test_counts_the_records_of_a_whole_log(self) -> None:
        assert audit.verify([]) == 0
        assert audit.verify(log(7)) == 7
        assert audit.verify(iter(log(7))) == 7

    @pytest.mark.parametrize("change", [
        {"kind": "ORDER_ISSUED"}, {"clock_ns": 0}, {"boot": "boot-2"}, {"body": audit.canonical({"order": "o9", "gate": 2})}, {"hash": bytes(32)},
    ])  # fmt: skip
    def test_a_changed_field_breaks_its_own_hash(self, change: dict[str, Any]) -> None:
        records = log(5)
        records[2] = structs.replace(records[2], **change)
        assert problem(records) == (2, "wrong hash")

    def test_a_record_sealed_anew_breaks_the_link_after_it(self) -> None:
        records = log(5)
        records[2] = audit.seal(records[1], "ORDER_LEARNED", 1002, "boot-1", {"order": "o2", "gate": 0})
        assert problem(records) == (3, "broken link")

    def test_gaps_swaps_doubles_and_cut_heads(self) -> None:
        whole = log(5)
        assert problem([*whole[:2], *whole[3:]]) == (2, "sequence gap")
        assert problem([whole[0], whole[2], whole[1], *whole[3:]]) == (1, "sequence gap")
        assert problem([*whole[:3], whole[2], *whole[3:]]) == (3, "sequence gap")
        assert problem(whole[1:]) == (0, "sequence gap")

    def test_two_logs_do_not_splice(self) -> None:
        other = audit.Chain("boot-9")
        foreign = [other.append("X", {}, 0).record for _ in range(5)]
        assert problem([*log(5)[:3], *foreign[3:]]) == (3, "broken link")

    @pytest.mark.parametrize("body", [b"", b"\xc1", b"\x01", b"\x82\xa1z\x01\xa1a\x01", b"\x81\xa1a\xd9\x01x", b"\x80\x80"])
    def test_a_well_sealed_body_must_still_be_canonical(self, body: bytes) -> None:
        record = Record(1, audit.GENESIS, "K", 0, "b", body, audit.record_hash(audit.GENESIS, 1, "K", 0, "b", body))
        assert problem([record]) == (0, "undecodable body")

    def test_a_cut_tail_verifies(self) -> None:
        """The limit of a chain alone, on purpose in the open: only a signed head kept elsewhere shows it."""
        assert audit.verify(log(5)[:3]) == 3


class TestChain:
    def test_counts_what_is_pending(self) -> None:
        chain = audit.Chain("b")
        assert (chain.seq, chain.head, chain.pending) == (0, audit.GENESIS, 0)
        first, second = chain.append("A", {}, 1).record, chain.append("B", {}, 2).record
        assert (chain.seq, chain.head, chain.pending) == (2, second.hash, 2)
        chain.made_durable(first.seq)
        assert (chain.durable, chain.pending) == (1, 1)
        chain.made_durable(0)
        assert chain.durable == 1, "late news"
        chain.made_durable(99)
        assert (chain.durable, chain.pending) == (2, 0), "never more than there is"


class TestRecover:
    def test_goes_on_where_it_was(self) -> None:
        before = log(3)
        recovery = audit.recover(before, "boot-2")
        assert (recovery.records, recovery.problem) == (tuple(before), None)
        assert (recovery.chain.durable, recovery.chain.pending) == (3, 0)
        after = recovery.chain.append("BOOT", {}, 5).record
        assert after.boot == "boot-2"
        assert audit.verify([*before, after]) == 4

    def test_from_nothing(self) -> None:
        recovery = audit.recover((), "b")
        assert (recovery.records, recovery.problem, recovery.chain.head) == ((), None, audit.GENESIS)

    def test_keeps_what_verifies_and_says_what_does_not(self) -> None:
        records = log(5)
        records[3] = structs.replace(records[3], body=b"\x80")
        recovery = audit.recover(records, "boot-2")
        assert recovery.records == tuple(records[:3])
        assert recovery.problem == audit.Problem(3, "wrong hash")
        assert recovery.chain.head == records[2].hash

    def test_records_survive_their_own_encoding(self) -> None:
        stored = [msgspec.msgpack.encode(record) for record in log(4)]
        assert audit.verify(msgspec.msgpack.decode(raw, type=Record) for raw in stored) == 4


class TestReadable:
    def test_a_log_on_disk_reads_back_and_a_torn_end_is_cut(self) -> None:
        records = log(4)
        rows = [audit.written(record) for record in records]
        assert audit.readable(rows) == (tuple(records), 0)
        assert audit.readable([*rows[:3], rows[3][:9]]) == (tuple(records[:3]), 9)
        assert audit.readable([]) == ((), 0)

    def test_behind_a_hole_nothing_is_believed_whole_or_not(self) -> None:
        records = log(4)
        rows = [audit.written(record) for record in records]
        assert audit.readable([rows[0], rows[2], rows[3]]) == (tuple(records[:1]), len(rows[2]) + len(rows[3]))
        assert audit.readable([rows[0], b"", rows[2]])[0] == tuple(records[:1])

    @pytest.mark.parametrize("lsn", [1, 2, 3])
    def test_no_flipped_bit_is_believed(self, lsn: int) -> None:
        records = log(3)
        rows = [audit.written(record) for record in records]
        for at in range(len(rows[lsn - 1])):
            for bit in range(8):
                flipped = bytearray(rows[lsn - 1])
                flipped[at] ^= 1 << bit
                believed, rest = audit.readable([*rows[: lsn - 1], bytes(flipped), *rows[lsn:]])
                assert believed == tuple(records[: lsn - 1]), (at, bit)
                assert rest
