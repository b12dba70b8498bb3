"""What other defences hide in a run: folds, refusals, overtaken answers and second certificates, each looked at by itself."""

from __future__ import annotations

import pytest
from msgspec import structs

from killswitch.core import audit, checkpoints, intent, keysets, policy, publication, trust
from killswitch.core.bundles import RolloutRequest, Stage
from killswitch.core.events import ProcessExited
from killswitch.core.heads import ForkProof, Sth
from killswitch.core.intent import HARD, ISOLATE, RUN, SOFT, Severity
from killswitch.core.keychanges import KeyChange
from killswitch.core.lessons import LessonRequest
from killswitch.core.messages import NO_TOKEN, EffectRequest, IntentReply, OrderPush, StartReply, StartRequest, Task, Token
from killswitch.core.outlet import parts
from killswitch.core.replica import dispatch
from killswitch.core.sidecar import standby, starts
from killswitch.core.sidecar import step as sidecar_step
from tests.unit import pair
from tests.unit.one_sided import ONE, TWO, alone
from tests.unit.pair import AGENT, AGENT_NODE, LEDGER, SECOND, SIDECAR, THIS_AGENT, TRUST, Link, guarded, id_of

OPEN_TASK = {"begun": checkpoints.OpenTask(Task("begun", LEDGER, 2, 1), 1)}


def left(generation: int = 7) -> ProcessExited:
    """The process is gone, and its last checkpoint has a task open."""
    return ProcessExited(0, False, (checkpoints.seal(checkpoints.Checkpoint(generation, 9, {}, OPEN_TASK)),))


def proposing() -> Link:
    link = Link(SIDECAR, agent_boots=False)
    link.boot()
    link.run(SECOND)
    return link


def test_a_restart_remembers_the_last_checkpoint() -> None:
    link = guarded()
    link.give(SIDECAR, left())
    before = link[SIDECAR].state.checkpoint
    link.boot(SIDECAR)
    assert before > 0
    assert link[SIDECAR].state.checkpoint == before


def test_a_token_on_record_stands_as_its_predecessor_was_left() -> None:
    link = guarded()
    link.give(SIDECAR, left())
    next_token = Token(1, 2, "next")
    link[SIDECAR].records.append(audit.seal(link[SIDECAR].records[-1], "TOKEN", link.now, "boot-1", {"token": parts(next_token)}))
    link[SIDECAR].durable = len(link[SIDECAR].records)
    link.boot(SIDECAR)
    assert link[SIDECAR].state.last_stop[0] == next_token
    assert link[SIDECAR].state.last_stop[3] == ("begun",)


def test_what_an_orphan_had_open_is_in_doubt() -> None:
    link = guarded()
    link[SIDECAR].state.reaping = True
    link.give(SIDECAR, left())
    assert link[SIDECAR].state.last_stop[3] == ("begun",)


@pytest.mark.parametrize(("promised", "stands"), [("less", True), ("more", False)])
def test_a_refusal_ends_a_proposal_only_for_a_greater_promise(promised: str, *, stands: bool) -> None:
    link = proposing()
    token = link[SIDECAR].sent(StartRequest)[-1].token
    other = NO_TOKEN if promised == "less" else structs.replace(token, counter=token.counter + 1)
    link.tell(SIDECAR, StartReply(AGENT, token, ONE, False, False, "ordered", other, ""), ONE)
    assert (link[SIDECAR].state.proposed == token) is stands


def test_an_answer_that_was_overtaken_shortens_no_lease() -> None:
    state = guarded()[SIDECAR].state
    until_ns = state.lease_until_ns
    starts.extend_lease(state, until_ns - 1, "an earlier round", until_ns - SECOND)
    assert state.lease_until_ns == until_ns


def test_what_is_known_of_the_promises_against_a_token_goes_with_it() -> None:
    state = guarded()[SIDECAR].state
    state.superseding = (ONE,)
    starts.drop_lease(state)
    assert state.superseding == ()


