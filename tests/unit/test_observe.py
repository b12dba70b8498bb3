"""From steps to facts: read off what a node does, held back until it is durable, and gone with the process that never got so far."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from msgspec.structs import replace

from harness.shared.history import VOCABULARY, Fact
from harness.shared.judge import Judge
from harness.shared.observe import HEADS_KEPT, Observer
from killswitch.core import codec, merkle, transparency
from killswitch.core.audit import Chain
from killswitch.core.certificates import ResumeBody, ResumeDraft
from killswitch.core.events import (
    AcknowledgeTask,
    Append,
    Boot,
    CheckpointDurable,
    DiskFailed,
    Durable,
    Effect,
    Input,
    Observe,
    ProcessExited,
    Receive,
    Send,
    Signal,
    SignalKind,
    Spawn,
    Timer,
    WriteCheckpoint,
)
from killswitch.core.heads import Cosigned, Sth
from killswitch.core.intent import HARD
from killswitch.core.messages import (
    COUNTER_MAX,
    AgentStatus,
    Evidence,
    Fence,
    FenceAck,
    Gossip,
    LeaseReply,
    LeaseRequest,
    Message,
    Order,
    OrderPush,
    OrderStatus,
    Query,
    ResolveRequest,
    ResolveResult,
    StartReply,
    StartRequest,
    Token,
)
from killswitch.core.publication import head_parts
from killswitch.core.scopes import Scope
from killswitch.core.stamps import Reading
from tests.unit import pair
from tests.unit.pair import AGENT, REPLICAS, SIDECAR, SIGNER, order

TOKEN = Token(1, 1, "a")
PARTS = (1, 1, "a")
NO_TOKEN = Token(0, 0, "")
KILL = order(HARD)
KILL_ID = hashlib.sha256(KILL.raw).hexdigest()
PROOF = Evidence(AGENT, TOKEN, KILL_ID, "GATE_CLOSED", 0, ())
GRANT = LeaseReply(AGENT, "n", TOKEN, "replica/1", 5, "", "", TOKEN, 0)


class Bench:
    """An observer of one node, and the log that the node writes. Every fact is held against the vocabulary as it comes."""

    def __init__(self, node: str = SIDECAR) -> None:
        self.facts: list[Fact] = []
        self.chain = Chain("boot-1")
        self.observer = Observer(node, AGENT, Judge(SIGNER, REPLICAS, 2), self._record)
        self.now = 0

    def _record(self, fact: Fact) -> None:
        assert set(fact.body) == set(VOCABULARY[fact.kind][0]), fact.kind
        self.facts.append(fact)

    def step(self, event: Input, *effects: Effect) -> list[str]:
        """Kinds of the facts of one step, but for a replica's log that grew; steps are a nanosecond apart, on a clock that is 100 ahead."""
        self.now += 1
        before = len(self.facts)
        self.observer.step(self.now, self.now + 100, event, list(effects))
        return [fact.kind for fact in self.facts[before:] if fact.kind != "log-grown"]

    def tick(self, *effects: Effect) -> list[str]:
        return self.step(Timer("t"), *effects)

    def append(self, kind: str, **body: Any) -> Append:
        return self.chain.append(kind, body, 0)

    def learn(self, known: Order = KILL) -> Append:
        return self.append("ORDER_ACCEPTED", raw=known.raw, signer=known.signer, signature=known.signature)

    @property
    def last(self) -> Fact:
        return self.facts[-1]


def boot(*appended: Append, name: str = "boot-1") -> Boot:
    return Boot(tuple(effect.record for effect in appended), name, "1.1")


def test_a_fact_has_the_real_time_the_node_and_the_nodes_clock() -> None:
    bench = Bench()
    bench.step(boot())
    assert bench.facts == [Fact(1, "node-started", SIDECAR, 101, {"boot": "boot-1", "instance": "1.1", "records": 0})]


