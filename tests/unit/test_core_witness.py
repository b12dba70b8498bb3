"""Replicas and sidecars have their logs witnessed, remember what they witnessed, and stop counting on whoever keeps two logs (protocol 5)."""

from __future__ import annotations

from msgspec import structs

from killswitch.core import audit, merkle, transparency
from killswitch.core.events import Receive, Record
from killswitch.core.heads import Cosigned, ForkProof, HeadNotice
from killswitch.core.messages import LeaseReply, LeaseRequest
from tests.unit.pair import REPLICAS, SECOND, SIDECAR, SIGNER, Link, cell, cut_off, mode

WITNESSING = {HeadNotice, Cosigned, ForkProof}


def witnessed(seconds: int = 15) -> Link:
    """A RUNNING cell in which everybody's log has been witnessed, and all is quiet."""
    link = cell()
    link.run(seconds * SECOND)
    return link


def spoken(link: Link) -> int:
    """How many messages about heads have been sent so far."""
    return sum(type(getattr(effect, "message", None)) in WITNESSING for seat in link.seats.values() for effect in seat.effects)


def cosigned_size(link: Link, witness: str, writer: str) -> int:
    head = link[witness].state.witnessed.cosigned.get(writer)
    return head.size if head else 0


def merkle_root(link: Link, node: str, size: int) -> bytes:
    tree = merkle.Tree()
    for record in link[node].records[:size]:
        tree.append(merkle.leaf_hash(record.hash))
    return tree.root(size)


def grow(link: Link, node: str, records: int = 1) -> None:
    """Let a node's log grow by something worth a head."""
    for _ in range(records):
        seat = link[node]
        seat.records.append(seat.state.chain.append("SECURITY", {"what": "test"}, link.now).record)
    link.sync(node)


def restored(link: Link, node: str, records: list[Record]) -> None:
    """The node comes back from an image: with these records, and no memory of any other."""
    link[node].durable = len(records)
    link.carry_out(link[node], link[node].boot(link.now, records=records))
    link.settle()


def cut_short(link: Link, node: str) -> None:
    """The node comes back from an image that is older than what was cosigned of its log."""
    grow(link, node, 4)
    link.run(12 * SECOND)
    assert cosigned_size(link, "replica/2", node) > 4
    restored(link, node, list(link[node].records[:2]))