def test_what_was_let_out_is_on_record_before_the_change_of_the_gate_that_ended_it() -> None:
    link = guarded()
    link.tell(SIDECAR, EffectRequest("t", 0, "k", "new", LEDGER), AGENT_NODE)
    link.tell(SIDECAR, OrderPush((pair.order(ISOLATE),), ()))
    kinds = link[SIDECAR].kinds()
    assert kinds[kinds.index("PERMIT") :].count("GATE_CHANGE") == 1


@pytest.mark.parametrize(("known", "complete"), [(1, True), (2, False)])
def test_an_answer_that_holds_a_part_is_not_complete(known: int, *, complete: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "ORDERS_MAX", 1)
    link = alone()
    link.tell(ONE, OrderPush(tuple(pair.order(HARD, nonce=str(number), signer=TWO) for number in range(known)), ()), TWO)
    link.tell(ONE, LessonRequest("n"), TWO)
    reply = link[ONE].sent(IntentReply, TWO)[-1]
    assert (len(reply.orders), reply.complete) == (1, complete)


@pytest.mark.parametrize("wide_first", [True, False])
def test_of_several_certificates_that_list_an_order_any_may_lift_it(*, wide_first: bool) -> None:
    order = pair.order(SOFT)
    wide, narrow = pair.resume(order), pair.resume(order, scope=THIS_AGENT, nonce="narrow")
    state, known = intent.Intent(), intent.read_order(order)
    assert known is not None
    intent.add_order(state, known)
    for certificate in (wide, narrow) if wide_first else (narrow, wide):
        read = intent.read_certificate(certificate)
        assert read is not None
        intent.add_certificate(state, read)
        intent.put_in_force(state, id_of(certificate))
    assert intent.is_lifted(state, known)


def test_a_change_of_the_roots_is_taken_over() -> None:
    roots = ("root/7", "root/8", "root/9")
    assert keysets.changed(TRUST.keyset, KeyChange(2, "", roots=roots), "x").roots == roots
    assert keysets.changed(TRUST.keyset, KeyChange(2, ""), "x").roots == TRUST.keyset.roots


@pytest.mark.parametrize(("kind", "value", "suffices"), [("global", "", False), ("tenant", "acme", True), ("agent", AGENT, True)])
def test_one_key_isolates_within_a_tenant_and_not_everybody(kind: str, value: str, *, suffices: bool) -> None:
    request = policy.Request(
        principal="alice", action=policy.STOP, authorised=True, tenant="acme", scope_kind=kind, scope_value=value, gate=int(ISOLATE.gate),
        life=int(ISOLATE.life), grace_ns=0, grace_max_ns=SECOND,
    )  # fmt: skip
    assert policy.is_emergency(request) is suffices


def test_no_number_of_a_rollout_is_given_twice_while_the_first_goes_to_the_disk() -> None:
    link = alone()
    link[ONE].disk = "stuck"
    for name in ("one", "another"):
        asked = RolloutRequest(name, "alice", Stage.CANARY, "permit(principal, action, resource);", "", 100, 9)
        link.tell(ONE, trust.sign_request(TRUST, asked), "operator")
    assert sorted(each.body.seq for each in link[ONE].state.policies.rollouts.values()) == [2, 3]


def test_a_replica_that_keeps_two_logs_counts_for_no_start_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    state = proposing()[SIDECAR].state
    state.ready = (ONE, TWO)
    monkeypatch.setattr(publication, "learn_fork", lambda *_: True)
    heads = [Sth(ONE, 3, bytes([number]) * 32, 0, b"") for number in (1, 2)]
    sidecar_step.on_fork_proof(state, ForkProof(heads[0], heads[1]), SECOND)
    assert state.ready == (TWO,)


def test_rounds_that_are_under_way_are_remembered_beside_the_last() -> None:
    link = guarded()
    link.run(3 * SECOND)
    assert len(link[SIDECAR].state.rounds) > 1


@pytest.mark.parametrize(("floor", "counts"), [(ISOLATE, False), (RUN, True)])
def test_standing_by_for_what_could_not_be_read_is_no_standby_without_an_order(floor: Severity, *, counts: bool) -> None:
    state = guarded()[SIDECAR].state
    state.floors.severity = floor
    standby.follow(state, "STANDBY", SECOND)
    assert (state.standing.since_ns is not None) is counts
