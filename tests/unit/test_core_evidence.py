"""The sidecar: what it believes, what it can prove, and when it says so (protocol 3.4, 3.5, S20)."""

from __future__ import annotations

import pytest
from msgspec import structs

from killswitch.core import audit, checkpoints
from killswitch.core.events import DiskFailed, Durable, ProcessExited, Send, Signal
from killswitch.core.intent import HARD, ISOLATE, SOFT, Severity
from killswitch.core.messages import ApplyResult, Challenge, Evidence, Query, QueryResult, ResolveRequest, StopAck, Task, UnknownProhibition
from killswitch.core.scopes import Scope
from tests.unit import pair
from tests.unit.one_sided import answers, ask, push, signals, stages
from tests.unit.pair import AGENT_NODE, BANK, LEDGER, POST, SECOND, SIDECAR, Link, guarded, mode

# -- prohibitions and permissions ----------------------------------------------------------------------------------------------------------


def test_orders_of_others_and_forgeries_change_nothing() -> None:
    link = guarded()
    push(link, pair.order(HARD, scope=Scope("tenant", "globex"), tenant="globex"))
    push(link, structs.replace(pair.order(HARD), signature=b"forged"), pair.order(HARD, signer="alice"))
    assert mode(link) == ("OPEN", "RUNNING")
    assert not link[SIDECAR].state.intent.orders
    assert len(link[SIDECAR].observed("order-rejected")) == 2


def test_a_certificate_acts_only_when_durable_and_may_come_before_its_order() -> None:
    isolate = pair.order(ISOLATE)
    certificate = pair.resume(isolate)
    link = guarded()
    push(link, isolate)
    link[SIDECAR].disk = "stuck"
    push(link, certificates=(certificate,))
    assert mode(link) == ("CLOSED", "STANDBY")
    link.sync(SIDECAR)
    assert mode(link) == ("OPEN", "RUNNING")
    early = guarded()
    push(early, certificates=(certificate,))
    push(early, isolate)
    assert mode(early) == ("OPEN", "RUNNING")
    assert not signals(early)[1:], "no process was touched"


def test_a_certificate_whose_disk_fails_never_acts() -> None:
    isolate = pair.order(ISOLATE)
    link = guarded()
    push(link, isolate)
    link[SIDECAR].disk = "stuck"
    push(link, certificates=(pair.resume(isolate),))
    link.give(SIDECAR, DiskFailed(len(link[SIDECAR].records)))
    link.give(SIDECAR, Durable(len(link[SIDECAR].records)))
    assert mode(link) == ("CLOSED", "STANDBY")
    assert not link[SIDECAR].state.intent.in_force


@pytest.mark.parametrize("approvers", [("bob",), ("bob", "bob"), ("bob", "alice"), ("bob", "replica/1"), ()])
def test_too_few_approvers_lift_nothing(approvers: tuple[str, ...]) -> None:
    isolate = pair.order(ISOLATE)
    link = guarded()
    push(link, isolate, certificates=(pair.resume(isolate, approvers=approvers),))
    assert mode(link) == ("CLOSED", "STANDBY")


@pytest.mark.parametrize(
    ("gate", "life", "name"),
    [(0, 0, "STANDBY"), (1, 1, "QUIESCING"), (2, 2, "KILLING"), (9, 0, "STANDBY"), (2**63, 2**63, "KILLING"), (-4, -4, "KILLING")],
)
def test_a_prohibition_that_cannot_be_read_counts_as_its_floor_and_at_least_isolate(gate: int, life: int, name: str) -> None:
    link = guarded()
    link.tell(SIDECAR, UnknownProhibition(gate, life, "replica/1", "major 2"))
    assert mode(link) == ("CLOSED", name)
    if name == "QUIESCING":
        link.run(pair.PARAMETERS.stop_timeout_ns)
        assert mode(link)[1] == "KILLING"


def test_only_the_control_plane_prohibits_in_words_that_nobody_can_read() -> None:
    link = guarded()
    for stranger in (LEDGER, "sidecar/globex/1", AGENT_NODE):
        link.tell(SIDECAR, UnknownProhibition(2, 2, "replica/1", "major 2"), stranger)
    assert mode(link) == ("OPEN", "RUNNING")


# -- evidence ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("severity", "told"),
    [(ISOLATE, ["GATE_CLOSED"]), (SOFT, ["DRAINING", "STOPPED_FORCED"]), (HARD, ["GATE_CLOSED", "STOPPED_FORCED"])],
)
def test_evidence_follows_the_facts_and_its_log(severity: Severity, told: list[str]) -> None:
    link = guarded()
    link[SIDECAR].disk = "stuck"
    push(link, pair.order(severity))
    if severity is not ISOLATE:
        link.give(SIDECAR, ProcessExited(-9, signalled=True))
    evidence = [effect for effect in link[SIDECAR].effects if isinstance(effect, Send) and isinstance(effect.message, Evidence)]
    assert [send.message.stage for send in evidence if send.to == "replica/1"] == told  # type: ignore[union-attr]  # only evidence is left
    written = {record.seq: record.kind for record in link[SIDECAR].records}
    assert {written[send.after_lsn] for send in evidence} == {"EVIDENCE"}
    assert {send.message.token for send in evidence} == {link[SIDECAR].state.token}  # type: ignore[union-attr]
    assert not link[SIDECAR].state.proved, "nothing is proved before it is durable"