def test_an_order_is_learned_at_once_and_durable_when_its_record_is() -> None:
    bench = Bench("replica/1")
    assert bench.tick(bench.learn()) == ["order-learned"]
    told = {name: bench.last.body[name] for name in ("order", "gate", "life", "scope")}
    assert told == {"order": KILL_ID, "gate": 2, "life": 2, "scope": ["tenant", "acme"]}
    assert bench.tick() == []
    assert bench.step(Durable(1)) == ["order-durable"]
    assert bench.step(Durable(1)) == []


@pytest.mark.parametrize(
    ("forged", "authentic"),
    [(KILL, True), (replace(KILL, signature=b"forged"), False), (replace(KILL, signer="replica/2"), False), (replace(KILL, signer="alice"), False)],
)
def test_whether_an_order_was_authentic_is_the_worlds_own_judgement(forged: Order, authentic: bool) -> None:
    bench = Bench("replica/1")
    bench.tick(bench.learn(forged))
    assert bench.last.body["authentic"] is authentic


def test_what_a_process_wrote_may_prove_durable_at_its_next_boot_and_what_it_had_to_send_is_gone() -> None:
    bench = Bench("replica/1")
    written = bench.learn()
    bench.tick(written, Send("operator", PROOF, 1), AcknowledgeTask("t", 1))
    assert bench.step(boot(written)) == ["node-started", "order-durable"]
    assert bench.step(Durable(1)) == []


def test_what_did_not_survive_never_becomes_durable() -> None:
    bench = Bench("replica/1")
    bench.tick(bench.learn())
    assert bench.step(boot(name="boot-2")) == ["node-started"]
    assert bench.step(Durable(1)) == []


def test_a_proof_is_sent_once_whoever_it_goes_to_and_not_before_its_record() -> None:
    bench = Bench()
    bench.tick(*(Send(replica, PROOF, 1) for replica in REPLICAS))
    assert [fact.kind for fact in bench.facts] == []
    assert bench.step(Durable(1)) == ["evidence-sent", "vouched"]
    assert bench.tick(Send("replica/1", replace(PROOF, stage="STOPPED_CLEAN"))) == ["evidence-sent", "vouched"]


def test_a_round_is_one_request_however_many_replicas_are_asked() -> None:
    bench = Bench()
    ask = LeaseRequest(AGENT, TOKEN, "n1", "", 0, "RUNNING")
    assert bench.tick(*(Send(replica, ask) for replica in REPLICAS)) == ["lease-requested"]
    assert bench.last.body == {"agent": AGENT, "nonce": "n1", "token": PARTS, "instance": "a"}
    assert bench.tick(Send("replica/1", ask)) == []
    assert bench.tick(Send("replica/1", replace(ask, nonce="n2"))) == ["lease-requested"]
    assert bench.tick(Send("replica/1", replace(ask, nonce="n3", token=NO_TOKEN))) == []


def test_a_reply_is_a_grant_or_a_denial_by_its_length() -> None:
    bench = Bench("replica/1")
    assert bench.tick(Send(SIDECAR, GRANT)) == ["lease-granted"]
    assert bench.tick(Send(SIDECAR, replace(GRANT, len_ns=0, why="gate closed"))) == ["lease-denied"]
    assert bench.last.body["why"] == "gate closed"


def test_a_promise_is_sent_once_however_often_it_is_asked_for_and_not_before_its_record() -> None:
    bench = Bench("replica/1")
    promise = StartReply(AGENT, TOKEN, "replica/1", granted=True, ready=False, why="", promised=TOKEN, view="")
    bench.tick(bench.append("PROMISE", agent=AGENT, token=PARTS), Send(SIDECAR, promise, 1), Send(SIDECAR, replace(promise, granted=False)))
    assert bench.step(Durable(1)) == ["token-promised", "promise-sent"]
    assert bench.tick(Send(SIDECAR, promise)) == []
    bench.step(boot())
    assert bench.tick(Send(SIDECAR, promise)) == ["promise-sent"]