class TestWitnessing:
    def test_a_witness_that_has_forgotten_is_shown_the_log_from_where_it_stands(self) -> None:
        """It says what it cosigned last; a writer that held to the most it ever heard would show it proofs from elsewhere for ever."""
        link = witnessed()
        before = cosigned_size(link, "replica/2", "replica/1")
        assert before >= 2
        link["replica/2"].state.witnessed.cosigned["replica/1"] = transparency.sign_head(
            SIGNER, "replica/1", 1, merkle_root(link, "replica/1", 1), 0
        )  # fmt: skip
        grow(link, "replica/1")
        link.run(20 * SECOND)
        assert cosigned_size(link, "replica/2", "replica/1") > before
        assert not link["replica/1"].state.forks

    def test_every_log_is_cosigned_by_every_other_replica(self) -> None:
        link = witnessed()
        for writer in (*REPLICAS, SIDECAR):
            for witness in set(REPLICAS) - {writer}:
                assert cosigned_size(link, witness, writer) == link[writer].state.publication.head.size > 0
            assert link[writer].state.publication.lagging == ()

    def test_a_head_speaks_for_nothing_that_is_not_durable(self) -> None:
        link = witnessed()
        before = link[SIDECAR].state.publication.head.size
        link[SIDECAR].disk = "stuck"
        seat = link[SIDECAR]
        seat.records.append(seat.state.chain.append("SECURITY", {"what": "test"}, link.now).record)
        link.run(20 * SECOND)
        assert link[SIDECAR].state.publication.head.size == before
        link[SIDECAR].disk = "prompt"
        link.settle()
        link.run(20 * SECOND)
        assert cosigned_size(link, "replica/1", SIDECAR) == len(seat.records) > before

    def test_when_all_is_witnessed_nothing_is_said(self) -> None:
        """Notes of witnessing are records too; were they worth a head, two replicas would witness each other's notes for ever."""
        link = witnessed(40)
        before = spoken(link)
        assert before
        link.run(200 * SECOND)
        assert spoken(link) == before

    def test_what_was_lost_is_shown_again(self) -> None:
        link = witnessed()
        link.cut = cut_off("replica/3")
        grow(link, SIDECAR)
        link.run(30 * SECOND)
        assert cosigned_size(link, "replica/1", SIDECAR) > cosigned_size(link, "replica/3", SIDECAR)
        link.cut = lambda sender, to, message: False
        link.run(15 * SECOND)
        assert cosigned_size(link, "replica/3", SIDECAR) == link[SIDECAR].state.publication.head.size

    def test_a_cosignature_leaves_only_when_it_is_on_record(self) -> None:
        link = witnessed()
        link["replica/1"].disk = "stuck"
        grow(link, SIDECAR)
        link.run(8 * SECOND)
        assert "replica/1" in link[SIDECAR].state.publication.lagging
        assert "replica/2" not in link[SIDECAR].state.publication.lagging
        link["replica/1"].disk = "prompt"
        link.settle()
        assert link[SIDECAR].state.publication.lagging == ()

    def test_a_replica_whose_disk_failed_cosigns_nothing(self) -> None:
        link = witnessed()
        link.carry_out(link["replica/1"], link["replica/1"].fail(link.now))
        before, written = cosigned_size(link, "replica/1", SIDECAR), len(link["replica/1"].records)
        grow(link, SIDECAR)
        link.run(20 * SECOND)
        assert cosigned_size(link, "replica/1", SIDECAR) == before
        assert audit.COSIG not in link["replica/1"].kinds()[written:]

    def test_what_was_cosigned_survives_a_restart(self) -> None:
        link = witnessed()
        before = link["replica/1"].state.witnessed.cosigned, link["replica/1"].machine.digest()
        link.boot("replica/1")
        assert (link["replica/1"].state.witnessed.cosigned, link["replica/1"].machine.digest()) == before

    def test_a_writer_that_restarts_goes_on_from_what_witnesses_remember(self) -> None:
        link = witnessed()
        link.boot(SIDECAR)
        link.run(20 * SECOND)
        assert cosigned_size(link, "replica/1", SIDECAR) == link[SIDECAR].state.publication.head.size
        assert not any(link[node].state.forks for node in (*REPLICAS, SIDECAR))

    def test_a_head_names_the_size_of_the_one_before_it_in_this_start(self) -> None:
        link = witnessed()
        grow(link, SIDECAR)
        link.run(8 * SECOND)
        link.boot(SIDECAR)
        link.run(20 * SECOND)
        heads = list({notice.head.size: notice.head for notice in link[SIDECAR].sent(HeadNotice)}.values())
        assert len(heads) > 2
        *earlier, last = heads
        assert [head.previous for head in earlier] == [0, *(head.size for head in earlier[:-1])]
        assert last.previous == 0

    def test_only_a_writer_shows_its_own_head(self) -> None:
        link = witnessed()
        notice = link[SIDECAR].sent(HeadNotice)[0]
        for sender in ("replica/2", "sidecar/acme/2", "stranger"):
            link["replica/1"].take(Receive(sender, notice), link.now)
            assert link["replica/1"].state.witnessed.notices == {}

    def test_a_witness_that_is_none_is_not_believed(self) -> None:
        link = witnessed()
        grow(link, SIDECAR)
        link.cut = cut_off("replica/1")
        link.run(8 * SECOND)
        head = link[SIDECAR].state.publication.head
        assert link[SIDECAR].state.publication.lagging == ("replica/1",)
        forged = structs.replace(transparency.cosign(SIGNER, "replica/2", head), witness="replica/1")
        link.tell(SIDECAR, Cosigned((forged,)), "replica/1")
        link.tell(SIDECAR, Cosigned((transparency.cosign(SIGNER, "replica/1", head),)), "replica/2")
        assert link[SIDECAR].state.publication.lagging == ("replica/1",)


