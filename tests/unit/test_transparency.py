"""Signed heads: their notes, what a witness makes of a notice, and what proves a fork."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import structs

from killswitch.core import merkle, transparency
from killswitch.core.heads import Cosignature, ForkProof, HeadNotice, Sth
from killswitch.core.keys import Ed25519, KeyedHash, Signer
from killswitch.core.merkle import Tree, leaf_hash
from killswitch.core.transparency import Answer

WRITER, WITNESS = "sidecar/acme/1", "replica/2"
LOG = Tree(leaf_hash(bytes([number])) for number in range(40))
OTHER = Tree(leaf_hash(bytes([number if number < 10 else 99])) for number in range(40))  # the same up to 10, and another from there


def ed25519() -> Signer:
    private = {name: bytes([number]) * 32 for number, name in enumerate((WRITER, WITNESS), start=1)}
    public = {
        name: Ed25519PrivateKey.from_private_bytes(raw).public_key().public_bytes_raw() for name, raw in private.items()
    }  # fmt: skip
    return Ed25519(private, public)


@pytest.fixture(params=["keyed hash", "ed25519"])
def signer(request: pytest.FixtureRequest) -> Signer:
    return KeyedHash(b"test") if request.param == "keyed hash" else ed25519()


def head(signer: Signer, size: int, tree: Tree = LOG, previous: int = 0) -> Sth:
    return transparency.sign_head(signer, WRITER, size, tree.root(size), previous)


def notice(signer: Signer, since: int, size: int, tree: Tree = LOG) -> HeadNotice:
    return transparency.sign_notice(signer, head(signer, size, tree), since, tree.consistency(since, size))


class TestNotes:
    def test_a_note_is_what_it_was(self) -> None:
        """The text is signed: a note of today must mean the same tomorrow."""
        assert transparency.note(Sth(WRITER, 17, bytes(range(32)), 12)) == (
            "ksp/1/sidecar/acme/1\n17 12\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
        )

    def test_what_is_written_is_read(self, signer: Signer) -> None:
        signed = head(signer, 17, previous=12)
        cosigned = (transparency.cosign(signer, WITNESS, signed),)
        assert transparency.read_note(transparency.write_note(signed, cosigned)) == (signed, cosigned)
        assert transparency.read_note(transparency.write_note(signed)) == (signed, ())

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("ksp/1/", "ksp/2/"), ("\n17 12\n", "\n017 12\n"), ("\n17 12\n", "\n+17 12\n"), ("\n17 12\n", "\n17 18\n"), ("\n17 12\n", "\n17\n"),
            ("\n17 12\n", "\n-1 -1\n"), ("\n\n", "\n"), ("— ", "- "), ("=\n\n", "\n\n"), ("sidecar/acme/1\n", "sidecar acme\n"),
        ],
    )  # fmt: skip
    def test_a_note_has_one_form(self, old: str, new: str) -> None:
        text = transparency.write_note(Sth(WRITER, 17, bytes(range(32)), 12, b"signature"))
        assert transparency.read_note(text) is not None
        assert old in text
        assert transparency.read_note(text.replace(old, new, 1)) is None

    def test_reading_is_total(self) -> None:
        long = ("ksp/1/" + "x" * transparency.NOTE_MAX, "ksp/1/x\n" + "9" * 5000 + " 0\nAA==\n\n— x AA==\n")
        for text in ("", "\n\n", "ksp/1/", "ksp/1/x\n1 0\n\n\n— x \n", *long):
            assert transparency.read_note(text) is None

    def test_only_the_writer_signs_and_only_the_witness_cosigns(self, signer: Signer) -> None:
        signed = head(signer, 5)
        assert transparency.believes_head(signer, signed)
        for wrong in ({"size": 6}, {"origin": WITNESS}, {"previous": 1}, {"root": bytes(32)}, {"root": b""}, {"signature": b""}):
            assert not transparency.believes_head(signer, structs.replace(signed, **wrong))
        cosigned = transparency.cosign(signer, WITNESS, signed)
        assert transparency.believes_cosignature(signer, cosigned)
        assert not transparency.believes_cosignature(signer, structs.replace(cosigned, witness=WRITER))
        assert not transparency.believes_cosignature(signer, Cosignature(signed, WITNESS, signed.signature))
        assert not transparency.believes_cosignature(signer, structs.replace(cosigned, head=structs.replace(signed, signature=b"")))


class TestWitness:
    def test_a_first_head_is_taken_on_trust(self, signer: Signer) -> None:
        assert transparency.judge(signer, None, notice(signer, 0, 7)).answer is Answer.COSIGN
        assert transparency.judge(signer, None, notice(signer, 3, 7)).answer is Answer.COSIGN

    @pytest.mark.parametrize(("since", "size"), [(1, 2), (8, 9), (8, 40), (13, 14), (5, 32)])
    def test_a_log_that_only_grew_is_cosigned(self, signer: Signer, since: int, size: int) -> None:
        assert transparency.judge(signer, head(signer, since), notice(signer, since, size)).answer is Answer.COSIGN

    def test_what_is_old_or_starts_elsewhere_is_answered_with_the_last(self, signer: Signer) -> None:
        for shown in (notice(signer, 9, 9), notice(signer, 2, 7), notice(signer, 8, 12), notice(signer, 0, 12)):
            assert transparency.judge(signer, head(signer, 9), shown).answer is Answer.REPEAT

    def test_a_head_that_its_writer_did_not_sign_means_nothing(self, signer: Signer) -> None:
        shown = notice(signer, 9, 12)
        forged = structs.replace(shown, head=structs.replace(shown.head, root=OTHER.root(12)))
        assert transparency.judge(signer, head(signer, 9), forged).answer is Answer.IGNORE
        assert transparency.judge(signer, None, forged).answer is Answer.IGNORE

    def test_a_proof_that_somebody_broke_on_the_way_means_nothing(self, signer: Signer) -> None:
        shown = notice(signer, 9, 12)
        assert transparency.judge(signer, head(signer, 9), structs.replace(shown, path=shown.path[:-1])).answer is Answer.IGNORE

    @pytest.mark.parametrize(("since", "size"), [(12, 12), (12, 20)])
    def test_a_second_log_is_a_fork_that_anybody_can_check(self, signer: Signer, since: int, size: int) -> None:
        judgement = transparency.judge(signer, head(signer, since), notice(signer, since, size, OTHER))
        assert judgement.answer is Answer.FORK
        assert judgement.proof is not None
        assert transparency.proves_fork(signer, judgement.proof)

    def test_a_branch_above_what_was_cosigned_is_no_fork_yet(self, signer: Signer) -> None:
        assert transparency.judge(signer, head(signer, 10), notice(signer, 10, 20, OTHER)).answer is Answer.COSIGN


class TestForkProofs:
    def test_two_heads_of_one_size(self, signer: Signer) -> None:
        one, other = head(signer, 20), head(signer, 20, OTHER)
        proof = transparency.differ(signer, one, other)
        assert proof == transparency.differ(signer, other, one)
        assert proof is not None
        assert transparency.proves_fork(signer, proof)
        assert transparency.differ(signer, one, head(signer, 20, previous=7)) is None
        assert transparency.differ(signer, one, structs.replace(other, signature=b"")) is None

    def test_nobody_who_kept_one_log_can_be_framed(self, signer: Signer) -> None:
        """An accuser has the writer's true heads and notices, in any combination, and may alter them."""
        first, second = head(signer, 9), head(signer, 20)
        shown = notice(signer, 9, 20)
        framed = [
            ForkProof(first, second), ForkProof(second, first), ForkProof(first, first), ForkProof(first, second, shown.path, shown.signature),
            ForkProof(first, second, (), shown.signature), ForkProof(first, second, shown.path[1:], shown.signature),
            ForkProof(first, structs.replace(second, size=9), shown.path, shown.signature),
            ForkProof(first, structs.replace(second, root=OTHER.root(20)), shown.path, shown.signature),
            ForkProof(head(signer, 8), second, shown.path, shown.signature),
            ForkProof(Sth(WRITER, 0, merkle.EMPTY_ROOT, 0), second, shown.path, shown.signature),
        ]  # fmt: skip
        assert [proof for proof in framed if transparency.proves_fork(signer, proof)] == []