def test_draining_is_told_as_soon_as_nothing_new_can_leave() -> None:
    link = guarded()
    ask(link)
    push(link, pair.order(SOFT))
    assert stages(link) == ["DRAINING"]
    link.tell(SIDECAR, ApplyResult(LEDGER, "k", "APPLIED"), LEDGER)
    assert stages(link) == ["DRAINING"], "each stage once"


def left_behind(generation: int = 3, *, ended: tuple[str, ...] = ("task",), open_: tuple[str, ...] = ()) -> tuple[bytes, ...]:
    """What the agent's slots hold: one whole checkpoint, and a torn one that claims to be newer."""
    begun = {task: checkpoints.OpenTask(Task(task, LEDGER, 2, 1), 1) for task in open_}
    whole = checkpoints.seal(checkpoints.Checkpoint(generation, 9, dict.fromkeys(ended, "COMPLETED"), begun))
    return (whole, checkpoints.seal(checkpoints.Checkpoint(generation + 1, 9, {}, {}))[:-1])


@pytest.mark.parametrize(
    ("left", "code", "in_flight", "stage"),
    [
        (left_behind(), 0, False, "STOPPED_CLEAN"),
        (left_behind(open_=("t",)), 0, False, "STOPPED_FORCED"),
        (left_behind(ended=()), 0, False, "STOPPED_FORCED"),
        (left_behind(), 1, False, "STOPPED_FORCED"),
        (left_behind(), 0, True, "STOPPED_FORCED"),
        (left_behind()[1:], 0, False, "STOPPED_FORCED"),
        ((), 0, False, "STOPPED_FORCED"),
    ],
)
def test_clean_is_what_the_sidecar_saw_itself(left: tuple[bytes, ...], code: int, in_flight: bool, stage: str) -> None:
    """Whatever the agent says: here it claims a later checkpoint and nothing left open, each time."""
    link = guarded()
    ask(link)
    link.tell(SIDECAR, ApplyResult(LEDGER, "k", "APPLIED"), LEDGER)
    assert link[SIDECAR].state.last_applied == "task"
    if in_flight:
        ask(link, "k2")
    push(link, pair.order(SOFT))
    link.tell(SIDECAR, StopAck(7, ()), AGENT_NODE)
    link.give(SIDECAR, ProcessExited(code, False, left))
    assert stages(link)[-1] == stage
    assert link[SIDECAR].state.checkpoint == (3 if len(left) == 2 else 0)


def in_doubt(sink: str) -> Link:
    """An effect left, and its sink did not answer in time."""
    link = guarded()
    ask(link, sink=sink)
    if sink == BANK:
        link.tell(SIDECAR, Challenge(BANK, "k", "n"), BANK)
    link.run(pair.PARAMETERS.renew_ns)
    assert answers(link) == ["IN_DOUBT"]
    return link


def stop_after_doubt(link: Link, nonce: str, generation: int) -> Evidence:
    """It leaves by itself, and its checkpoint says that all is done."""
    push(link, pair.order(SOFT, nonce=nonce))
    link.give(SIDECAR, ProcessExited(0, False, left_behind(generation)))
    proof = [proof for proof in link[SIDECAR].sent(Evidence) if proof.stage.startswith("STOPPED")][-1]
    assert isinstance(proof, Evidence)
    return proof


@pytest.mark.parametrize("sink", [BANK, POST])
def test_what_a_sink_never_answered_is_in_doubt_whatever_the_agent_saved(sink: str) -> None:
    proof = stop_after_doubt(in_doubt(sink), "first", 3)
    assert (proof.stage, proof.in_doubt) == ("STOPPED_FORCED", ("task",))


def test_what_is_in_doubt_stays_so_in_the_next_start() -> None:
    link = in_doubt(POST)
    stop_after_doubt(link, "first", 3)
    push(link, certificates=(pair.resume(pair.order(SOFT, nonce="first")),))
    link.cut = lambda sender, to, message: False
    link.run(20 * SECOND)
    assert link[SIDECAR].state.process
    proof = stop_after_doubt(link, "second", 5)
    assert (proof.token.counter, proof.stage, proof.in_doubt) == (2, "STOPPED_FORCED", ("task",))


