"""What a node vouches for by what it says, and whom a client asks: read off the wire."""

from __future__ import annotations

import hashlib

import pytest
from msgspec.structs import replace

from killswitch.core.bundles import RolloutRequest, RolloutStatus
from killswitch.core.certificates import ResumeCertificate, ResumeDraft, ResumeSubmit
from killswitch.core.events import Boot, DiskFreed, DiskFull, Durable, Input, Observe, Receive, Send
from killswitch.core.heads import Cosignature, Cosigned, Sth
from killswitch.core.messages import Fence, Gossip, IntentReply, Message, OrderPush, OrderStatus, StartReply
from tests.unit.pair import AGENT, SIDECAR
from tests.unit.test_observe import GRANT, KILL_ID, PARTS, TOKEN, Bench, boot

CERTIFICATE = ResumeCertificate(b"lifted", ())
HANDED_ON = [
    Gossip("", (), (), certificates=(CERTIFICATE,)), OrderPush((), (CERTIFICATE,)), replace(GRANT, len_ns=0, certificates=(CERTIFICATE,)),
    StartReply(AGENT, TOKEN, "replica/1", False, False, "", TOKEN, "", True, (), (CERTIFICATE,)), IntentReply("n", (), (CERTIFICATE,)),
]  # fmt: skip


@pytest.mark.parametrize("message", HANDED_ON, ids=lambda message: type(message).__name__)
def test_whoever_hands_a_resume_on_vouches_for_it(message: Message) -> None:
    bench = Bench("replica/1")
    bench.step(boot())
    assert "vouched" not in bench.tick(Send("replica/2", message, 1)), "it waits for its record"
    assert bench.step(Durable(1)) == ["vouched"]
    assert bench.last.body == {"what": "certificate", "about": hashlib.sha256(b"lifted").hexdigest()}


def test_who_says_that_an_order_is_accepted_vouches_for_it_and_who_says_more_speaks_of_others() -> None:
    bench = Bench("replica/1")
    bench.step(boot())
    assert bench.tick(Send("operator", OrderStatus("r", "o1", "EFFECTIVE", 2)), Send("operator", OrderStatus("r", "o2", "REFUSED", 0))) == []
    assert bench.tick(Send("operator", OrderStatus("r", "o1", "ACCEPTED", 1))) == ["vouched"]
    assert bench.last.body == {"what": "accepted", "about": "o1"}


def test_what_a_node_records_is_told_while_it_knows_that_its_disk_is_full() -> None:
    bench = Bench()
    bench.step(boot())
    assert bench.tick(bench.append("A_NOTE")) == [], "it may not fit; nobody has said so"
    assert bench.step(DiskFull(1)) == ["disk-full"]
    assert bench.step(Durable(1)) == []
    assert "recorded-without-room" in bench.tick(bench.append("KEYSET_NOTE"), bench.append("EVIDENCE_NOTE"))
    assert bench.last.body == {"lsn": 3, "what": "EVIDENCE_NOTE", "own": False}
    assert bench.step(Durable(3)) == ["reserve-used"]
    assert bench.last.body == {"lsn": 3, "what": "EVIDENCE_NOTE"}
    assert bench.step(DiskFreed()) == ["disk-freed"]
    assert bench.tick(bench.append("EVIDENCE_NOTE")) == []
    assert bench.step(Durable(4)) == []


@pytest.mark.parametrize("again", [Boot((), "boot-2", "2.1"), DiskFreed()])
def test_what_was_recorded_without_room_is_forgotten_with_the_start_or_the_trouble(again: Input) -> None:
    bench = Bench()
    bench.step(boot())
    bench.step(DiskFull(1))
    bench.tick(bench.append("A_NOTE"))
    bench.step(again)
    assert bench.step(Durable(1)) == []


