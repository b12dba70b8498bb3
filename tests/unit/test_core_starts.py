"""Starting an agent and starting the sidecar again: tokens, fences, promises, orders in between, and disks that fail (protocol 3.6, D5, D9)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import structs

from killswitch.core import build, checkpoints
from killswitch.core.certificates import ResumeSubmit
from killswitch.core.events import Append, Boot, DiskFailed, ProcessExited, Signal, SignalKind, Spawn, Submit, Timer
from killswitch.core.intent import HARD, ISOLATE, QUIESCE, SOFT, Severity
from killswitch.core.messages import (
    NO_TOKEN,
    Apply,
    EffectRequest,
    Evidence,
    Fence,
    FenceAck,
    Gossip,
    LeaseReply,
    LeaseRequest,
    Order,
    OrderPush,
    StartReply,
    StartRequest,
    Task,
    Token,
)
from killswitch.core.sidecar.state import NEVER
from tests.unit import pair
from tests.unit.pair import AGENT, AGENT_NODE, LEDGER, REPLICAS, SECOND, SIDECAR, Link, cell, guarded, mode

LEASE = pair.PARAMETERS.lease_ns


def spawned(link: Link) -> list[Token]:
    return [effect.token for effect in link[SIDECAR].effects if isinstance(effect, Spawn)]


def everybody_learns(link: Link, order: Order) -> None:
    for replica in REPLICAS:
        peer = REPLICAS[REPLICAS.index(replica) - 1]
        link.tell(replica, Gossip("", orders=(order,)), peer)


def everybody_resumes(link: Link, *orders: Order) -> None:
    for replica in REPLICAS:
        link.tell(replica, ResumeSubmit("r", pair.resume(*orders)), "operator")


# -- starts --------------------------------------------------------------------------------------------------------------------------------


def test_nothing_happens_under_a_token_before_it_is_durable() -> None:
    link = Link(*REPLICAS, *pair.SINKS, SIDECAR, agent_boots=False)
    link[SIDECAR].disk = "stuck"
    link.boot()
    link.run(3 * SECOND)
    assert link[SIDECAR].kinds().count("TOKEN") == 1
    assert not link[SIDECAR].sent(Fence)
    assert {request.token for request in link[SIDECAR].sent(LeaseRequest)} == {NO_TOKEN}
    link.sync(SIDECAR)
    link.settle()
    assert link[SIDECAR].sent(Fence, LEDGER)
    assert mode(link)[0] == "CLOSED"
    assert link[SIDECAR].kinds()[-1] == "PROC_START"
    assert not spawned(link), "the start is on record and not yet durable"
    link.sync(SIDECAR)
    assert len(spawned(link)) == 1


@pytest.mark.parametrize("missing", ["promises", "fence", "lease"])
def test_a_start_waits_for_all_of_its_conditions(missing: str) -> None:
    link = Link(*REPLICAS, *pair.SINKS, SIDECAR, agent_boots=False)
    lost = {"promises": "StartReply", "fence": "FenceAck", "lease": "LeaseReply"}[missing]
    link.cut = lambda sender, to, message: type(message).__name__ == lost and sender in (*REPLICAS[:2], LEDGER)
    link.boot()
    link.run(20 * SECOND)
    assert not spawned(link)
    link.cut = lambda sender, to, message: False
    link.run(5 * SECOND)
    assert len(spawned(link)) == 1


def test_the_lease_of_one_start_serves_no_other() -> None:
    link = cell()
    link.cut = lambda sender, to, message: type(message).__name__ == "LeaseReply"
    link.crash_agent()
    link.run(LEASE - SECOND)
    assert link[SIDECAR].state.token.counter == 2, "the next start has its token, and the old lease would still be live"
    assert len(spawned(link)) == 1
    link.cut = lambda sender, to, message: False
    link.run(2 * SECOND)
    assert len(spawned(link)) == 2


def test_a_token_refused_for_a_greater_one_is_followed_by_one_greater_still() -> None:
    link = Link(SIDECAR, agent_boots=False)
    link.boot()
    link.run(SECOND)
    first = link[SIDECAR].sent(StartRequest)[-1].token
    taken = Token(1, 41, "somebody else")
    link.tell(SIDECAR, StartReply(AGENT, first, "replica/1", False, False, "stale token", taken, ""), "replica/1")
    link.run(SECOND)
    assert link[SIDECAR].sent(StartRequest)[-1].token.counter == 42


def test_one_replica_promises_once_however_often_it_says_so() -> None:
    link = Link(SIDECAR, agent_boots=False)
    link.boot()
    link.run(SECOND)
    token = link[SIDECAR].sent(StartRequest)[-1].token
    for claimed in REPLICAS:
        link.tell(SIDECAR, StartReply(AGENT, token, claimed, True, True, "", token, ""), "replica/1")
    assert "TOKEN" not in link[SIDECAR].kinds()
    link.tell(SIDECAR, StartReply(AGENT, token, "replica/2", True, True, "", token, ""), "replica/2")
    assert "TOKEN" in link[SIDECAR].kinds()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda reply: structs.replace(reply, complete=False),
        lambda reply: structs.replace(reply, ready=False),
        lambda reply: structs.replace(reply, token=structs.replace(reply.token, instance="another")),
        lambda reply: structs.replace(reply, orders=(Order(b"of a later make", "replica/1", b""),)),
    ],
    ids=["incomplete", "not ready", "of another start", "with an order that cannot be believed"],
)
def test_what_does_not_count_as_a_promise(spoil: Callable[[StartReply], StartReply]) -> None:
    link = Link(SIDECAR, agent_boots=False)
    link.boot()
    link.run(SECOND)
    token = link[SIDECAR].sent(StartRequest)[-1].token
    answers = [StartReply(AGENT, token, replica, True, True, "", token, "") for replica in REPLICAS[:2]]
    link.tell(SIDECAR, answers[0], REPLICAS[0])
    link.tell(SIDECAR, spoil(answers[1]), REPLICAS[1])
    assert "TOKEN" not in link[SIDECAR].kinds()
    link.tell(SIDECAR, answers[1], REPLICAS[1])
    assert "TOKEN" in link[SIDECAR].kinds()


def stuck_before(kind: str) -> Link:
    """A start whose disk stops just before the record of this kind is durable."""
    link = Link(*REPLICAS, *pair.SINKS, SIDECAR, agent_boots=False)
    link.cut = lambda sender, to, message: isinstance(message, FenceAck) and kind == "fence"
    link.boot()
    link[SIDECAR].disk = "stuck" if kind != "fence" else "prompt"
    for _ in range(3):
        link.run(SECOND)
        if kind in link[SIDECAR].kinds():
            return link
        if kind != "fence":
            link.sync(SIDECAR)
            link.settle()
    assert kind == "fence"
    return link


@pytest.mark.parametrize("severity", [ISOLATE, SOFT, QUIESCE, HARD])
@pytest.mark.parametrize("moment", ["TOKEN", "fence", "PROC_START"])
def test_an_order_in_the_middle_of_a_start_ends_it_for_good(moment: str, severity: Severity) -> None:
    link = stuck_before(moment)
    order = pair.order(severity)
    everybody_learns(link, order)
    link.tell(SIDECAR, OrderPush((order,), ()))
    link[SIDECAR].disk = "prompt"
    link.cut = lambda sender, to, message: False
    link.settle()
    abandoned = link[SIDECAR].state.token
    link.run(2 * SECOND)
    assert not spawned(link)
    told = link[SIDECAR].sent(Evidence, "replica/1")[-1]
    assert (told.stage, told.token) == ("GATE_CLOSED" if severity is ISOLATE else "STOPPED_CLEAN", abandoned), (
        "nothing runs, nor will, up to that token"
    )
    everybody_resumes(link, order)
    link.run(5 * SECOND)
    assert [token > abandoned for token in spawned(link)] == [True], "a token that was given up is never used again"


def test_a_start_given_up_leaves_its_predecessors_doubts_standing() -> None:
    """Nothing ran under the new token, so what the one before left in doubt is what is left in doubt now (S10, S20)."""
    link = guarded()
    link.tell(SIDECAR, EffectRequest("in flight", 0, "k", "new", LEDGER), AGENT_NODE)
    begun = {"begun": checkpoints.OpenTask(Task("begun", LEDGER, 2, 1), 1)}
    link.give(SIDECAR, ProcessExited(0, False, (checkpoints.seal(checkpoints.Checkpoint(1, 9, {}, begun)),)))
    link.cut = lambda sender, to, message: isinstance(message, FenceAck)
    link.run(3 * SECOND)
    assert link[SIDECAR].state.opened
    link.tell(SIDECAR, OrderPush((pair.order(SOFT),), ()))
    proof = link[SIDECAR].sent(Evidence)[-1]
    assert (proof.stage, proof.in_doubt, proof.token.counter) == ("STOPPED_FORCED", ("begun", "in flight"), 2)
    link.boot(SIDECAR)
    proof = link[SIDECAR].sent(Evidence)[-1]
    assert (proof.stage, proof.in_doubt, proof.token.counter) == ("STOPPED_FORCED", ("begun", "in flight"), 2), "and a restart knows it, too"


@pytest.mark.parametrize("failing", range(1, 6))
def test_a_disk_that_fails_during_a_start_never_lets_it_happen(failing: int) -> None:
    """Whichever record of a start is the first to fail, nothing is spawned after it and the gate never opens."""
    link = Link(*REPLICAS, *pair.SINKS, SIDECAR, agent_boots=False)
    link.boot()
    seat = link[SIDECAR]
    sound = link.settle

    def until_it_fails() -> None:
        if len(seat.records) >= failing and seat.disk == "prompt":
            link.give(SIDECAR, DiskFailed(len(seat.records)), settle=False)
            seat.disk = "broken"
        sound()

    seat.disk = "stuck" if failing > 1 else "prompt"
    for _ in range(20):
        if seat.disk == "stuck" and len(seat.records) < failing:
            link.sync(SIDECAR)
            sound()
        elif seat.disk != "broken":
            seat.disk = "prompt"
            until_it_fails()
        link.run(SECOND // 4)
    before = len(spawned(link))
    assert before == (1 if "PROC_START" in [record.kind for record in seat.records[: seat.durable]] else 0)
    assert mode(link)[0] == "CLOSED"
    link.run(10 * SECOND)
    assert len(spawned(link)) == before
    assert mode(link)[0] == "CLOSED"
    assert not seat.sent(Evidence)


# -- fenced off ----------------------------------------------------------------------------------------------------------------------------


def test_a_kill_lifted_before_it_was_heard_leaves_no_agent_working_in_vain() -> None:
    """A kill fences the agent out of its sinks. If it is lifted before the sidecar ever hears of it, leases flow again under a token that
    no sink lets in: the token has to be replaced, or the agent runs for ever and achieves nothing (L6)."""
    link = cell()
    link.cut = lambda sender, to, message: SIDECAR in (sender, to) and bool({sender, to} & set(REPLICAS))
    hard = pair.order(HARD)
    everybody_learns(link, hard)
    link.run(7 * SECOND)
    assert mode(link) == ("CLOSED", "STANDBY")
    everybody_resumes(link, hard)
    link.cut = lambda sender, to, message: False
    link.run(3 * SECOND)
    assert mode(link) == ("OPEN", "RUNNING")
    link.give(AGENT_NODE, Submit(Task("in vain", LEDGER, 1, 1)))
    link.run(5 * SECOND)
    assert [token.counter for token in spawned(link)] == [1, 2]
    link.give(AGENT_NODE, Submit(Task("at last", LEDGER, 1, 1)))
    link.run(SECOND)
    assert ("at last", "COMPLETED") in link.acknowledged
    assert {outcome for task, outcome in link.acknowledged if task == "in vain"} <= {"COMPLETED", "ROLLED_BACK"}


def test_a_fence_alone_replaces_nothing_while_no_quorum_vouches() -> None:
    link = guarded()
    link.tell(SIDECAR, FenceAck(LEDGER, AGENT, Token(1, 7, "")), LEDGER)
    link.run(2 * LEASE)
    assert mode(link) == ("CLOSED", "STANDBY")
    assert all(effect.kind is SignalKind.REAP_ORPHANS for effect in link[SIDECAR].effects if isinstance(effect, Signal))


@pytest.mark.parametrize(("shut", "counter"), [(Token(1, 6, ""), 6), (Token(1, 6, "zz"), 7)])
def test_a_start_that_finds_its_sink_fenced_higher_tries_a_greater_token(shut: Token, counter: int) -> None:
    link = Link(*REPLICAS, LEDGER, SIDECAR, AGENT_NODE, sinks={LEDGER: "F"})
    link.boot(*REPLICAS, LEDGER)
    link.tell(LEDGER, Fence(AGENT, shut, "an order of long ago"), "replica/3")
    link.boot(SIDECAR)
    link.run(5 * SECOND)
    assert mode(link) == ("OPEN", "RUNNING")
    assert [token.counter for token in spawned(link)] == [counter]
    link.give(AGENT_NODE, Submit(Task("t", LEDGER, 2, 1)))
    link.run(SECOND)
    assert link.acknowledged == [("t", "COMPLETED")]


# -- the sidecar's own restart -------------------------------------------------------------------------------------------------------------

STORIES: dict[str, tuple[Severity, ...]] = {
    "RUNNING": (), "STANDBY": (ISOLATE,), "DRAINING": (SOFT,), "QUIESCING": (QUIESCE,), "KILLING": (HARD,), "SOFT then HARD": (SOFT, HARD),
}  # fmt: skip


def in_the_middle_of(story: str) -> Link:
    link = guarded()
    for severity in STORIES[story]:
        link.tell(SIDECAR, OrderPush((pair.order(severity),), ()))
    return link


@pytest.mark.parametrize("boot", ["boot-1", "boot-2"])
@pytest.mark.parametrize("story", STORIES)
def test_a_restart_is_closed_and_remembers_every_order(story: str, boot: str) -> None:
    link = in_the_middle_of(story)
    before, deadlines, digest = set(link[SIDECAR].state.intent.orders), dict(link[SIDECAR].state.deadlines), link[SIDECAR].machine.digest()
    asked = len(link[SIDECAR].sent(Apply))
    link.boot(SIDECAR, boot=boot)
    state = link[SIDECAR].state
    assert mode(link) == ("CLOSED", "STOPPED")
    assert set(state.intent.orders) == before
    assert state.lease_until_ns == NEVER
    assert not state.permits
    assert state.deadlines == (deadlines if boot == "boot-1" else dict.fromkeys(deadlines, NEVER)), "a deadline outlives a restart, not a reboot"
    if boot == "boot-1":
        assert link[SIDECAR].machine.digest() == digest
    link.tell(SIDECAR, EffectRequest("t", 0, "k", "inflight", LEDGER), AGENT_NODE)
    assert len(link[SIDECAR].sent(Apply)) == asked


@pytest.mark.parametrize("story", STORIES)
def test_nothing_of_an_earlier_instance_opens_the_gate(story: str) -> None:
    link = in_the_middle_of(story)
    round_ = link[SIDECAR].sent(LeaseRequest)[-1]
    link.boot(SIDECAR)
    for replica in REPLICAS:
        link.tell(SIDECAR, LeaseReply(AGENT, round_.nonce, round_.token, replica, LEASE, "", "", round_.token, 0), replica)
    assert mode(link)[0] == "CLOSED"
    assert link[SIDECAR].state.lease_until_ns == NEVER


@pytest.mark.parametrize(("deniers", "outlived"), [(1, False), (2, True)])
def test_a_start_that_others_have_superseded_gives_way_and_takes_its_turn_a_lease_later(deniers: int, outlived: bool) -> None:
    link = guarded()
    link.cut = lambda sender, to, message: False
    state, token = link[SIDECAR].state, link[SIDECAR].state.token
    greater = Token(token.epoch, token.counter + 4, "copy")
    for replica in REPLICAS[:deniers]:
        link[replica].state.promised[AGENT] = greater
    link.run(2 * SECOND)
    assert state.outdated is outlived or state.token > token
    assert any(effect.kind is SignalKind.TERM for effect in link[SIDECAR].effects if isinstance(effect, Signal)) is outlived
    if outlived:
        link.give(SIDECAR, ProcessExited(0, signalled=False))
        assert state.restart_after_ns > link.now
    link.run(2 * LEASE + 10 * SECOND)
    assert (state.token > greater) is outlived
    assert mode(link)[0] == "OPEN"


def test_orphans_are_reaped_before_anything_starts() -> None:
    link = guarded()
    link.cut = lambda sender, to, message: False
    seat = link[SIDECAR]
    before = len(spawned(link))
    link.carry_out(seat, [effect for effect in seat.boot(link.now) if not isinstance(effect, Signal)])
    link.run(5 * SECOND)
    assert len(spawned(link)) == before
    link.give(SIDECAR, ProcessExited(0, signalled=False))
    link.run(5 * SECOND)
    assert len(spawned(link)) == before + 1
    assert seat.state.last_stop[1] == "STOPPED_FORCED", "it ended unseen"


@pytest.mark.parametrize("story", ["RUNNING", "DRAINING", "SOFT then HARD"])
def test_every_prefix_of_the_log_boots_closed_with_the_orders_it_holds(story: str) -> None:
    link = in_the_middle_of(story)
    records = list(link[SIDECAR].records)
    for length in range(len(records) + 1):
        link[SIDECAR].boot(link.now, records=records[:length])
        learned = [record for record in records[:length] if record.kind == "ORDER_LEARNED"]
        assert len(link[SIDECAR].state.intent.orders) == len(learned)
        assert link[SIDECAR].state.told[0].name == "CLOSED"
        assert Spawn not in {type(effect) for effect in link[SIDECAR].take(Timer("renew"), link.now)}


def test_a_torn_log_is_put_on_record() -> None:
    link = guarded()
    seat = link[SIDECAR]
    whole = len(seat.records) - 1
    torn = structs.replace(seat.records[-1], hash=b"torn")
    effects = build.machine(seat.config, pair.SIGNER).step(Boot((*seat.records[:-1], torn), "boot-1", "again"), link.now)
    first = next(effect.record for effect in effects if isinstance(effect, Append))
    assert (first.kind, first.seq) == ("RECOVERED", whole + 1)


def test_evidence_of_an_earlier_start_speaks_of_that_start() -> None:
    link = cell()
    soft = pair.order(SOFT)
    everybody_learns(link, soft)
    link.run(SECOND)
    everybody_resumes(link, soft)
    link.run(5 * SECOND)
    assert mode(link) == ("OPEN", "RUNNING")
    link.tell(SIDECAR, OrderPush((pair.order(HARD),), ()))
    tokens = {proof.order: proof.token.counter for proof in link[SIDECAR].sent(Evidence)}
    assert tokens == {pair.id_of(soft): 1, pair.id_of(pair.order(HARD)): 2}


STRANGE: dict[str, Callable[[Link], object]] = {
    "exit of nothing": lambda link: link.give(SIDECAR, ProcessExited(0, signalled=False)),
    "unknown timer": lambda link: link.give(SIDECAR, Timer("no such timer")),
    "late kill timer": lambda link: link.give(SIDECAR, Timer("kill")),
    "late grace timer": lambda link: link.give(SIDECAR, Timer("grace")),
}


@pytest.mark.parametrize("what", STRANGE)
def test_strange_inputs_change_nothing_at_rest(what: str) -> None:
    link = guarded()
    link.tell(SIDECAR, OrderPush((pair.order(HARD),), ()))
    link.give(SIDECAR, ProcessExited(-9, signalled=True))
    before = (mode(link), link[SIDECAR].machine.digest(), len(link[SIDECAR].records))
    STRANGE[what](link)
    assert (mode(link), link[SIDECAR].machine.digest(), len(link[SIDECAR].records)) == before


@pytest.mark.parametrize("refused", [False, True])
def test_a_token_on_record_that_is_not_durable_yet_folds_to_the_state_that_wrote_it(refused: bool) -> None:
    link = Link(*REPLICAS, *pair.SINKS, SIDECAR)
    link[SIDECAR].disk = "stuck"
    link.boot()
    link.run(3 * SECOND)
    seat = link[SIDECAR]
    written = seat.state.recorded_token
    assert "TOKEN" in seat.kinds() and seat.durable < len(seat.records) and seat.state.token == NO_TOKEN
    if refused:
        later = Token(1, written.counter + 1, "other")
        link.tell(SIDECAR, StartReply(AGENT, written, REPLICAS[0], False, False, "stale token", later, "", True, (), ()))
        seat.sync(link.now)
        assert seat.state.token == NO_TOKEN, "somebody else is ahead: what was written is not opened"
    fresh = build.machine(pair.config(SIDECAR), pair.SIGNER)
    fresh.step(Boot(tuple(seat.records), "boot-1", "fold"), link.now)
    assert fresh.digest() == seat.machine.digest()


def test_a_token_opened_without_a_record_does_not_fold_to_the_same_state() -> None:
    link = cell()
    seat = link[SIDECAR]
    seat.state.token = Token(1, seat.state.token.counter + 1, "unrecorded")
    fresh = build.machine(pair.config(SIDECAR), pair.SIGNER)
    fresh.step(Boot(tuple(seat.records), "boot-1", "fold"), link.now)
    assert fresh.digest() != seat.machine.digest()