def test_a_draft_shows_what_it_would_lift_and_a_refusal_shows_nothing() -> None:
    bench = Bench("replica/1")
    body = ResumeBody("acme", Scope("tenant", "acme"), (KILL_ID,), 1, "", "alice", "r")
    shown = (ResumeDraft("r", "DRAFTED", codec.pack(body), 2), ResumeDraft("r", "NOTHING_TO_COVER", b"", 0), ResumeDraft("r", "REFUSED", b"", 0))
    assert [bench.tick(Send("operator", draft)) for draft in shown] == [["draft-sent"], ["draft-sent"], []]
    assert [fact.body["covers"] for fact in bench.facts] == [[KILL_ID], []]
    assert [fact.body["heard"] for fact in bench.facts] == [[], []]


def test_a_draft_says_whom_it_heard_and_when_that_was_by_the_clock_of_each() -> None:
    bench = Bench("replica/1")
    ends = (Reading("replica/1", "boot-1", 101 + 500), Reading("replica/2", "boot-7", 40 + 500))
    body = ResumeBody("acme", Scope("tenant", "acme"), (KILL_ID,), 1, "", "alice", "r", ends=ends)
    assert bench.tick(Send("operator", ResumeDraft("r", "DRAFTED", codec.pack(body), 2))) == ["draft-sent"]
    assert bench.last.body["heard"] == [("replica/2", "boot-7", 40)]


def test_a_process_is_followed_by_its_token_from_start_to_reap() -> None:
    bench = Bench()
    assert bench.tick(Signal(SignalKind.REAP_ORPHANS)) == []  # nobody is known to be there
    assert bench.tick(Spawn(TOKEN)) == ["process-started"]
    assert bench.tick(Signal(SignalKind.TERM)) == ["process-termed"]
    assert bench.tick(Signal(SignalKind.KILL), Signal(SignalKind.KILL)) == ["process-killed", "process-killed"]
    assert bench.step(ProcessExited(-9, True)) == ["process-reaped"]
    assert bench.last.body == {"agent": AGENT, "token": PARTS, "code": -9, "signalled": True}
    assert bench.step(ProcessExited(0, False)) == []


def test_a_checkpoint_is_of_the_log_as_it_was_when_it_began() -> None:
    bench = Bench("agent/acme/1")
    bench.tick(bench.append("INTENT", task=["t1"], step=0, key="k"), WriteCheckpoint(1, b""))
    bench.tick(bench.append("DONE", task="t1"))
    assert bench.step(CheckpointDurable(1)) == ["checkpoint-durable"]
    assert bench.last.body == {"agent": AGENT, "generation": 1, "lsn": 1}


@pytest.mark.parametrize(("outcome", "kind"), [("COMPLETED", "task-acknowledged"), ("ROLLED_BACK", "task-returned")])
def test_upstream_is_told_when_the_end_of_the_task_is_durable(outcome: str, kind: str) -> None:
    bench = Bench("agent/acme/1")
    assert bench.tick(bench.append("DONE", task="t1"), AcknowledgeTask("t1", 1, outcome)) == ["task-done"]
    assert bench.step(Durable(1)) == ["task-done-durable", kind]


def test_only_the_operators_client_is_told_things_that_are_facts_on_arrival() -> None:
    told = (OrderStatus("r", KILL_ID, "EFFECTIVE", 2), AgentStatus(KILL_ID, AGENT, TOKEN, "STOPPED_CLEAN"))
    operator, sidecar = Bench("operator"), Bench()
    assert [operator.step(Receive("replica/1", message)) for message in told] == [["order-status"], ["agent-status"]]
    assert [sidecar.step(Receive("replica/1", message)) for message in told] == [[], []]