@pytest.mark.parametrize(("said", "stage"), [("APPLIED", "STOPPED_CLEAN"), ("ABSENT", "STOPPED_CLEAN"), ("UNKNOWN", "STOPPED_FORCED")])
def test_what_the_sink_says_in_the_end_ends_the_doubt(said: str, stage: str) -> None:
    link = in_doubt(BANK)
    link.tell(SIDECAR, ResolveRequest("k", BANK), AGENT_NODE)
    link.tell(SIDECAR, QueryResult(BANK, "k", said, nonce=link[SIDECAR].sent(Query)[-1].nonce), BANK)
    assert stop_after_doubt(link, "first", 3).stage == stage


def unkillable() -> Link:
    link = guarded()
    link.reaps = False
    push(link, pair.order(HARD))
    return link


def test_a_kill_that_does_not_succeed_is_said_and_its_success_too() -> None:
    link = unkillable()
    link.run(2 * pair.PARAMETERS.kill_retry_ns - 1)
    assert "KILL_FAILED" not in stages(link)
    link.run(1)
    assert stages(link)[-1] == "KILL_FAILED"
    link.run(3 * SECOND)
    assert stages(link).count("KILL_FAILED") == 1
    link.give(SIDECAR, ProcessExited(-9, signalled=True))
    assert stages(link)[-1] == "STOPPED_FORCED"


def test_an_orphan_that_will_not_die_is_said_to_live() -> None:
    link = unkillable()
    token = link[SIDECAR].state.token
    link.boot(SIDECAR)
    link.run(2 * pair.PARAMETERS.kill_retry_ns)
    assert (stages(link)[-1], link[SIDECAR].sent(Evidence)[-1].token) == ("KILL_FAILED", token)


def test_an_isolated_agent_is_never_shown_as_stopped() -> None:
    link = guarded()
    push(link, pair.order(ISOLATE))
    link.give(SIDECAR, ProcessExited(-9, signalled=True))
    assert set(stages(link)) == {"GATE_CLOSED"}


def test_nothing_is_proven_of_a_process_that_may_still_be_there() -> None:
    """Orphans of an earlier instance are not reaped yet: nobody knows whether they are gone."""
    link = guarded()
    push(link, pair.order(HARD))
    before = len(stages(link))
    effects = link[SIDECAR].boot(link.now)
    link.carry_out(link[SIDECAR], [effect for effect in effects if not isinstance(effect, Signal)])
    link.settle()
    assert len(stages(link)) == before
    link.give(SIDECAR, ProcessExited(-9, signalled=True))
    assert stages(link)[before:] == ["STOPPED_FORCED"]


def test_nothing_is_proven_of_a_start_that_is_on_its_way_to_the_disk() -> None:
    link = Link(*pair.REPLICAS, *pair.SINKS, SIDECAR, agent_boots=False)
    link.boot()
    link[SIDECAR].room = link[SIDECAR].durable
    while "PROC_START" not in link[SIDECAR].kinds():
        link[SIDECAR].room = max(link[SIDECAR].room, len(link[SIDECAR].records))
        link.run(SECOND)
        if "PROC_START" in link[SIDECAR].kinds():
            link[SIDECAR].room = link[SIDECAR].durable
    assert link[SIDECAR].state.spawning
    push(link, pair.order(HARD))
    assert stages(link) == []
    link[SIDECAR].room = len(link[SIDECAR].records)
    link.settle()
    link[SIDECAR].room = 1 << 30
    link.settle()
    assert stages(link) == ["STOPPED_CLEAN"]


@pytest.mark.parametrize(("journal", "chosen"), [(9, 4), (8, 3), (4, 3), (3, None)])
def test_a_checkpoint_reaches_no_further_than_the_journal(journal: int, chosen: int | None) -> None:
    slots = tuple(checkpoints.seal(checkpoints.Checkpoint(generation, lsn, {}, {})) for generation, lsn in ((3, 4), (4, 9)))
    found = checkpoints.choose(slots, journal)
    assert (found.generation if found else None) == chosen


def test_a_checkpoint_that_was_found_once_is_not_taken_back_by_a_stop_that_finds_none() -> None:
    link = guarded()
    begun = {"begun": checkpoints.OpenTask(Task("begun", LEDGER, 2, 1), 1)}
    link.give(SIDECAR, ProcessExited(0, False, (checkpoints.seal(checkpoints.Checkpoint(4, 9, {}, begun)),)))
    link.cut = lambda sender, to, message: False
    link.run(3 * SECOND)
    assert link[SIDECAR].state.process
    link.give(SIDECAR, ProcessExited(-9, True, ()))
    found = [audit.content(record)["checkpoint"] for record in link[SIDECAR].records if record.kind == "PROC_REAPED"]
    assert found == [4, 4]


def test_an_orphan_that_is_gone_was_not_seen_to_end_cleanly() -> None:
    link = guarded()
    push(link, pair.order(SOFT))
    link.reaps = False
    link.boot(SIDECAR)
    link.give(SIDECAR, ProcessExited(0, False, left_behind()))
    assert stages(link)[-1] == "STOPPED_FORCED"