class TestForks:
    def test_a_log_that_lost_its_end_is_found_out(self) -> None:
        link = witnessed()
        cut_short(link, "replica/1")
        link.run(20 * SECOND)
        for node in (*REPLICAS, SIDECAR):
            assert "replica/1" in link[node].state.forks, node
            assert link[node].kinds().count("FORK_PROOF") == 1, node
            assert transparency.proves_fork(SIGNER, link[node].state.forks["replica/1"])

    def test_a_log_that_was_doubled_is_found_out(self) -> None:
        """Two images of one sidecar run in turn; both show heads to the same witnesses."""
        link = witnessed()
        image = list(link[SIDECAR].records)
        grow(link, SIDECAR, 3)
        link.run(12 * SECOND)
        restored(link, SIDECAR, image)
        grow(link, SIDECAR, 5)
        link.run(20 * SECOND)
        assert all(SIDECAR in link[replica].state.forks for replica in REPLICAS)

    def test_two_views_for_two_witnesses_are_compared(self) -> None:
        """Whoever shows one log to one witness and another to the next is caught as soon as the two talk."""
        link = witnessed()
        size = link[SIDECAR].state.publication.head.size
        one = transparency.sign_head(SIGNER, SIDECAR, size + 1, bytes(32), size)
        other = transparency.sign_head(SIGNER, SIDECAR, size + 1, bytes([1]) * 32, size)
        link.tell("replica/1", Cosigned((transparency.cosign(SIGNER, "replica/2", one),)), "replica/2")
        assert link["replica/1"].state.forks == {}
        link.tell("replica/1", Cosigned((transparency.cosign(SIGNER, "replica/3", other),)), "replica/3")
        assert SIDECAR in link["replica/1"].state.forks
        assert all(SIDECAR in link[node].state.forks for node in (*REPLICAS, SIDECAR))

    def test_somebody_elses_word_frames_nobody(self) -> None:
        link = witnessed()
        head = link[SIDECAR].state.publication.head
        lie = structs.replace(head, root=bytes(32))
        link.tell("replica/1", Cosigned((transparency.cosign(SIGNER, "replica/2", lie),)), "replica/2")
        link.tell("replica/1", Cosigned((transparency.cosign(SIGNER, "replica/2", structs.replace(lie, size=head.size + 1)),)), "replica/2")
        link.tell("replica/1", ForkProof(head, lie), "replica/2")
        link.tell(SIDECAR, ForkProof(head, lie), "replica/2")
        grow(link, SIDECAR)
        link.run(20 * SECOND)
        assert not any(link[node].state.forks for node in (*REPLICAS, SIDECAR))
        assert cosigned_size(link, "replica/1", SIDECAR) == head.size + 1

    def test_who_keeps_two_logs_grants_nothing_and_the_rest_go_on(self) -> None:
        link = witnessed()
        cut_short(link, "replica/1")
        link.run(20 * SECOND)
        link["replica/1"].effects.clear()
        link.run(10 * SECOND)
        assert {reply.why for reply in link["replica/1"].sent(LeaseReply)} == {"forked"}
        assert mode(link) == ("OPEN", "RUNNING")
        link.cut = cut_off("replica/2")
        link.run(20 * SECOND)
        assert mode(link) == ("CLOSED", "STANDBY")

    def test_a_sidecar_counts_no_grant_of_it_even_if_it_grants(self) -> None:
        link = witnessed()
        head = link["replica/1"].state.publication.head
        other = transparency.sign_head(SIGNER, "replica/1", head.size, bytes(32), 0)
        link.cut = cut_off("replica/2")
        link.tell(SIDECAR, ForkProof(head, other), "replica/3")
        link["replica/1"].effects.clear()
        link.run(20 * SECOND)
        assert any(reply.len_ns for reply in link["replica/1"].sent(LeaseReply))
        assert mode(link) == ("CLOSED", "STANDBY")

    def test_what_it_granted_in_a_round_under_way_counts_no_more(self) -> None:
        link = witnessed()
        link.cut = cut_off(*REPLICAS)
        link.run(20 * SECOND)
        assert mode(link) == ("CLOSED", "STANDBY")
        asked = link[SIDECAR].sent(LeaseRequest)[-1]
        head = link["replica/1"].state.publication.head
        other = transparency.sign_head(SIGNER, "replica/1", head.size, bytes(32), 0)

        def grant(replica: str) -> None:
            lease_ns = link[replica].state.parameters.lease_ns
            link.tell(SIDECAR, LeaseReply(asked.agent, asked.nonce, asked.token, replica, lease_ns, "", "", asked.token, 0), replica)

        grant("replica/1")
        link.tell(SIDECAR, ForkProof(head, other), "replica/3")
        grant("replica/2")
        assert mode(link) == ("CLOSED", "STANDBY")
        grant("replica/3")
        assert mode(link) == ("OPEN", "RUNNING")

    def test_a_fork_is_remembered(self) -> None:
        link = witnessed()
        cut_short(link, "replica/1")
        link.run(20 * SECOND)
        for node in ("replica/1", "replica/2", SIDECAR):
            before = link[node].state.forks, link[node].machine.digest()
            link.boot(node)
            assert (link[node].state.forks, link[node].machine.digest()) == before

    def test_who_hears_late_hears_it_all_the_same(self) -> None:
        link = witnessed()
        grow(link, "replica/1", 4)
        link.run(12 * SECOND)
        link.cut = cut_off("replica/3", SIDECAR)
        restored(link, "replica/1", list(link["replica/1"].records[:2]))
        link.run(20 * SECOND)
        assert link["replica/3"].state.forks == {} == link[SIDECAR].state.forks
        link.cut = lambda sender, to, message: False
        link.run(3 * SECOND)
        assert "replica/1" in link["replica/3"].state.forks
        assert "replica/1" in link[SIDECAR].state.forks