class TestStarts:
    """What a sidecar was told of starts when it asks for one."""

    def asked(self, bench: Bench, token: Token) -> list[str]:
        return bench.tick(Send("replica/1", StartRequest(AGENT, token, "", NO_TOKEN)), Send("replica/2", StartRequest(AGENT, token, "", NO_TOKEN)))

    def told(self, bench: Bench, *words: tuple[str, Message]) -> tuple[object, str]:
        for sender, message in words:
            assert bench.step(Receive(sender, message)) == []
        assert self.asked(bench, Token(1, 7, "s")) == ["start-proposed"]
        return bench.last.body["told"], bench.last.body["by"]

    def test_it_is_told_once(self) -> None:
        bench = Bench()
        assert self.asked(bench, TOKEN) == ["start-proposed"]
        assert bench.last.body == {"agent": AGENT, "token": PARTS, "told": (0, 0, ""), "by": "", "over": (0, 0, "")}
        assert self.asked(bench, TOKEN) == []
        assert self.asked(bench, Token(1, 2, "a")) == ["start-proposed"]

    def test_it_says_which_start_is_over(self) -> None:
        bench = Bench()
        bench.tick(Send("replica/1", StartRequest(AGENT, Token(1, 2, "a"), "", TOKEN)))
        assert bench.last.body["over"] == PARTS

    def test_the_greatest_counts_of_whoever_speaks_for_himself(self) -> None:
        five, six = Token(1, 5, "x"), Token(1, 6, "")
        promise = StartReply(AGENT, TOKEN, "replica/2", granted=False, ready=False, why="", promised=five, view="")
        grant = replace(GRANT, promised=five, replica="replica/2")
        fenced = FenceAck("sink/acme/ledger", AGENT, six)
        assert self.told(Bench(), ("replica/2", promise), ("replica/1", GRANT)) == ((1, 5, "x"), "replica/2")
        assert self.told(Bench(), ("replica/1", GRANT), ("replica/2", grant)) == ((1, 5, "x"), "replica/2")
        assert self.told(Bench(), ("sink/acme/ledger", fenced), ("replica/2", grant)) == ((1, 6, ""), "sink/acme/ledger")
        assert self.told(Bench(), ("replica/1", GRANT), ("replica/3", grant)) == (PARTS, "replica/1")
        assert self.told(Bench(), ("replica/1", GRANT), ("sink/acme/bank", fenced)) == (PARTS, "replica/1")
        assert self.told(Bench(), ("replica/1", GRANT), ("replica/2", replace(grant, agent="acme/2"))) == (PARTS, "replica/1")
        assert self.told(Bench(), ("replica/1", GRANT), ("replica/2", replace(grant, promised=Token(1, COUNTER_MAX, "")))) == (PARTS, "replica/1")

    def test_what_an_earlier_start_was_told_does_not(self) -> None:
        bench = Bench()
        bench.step(Receive("replica/1", GRANT))
        bench.step(boot())
        assert self.told(bench) == ((0, 0, ""), "")


def test_a_question_is_told_once_for_each_time_that_the_agent_asks() -> None:
    bench = Bench()
    asked, question = Receive(f"agent/{AGENT}", ResolveRequest("k1", "sink/acme/ledger")), Send("sink/acme/ledger", Query(AGENT, "k1", "n1"))
    assert bench.tick(question) == []
    assert bench.step(asked, question) == ["question-asked"]
    assert bench.last.body == {"agent": AGENT, "sink": "sink/acme/ledger", "key": "k1", "nonce": "n1"}
    assert bench.tick(question) == []
    assert bench.step(asked, question) == ["question-asked"]
    assert bench.tick(Send(f"agent/{AGENT}", ResolveResult("k1", "IN_DOUBT"))) == ["question-answered"]
    assert bench.last.body == {"agent": AGENT, "key": "k1", "status": "IN_DOUBT"}