def test_a_draft_is_shown_and_what_was_approved_handed_in_each_time_that_it_is() -> None:
    bench = Bench("operator")
    bench.step(boot())
    certificate = hashlib.sha256(b"lifted").hexdigest()
    assert bench.step(Receive("replica/1", ResumeDraft("r", "DRAFTED", b"lifted", 2))) == ["draft-shown"]
    assert bench.last.body == {"request": "r", "certificate": certificate}
    hands_in = Send("replica/1", ResumeSubmit("r", CERTIFICATE))
    assert bench.tick(hands_in) == bench.tick(hands_in) == ["resume-submitted"]
    assert bench.last.body == {"request": "r", "certificate": certificate}


def test_whom_a_client_asks_after_a_rollout_that_was_accepted_is_told_once_for_each_answer() -> None:
    bench = Bench("operator")
    bench.step(boot())
    asks = Send("replica/2", RolloutRequest("r", "alice", "STABLE"))
    assert bench.tick(asks) == [], "nobody has accepted it"
    bench.step(Receive("replica/1", RolloutStatus("r", "ACCEPTED", 2)))
    assert bench.tick(asks, asks) == ["rollout-asked-after"]
    assert bench.last.body == {"request": "r", "replica": "replica/2", "accepted": "replica/1"}
    bench.step(Receive("replica/1", RolloutStatus("r", "ACCEPTED", 2)))
    requested = Observe("rollout-requested", {"request": "r", "principal": "alice", "stage": "STABLE"})
    assert bench.tick(requested, asks) == ["rollout-requested"], "a person asks anew, wherever"


def test_a_promise_that_is_said_again_is_a_fact_where_it_leaves_before_the_first() -> None:
    bench = Bench("replica/1")
    promise = StartReply(AGENT, TOKEN, "replica/1", granted=True, ready=False, why="", promised=TOKEN, view="")
    bench.tick(bench.append("PROMISE", agent=AGENT, token=PARTS), Send(SIDECAR, promise, 1))
    assert bench.tick(Send(SIDECAR, promise, 2)) == []
    assert bench.tick(Send(SIDECAR, promise)) == ["promise-sent"]
    assert bench.tick(Send(SIDECAR, promise)) == []


@pytest.mark.parametrize(
    ("to", "message", "kind"),
    [
        (SIDECAR, StartReply(AGENT, TOKEN, "replica/1", granted=False, ready=True, why="", promised=TOKEN, view=""), "start-readied"),
        ("sink/acme/ledger", Fence(AGENT, TOKEN, KILL_ID), "fence-sent"),
    ],
)
def test_what_is_said_before_its_record_is_durable_hides_behind_no_earlier_word(to: str, message: Message, kind: str) -> None:
    bench = Bench("replica/1")
    bench.tick(bench.append("A_NOTE"), Send(to, message, 1))
    assert bench.tick(Send(to, message, 2)) == []
    assert bench.tick(Send(to, message)) == [kind]
    assert bench.tick(Send(to, message)) == []


def test_a_cosignature_is_a_fact_for_each_time_that_it_leaves_sooner() -> None:
    bench = Bench("replica/1")

    def cosigned(size: int) -> Cosigned:
        return Cosigned((Cosignature(Sth(SIDECAR, size, bytes(32), 0), "replica/1", b""),))

    bench.tick(Send("replica/2", cosigned(3), 1))
    assert bench.tick(Send(SIDECAR, cosigned(3), 1), Send(SIDECAR, cosigned(3))) == ["cosignature-sent"]
    assert bench.tick(Send("replica/2", cosigned(2)), Send("replica/2", cosigned(3))) == []
    assert bench.tick(Send(SIDECAR, cosigned(4), 1), Send(SIDECAR, cosigned(4))) == ["cosignature-sent"]
    assert bench.step(Durable(1)) == ["cosignature-sent", "cosignature-sent"]
    assert bench.tick(Send(SIDECAR, cosigned(4))) == []


@pytest.mark.parametrize("held", [True, False])
def test_what_gossip_says_of_copies_is_looked_at_again_until_it_has_left(held: bool) -> None:
    bench = Bench("replica/1")
    said = Gossip("", durable=(KILL_ID,))
    assert bench.tick(Send("replica/2", said, 1 if held else 0)) == ([] if held else ["vouched"])
    assert bench.tick(Send("replica/2", said)) == (["vouched"] if held else [])