class TestTokensPromisedAway:
    """What a sidecar hears of the token that it has opened."""

    def heard(self, bench: Bench, sender: str, promised: Token, **fields: object) -> list[str]:
        return bench.step(Receive(sender, replace(GRANT, replica="replica/1", promised=promised, **fields)))

    def opened(self) -> Bench:
        bench = Bench()
        bench.tick(Observe("token-opened", {"agent": AGENT, "token": PARTS, "predecessor": (0, 0, "")}))
        return bench

    def test_it_is_told_once_for_each_change(self) -> None:
        bench = self.opened()
        assert self.heard(bench, "replica/1", TOKEN) == []
        assert self.heard(bench, "replica/1", Token(1, 7, "x")) == ["promised-away"]
        assert bench.last.body == {"agent": AGENT, "replica": "replica/1", "token": PARTS, "promised": (1, 7, "x")}
        assert self.heard(bench, "replica/1", Token(1, 7, "x")) == []
        assert self.heard(bench, "replica/1", TOKEN) == ["promised-away"]

    def test_whoever_speaks_for_another_and_of_another_token_is_not_heard(self) -> None:
        bench = self.opened()
        assert self.heard(bench, "replica/2", Token(1, 7, "x")) == []
        assert self.heard(bench, "replica/1", Token(1, 7, "x"), token=Token(1, 3, "s")) == []
        assert self.heard(bench, "replica/1", Token(1, 7, "x"), why="unpromised") == []
        bench.step(boot())
        assert self.heard(bench, "replica/1", Token(1, 7, "x")) == []


class TestForeignNews:
    def test_what_is_another_tenants_is_told_whatever_brings_it(self) -> None:
        theirs = pair.order(HARD, tenant="globex", scope=Scope("agent", "globex/1"))
        lifts = pair.resume(theirs, tenant="globex", scope=Scope("tenant", "globex"))
        for message in (OrderPush((KILL, theirs), (lifts,)), replace(GRANT, orders=(KILL, theirs), certificates=(lifts,))):
            bench = Bench()
            assert bench.step(Receive("replica/1", message)) == ["foreign-news", "foreign-news"]
            assert bench.last.body == {"what": "certificate", "id": pair.id_of(lifts), "tenant": "globex", "sender": "replica/1"}

    def test_what_is_ones_own_or_everybodys_is_not_nor_what_says_nothing(self) -> None:
        everybodys = pair.order(HARD, tenant="globex", scope=pair.EVERYBODY)
        push = OrderPush((KILL, everybodys, Order(b"noise", "replica/1", b"")), (pair.resume(KILL),))
        assert Bench().step(Receive("replica/1", push)) == []


def head_of(writer: str, size: int, root: bytes) -> Sth:
    return transparency.sign_head(SIGNER, writer, size, root * merkle.HASH_SIZE, 0)


class TestForks:
    """What a replica was shown of a writer's two logs."""

    def told(self, bench: Bench, head: Sth, witness: str = "replica/2") -> list[str]:
        return bench.step(Receive(witness, Cosigned((transparency.cosign(SIGNER, witness, head),))))

    def cosigned(self, bench: Bench, head: Sth) -> list[str]:
        return bench.tick(bench.append("COSIG", witness="replica/1", heads=[[*head_parts(head), b""]]))

    def test_two_roots_for_one_size(self) -> None:
        bench, one, other = Bench("replica/1"), head_of(SIDECAR, 3, b"a"), head_of(SIDECAR, 3, b"b")
        assert [self.told(bench, one), self.told(bench, one, "replica/3"), self.told(bench, head_of(SIDECAR, 4, b"b"))] == [[], [], []]
        assert self.told(bench, other) == ["fork-shown"]
        assert bench.last.body == {"origin": SIDECAR, "size": 3, "roots": [one.root.hex(), other.root.hex()]}

    def test_what_it_cosigned_itself_counts(self) -> None:
        bench = Bench("replica/1")
        assert self.cosigned(bench, head_of(SIDECAR, 3, b"a")) == []
        assert self.told(bench, head_of(SIDECAR, 3, b"b")) == ["fork-shown"]
        assert self.cosigned(bench, head_of(SIDECAR, 3, b"b")) == ["fork-shown"]

    def test_what_an_earlier_start_was_told_does_not(self) -> None:
        bench = Bench("replica/1")
        self.told(bench, head_of(SIDECAR, 3, b"a"))
        bench.step(boot())
        assert self.told(bench, head_of(SIDECAR, 3, b"b")) == []

    def test_nor_what_its_writer_never_signed(self) -> None:
        bench = Bench("replica/1")
        self.told(bench, head_of(SIDECAR, 3, b"a"))
        assert self.told(bench, replace(head_of(SIDECAR, 3, b"b"), signature=b"forged")) == []

    def test_nor_what_was_shown_long_ago(self) -> None:
        bench = Bench("replica/1")
        for size in range(3, 4 + HEADS_KEPT):
            self.told(bench, head_of(SIDECAR, size, b"a"))
        assert self.told(bench, head_of(SIDECAR, 3, b"b")) == []
        assert self.told(bench, head_of(SIDECAR, 4, b"b")) == ["fork-shown"]

    def test_nor_what_others_hear_of_it(self) -> None:
        for bench, head in ((Bench(), head_of(SIDECAR, 3, b"a")), (Bench("replica/1"), head_of("replica/1", 3, b"a"))):
            assert self.told(bench, head) == []
            assert self.told(bench, head_of(head.origin, 3, b"b")) == []


def test_a_failed_sync_is_a_fact() -> None:
    bench = Bench()
    assert bench.step(DiskFailed(3)) == ["disk-failed"]
    assert bench.last.body == {"lsn": 3}


def test_a_node_may_speak_of_itself_only_in_words_of_the_vocabulary() -> None:
    bench = Bench()
    assert bench.tick(Observe("lease-lost", {"agent": AGENT, "token": PARTS}), Observe("no-such-fact", {})) == ["lease-lost"]


def test_a_node_vouches_once_for_each_start_and_again_if_it_no_longer_waits() -> None:
    bench = Bench("replica/1")
    bench.step(boot())
    told = OrderStatus("r", "o1", "ACCEPTED", 1)
    assert bench.tick(Send("operator", told, 2), Send("operator", replace(told, stage="NEEDS_KEYS"))) == []
    assert bench.tick(Send("operator", told, 3)) == []
    assert bench.tick(Send("operator", told)) == ["vouched"], "what leaves ahead of its record is what counts"
    assert bench.step(Durable(3)) == ["vouched"], "as it was waiting to be said"
    assert bench.tick(Send("operator", told)) == []
    assert bench.last.body == {"what": "accepted", "about": "o1"}
    bench.step(boot(name="boot-1"))
    assert bench.tick(Send("operator", told)) == ["vouched"]


def test_a_fence_is_told_once_for_each_start_and_sink() -> None:
    bench = Bench("replica/1")
    bench.step(boot())
    fence = Fence(AGENT, Token(1, 2, ""), KILL_ID)
    told = Send("sink/acme/ledger", fence)
    assert bench.tick(told, told) == ["fence-sent"]
    assert bench.last.body == {"sink": "sink/acme/ledger", "agent": AGENT, "min_token": (1, 2, ""), "order": KILL_ID}
    assert (
        bench.tick(told, Send("sink/acme/archive", fence), Send("sink/acme/ledger", replace(fence, min_token=Token(1, 3, "")))) == ["fence-sent"] * 2
    )
    bench.step(boot(name="boot-1"))
    assert bench.tick(told) == ["fence-sent"]


def test_what_gossip_claims_is_told_when_it_changes() -> None:
    bench = Bench("replica/1")
    bench.step(boot())
    news = Gossip("", ("o1", "o2"), ("o1",))
    assert bench.tick(Send("replica/2", news), Send("replica/3", news)) == ["vouched"] * 3
    assert bench.tick(Send("replica/2", replace(news, waited=("o1", "o2")))) == ["vouched"]
    assert bench.last.body == {"what": "wait", "about": "o2"}
