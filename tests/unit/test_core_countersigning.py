"""Stops that take more keys than one: isolated at once, ordered once enough distinct people ask, one order wherever it is completed (3.9)."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from harness.shared.judge import Judge
from killswitch.core import audit, codec, keys, keysets, trust
from killswitch.core.bundles import RolloutRequest
from killswitch.core.certificates import ResumeCertificate, ResumeSubmit
from killswitch.core.countersigns import COUNTERSIGNATURES_MAX, Countersignature, CountersignedRequest
from killswitch.core.events import Command
from killswitch.core.intent import HARD, ISOLATE, QUIESCE, SOFT, Severity
from killswitch.core.keychanges import KeyChange
from killswitch.core.keys import KeyedHash
from killswitch.core.messages import Gossip, OrderRequest, OrderStatus
from scenarios import bundles
from tests.unit import pair
from tests.unit.one_sided import ONE, THREE, TWO, alone, control_plane, request
from tests.unit.pair import REPLICAS, SECOND, SIGNER, TRUST, Link, cell, mode

TWO_KEYS = bundles.text("two-keys")
THREE_KEYS = TWO_KEYS.replace('@approvals("2")', '@approvals("3")', 1)
STOP = request()


def roll_out(link: Link, text: str, stage: str = "STABLE", node: str = ONE) -> None:
    for number, step in enumerate(("SHADOW", stage)):
        asked = RolloutRequest(f"{stage}-{number}", "alice", step, text if number == 0 else "", "", 100, 9)
        link.tell(node, trust.sign_request(TRUST, asked), "operator")
    link.run(SECOND)


def careful(text: str = TWO_KEYS) -> Link:
    """One replica that decides by a policy which wants further keys."""
    link = alone()
    roll_out(link, text)
    return link


def signed(asked: OrderRequest, *people: str) -> CountersignedRequest:
    return with_signatures(asked, *(trust.countersign(TRUST, person, asked) for person in people))


def with_signatures(asked: OrderRequest, *signatures: Countersignature) -> CountersignedRequest:
    return CountersignedRequest(asked.request, codec.unsigned(asked), asked.signature, signatures)


def orders(link: Link, node: str = ONE) -> dict[str, Severity]:
    return {known.id: known.severity for known in link[node].state.intent.orders.values()}


def latest(link: Link, node: str = ONE) -> tuple[str, int]:
    status = link[node].sent(OrderStatus)[-1]
    return status.stage, status.keys


# -- isolate first, approve after ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("severity", [HARD, SOFT, QUIESCE])
def test_one_key_isolates_at_once_and_hears_how_many_more_it_takes(severity: Severity) -> None:
    link = careful()
    link.tell(ONE, request(severity), "operator")
    assert list(orders(link).values()) == [ISOLATE]
    assert latest(link) == ("ACCEPTED", 1)
    link.tell(ONE, request(severity), "operator")
    assert (len(orders(link)), latest(link)) == (1, ("ACCEPTED", 1)), "asking again is one more time the same key"


def test_a_second_person_makes_it_what_was_asked_for() -> None:
    link = careful()
    link.tell(ONE, STOP, "operator")
    link.tell(ONE, signed(STOP, "bob"), "operator")
    assert list(orders(link).values()) == [ISOLATE, HARD]
    assert latest(link) == ("ACCEPTED", 0)
    for again in (STOP, signed(STOP, "carol"), signed(STOP)):
        link.tell(ONE, again, "operator")
        assert (len(orders(link)), latest(link)) == (2, ("ACCEPTED", 0)), "what was ordered is answered as that, whoever asks again"


def test_without_the_first_half_a_completed_request_is_ordered_all_the_same() -> None:
    link = careful()
    link.tell(ONE, signed(STOP, "bob"), "operator")
    assert list(orders(link).values()) == [HARD]


def test_too_few_isolate_and_are_told_so_for_good() -> None:
    link = careful(THREE_KEYS)
    link.tell(ONE, signed(STOP, "bob"), "operator")
    assert list(orders(link).values()) == [ISOLATE]
    assert [(each.stage, each.keys) for each in link[ONE].sent(OrderStatus)] == [("NEEDS_KEYS", 2), ("ACCEPTED", 2)]
    link.tell(ONE, signed(STOP, "bob", "carol"), "operator")
    assert list(orders(link).values()) == [ISOLATE, HARD]


def test_against_one_agent_and_for_isolate_one_key_is_enough() -> None:
    link = careful()
    link.tell(ONE, request(scope=pair.THIS_AGENT), "operator")
    link.tell(ONE, request(ISOLATE, name="other"), "operator")
    assert list(orders(link).values()) == [HARD, ISOLATE]
    assert latest(link) == ("ACCEPTED", 0)


def test_a_canary_that_wants_more_keys_softens_no_stop_and_asks_for_none() -> None:
    link = alone()
    roll_out(link, TWO_KEYS, "CANARY")
    link.tell(ONE, STOP, "operator")
    assert (list(orders(link).values()), latest(link)) == ([HARD], ("ACCEPTED", 0))


# -- whose signature counts -------------------------------------------------------------------------------------------------------------------


def approval_of_a_resume() -> Countersignature:
    return Countersignature("bob", SIGNER.sign("bob", keys.RESUME, codec.unsigned(STOP)))


def request_of_his_own() -> Countersignature:
    return Countersignature("bob", SIGNER.sign("bob", keys.ORDER_REQUEST, codec.unsigned(STOP)))


@pytest.mark.parametrize("signatures", [
    (trust.countersign(TRUST, "alice", STOP),),
    (trust.countersign(TRUST, "mallory", STOP),),
    (trust.countersign(TRUST, pair.SIDECAR, STOP),),
    (trust.countersign(TRUST, ONE, STOP),),
    (trust.countersign(TRUST, "bob", request(name="another")),),
    (trust.countersign(TRUST, "bob", request(QUIESCE)),),
    (Countersignature("carol", trust.countersign(TRUST, "bob", STOP).signature),),
    (approval_of_a_resume(),),
    (request_of_his_own(),),
    (),
])  # fmt: skip
def test_what_is_no_second_person_who_asks_for_exactly_this(signatures: tuple[Countersignature, ...]) -> None:
    link = careful()
    link.tell(ONE, with_signatures(STOP, *signatures), "operator")
    assert list(orders(link).values()) == [ISOLATE]


def test_a_countersignature_approves_no_resume() -> None:
    link = alone()
    isolate = pair.order(ISOLATE)
    link.tell(ONE, request(ISOLATE), "operator")
    certificate = pair.resume(isolate, approvers=())
    signatures = tuple((who, SIGNER.sign(who, keys.COUNTERSIGN, certificate.raw)) for who in ("bob", "carol"))
    approvals = tuple(structs.replace(trust.sign_approval(TRUST, who, certificate.raw), signature=signature) for who, signature in signatures)
    link.tell(ONE, ResumeSubmit("r", ResumeCertificate(certificate.raw, (*certificate.approvals, *approvals))), "operator")
    assert not link[ONE].state.intent.certificates


def test_two_keys_of_one_person_are_one_and_a_revoked_one_is_none() -> None:
    asked = signed(STOP, "bob", "bob#2")
    grants = {**TRUST.keyset.grants, "bob#2": TRUST.keyset.grants["bob"]}
    keyset = structs.replace(TRUST.keyset, grants=grants, holders={"bob#2": "bob"})
    assert trust.countersigners(TRUST._replace(keyset=keyset), STOP, asked.countersignatures).keys() == {"bob"}
    revoked = structs.replace(keyset, revoked=frozenset({"bob"}))
    assert trust.countersigners(TRUST._replace(keyset=revoked), STOP, asked.countersignatures[:1]) == {}


def test_the_first_key_has_to_be_there_and_the_bytes_those_that_were_signed() -> None:
    link = careful()
    asked = signed(STOP, "bob", "carol")
    link.tell(ONE, structs.replace(asked, signature=b"forged"), "operator")
    assert (orders(link), latest(link)) == ({}, ("REFUSED", 0))
    for unread in (structs.replace(asked, raw=asked.raw + b"\0"), structs.replace(asked, request="other"), structs.replace(asked, raw=b"")):
        link.tell(ONE, unread, "operator")
    assert not orders(link)


def test_only_so_many_signatures_are_looked_at() -> None:
    noise = [Countersignature("bob", b"")] * COUNTERSIGNATURES_MAX
    assert trust.countersigners(TRUST, STOP, (*noise, trust.countersign(TRUST, "bob", STOP))) == {}


@given(st.lists(st.sampled_from(["alice", "bob", "carol", "dave", "mallory", "bob"]), max_size=5), st.sampled_from([2, 3]))
def test_it_is_what_was_asked_for_exactly_if_enough_distinct_people_ask(people: list[str], needed: int) -> None:
    link = careful(TWO_KEYS if needed == 2 else THREE_KEYS)
    link.tell(ONE, signed(STOP, *people), "operator")
    enough = 1 + len({"bob", "carol", "dave"}.intersection(people)) >= needed
    assert list(orders(link).values()) == [HARD if enough else ISOLATE]


# -- completed in several places --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("people", list(permutations(("bob", "carol", "dave"), 2)))
def test_replicas_that_complete_it_apart_make_one_order(people: tuple[str, str]) -> None:
    link = control_plane()
    roll_out(link, TWO_KEYS)
    link.cut = lambda sender, to, message: sender in REPLICAS and to in REPLICAS
    link.tell(ONE, signed(STOP, people[0]), "operator")
    link.tell(TWO, signed(STOP, *people), "operator")
    link.tell(THREE, STOP, "operator")
    assert orders(link, ONE) == orders(link, TWO)
    link.cut = lambda sender, to, message: False
    link.run(3 * SECOND)
    assert sorted(orders(link, THREE).values()) == sorted([ISOLATE, HARD])
    assert orders(link, ONE) == orders(link, TWO) == orders(link, THREE)


def test_a_request_that_was_lifted_is_not_completed_any_more() -> None:
    link = careful()
    link.tell(ONE, STOP, "operator")
    (isolate,) = (known.order for known in link[ONE].state.intent.orders.values())
    link.tell(ONE, Gossip("", certificates=(pair.resume(isolate),)), TWO)
    link.tell(ONE, signed(STOP, "bob"), "operator")
    assert latest(link) == ("ALREADY_COVERED", 0)
    assert list(orders(link).values()) == [ISOLATE]


def test_a_request_that_was_lifted_is_not_decided_anew_under_a_later_policy() -> None:
    link = careful()
    link.tell(ONE, STOP, "operator")
    (isolate,) = (known.order for known in link[ONE].state.intent.orders.values())
    link.tell(ONE, Gossip("", certificates=(pair.resume(isolate),)), TWO)
    roll_out(link, THREE_KEYS, stage="CANARY")
    link.tell(ONE, STOP, "operator")
    assert latest(link) == ("ALREADY_COVERED", 0)
    assert list(orders(link).values()) == [ISOLATE]


def test_only_signatures_that_count_are_put_on_record() -> None:
    link = careful()
    noise = tuple(Countersignature(who, b"forged") for who in ("bob", "carol", "mallory"))
    link.tell(ONE, with_signatures(STOP, *noise, trust.countersign(TRUST, "dave", STOP)), "operator")
    bodies = [audit.content(each) for each in link[ONE].records if each.kind == "DECISION"]
    (decision,) = (body for body in bodies if body["countersigned"])
    assert [who for who, _ in decision["countersigned"]["signatures"]] == ["alice", "dave"]


def test_a_replica_that_starts_anew_has_forgotten_neither_half() -> None:
    link = careful()
    link.tell(ONE, STOP, "operator")
    link.boot(ONE)
    link.tell(ONE, signed(STOP, "bob"), "operator")
    link.boot(ONE)
    assert list(orders(link).values()) == [ISOLATE, HARD]
    link.tell(ONE, STOP, "operator")
    assert (len(orders(link)), latest(link)) == (2, ("ACCEPTED", 0))


# -- the operator's client --------------------------------------------------------------------------------------------------------------------


COMMAND = Command("order", "stop-1", "alice", "acme", "tenant", "acme", 2, 2, 0, "runaway", approvers=("bob",), approve_after_ns=2 * SECOND)


def careful_cell() -> Link:
    link = cell("operator")
    roll_out(link, TWO_KEYS)
    return link


def test_a_stop_from_command_through_isolation_to_its_end() -> None:
    link = careful_cell()
    link.give("operator", COMMAND)
    link.run(SECOND)
    assert mode(link) == ("CLOSED", "STANDBY")
    assert link["operator"].state.errands
    link.run(3 * SECOND)
    assert mode(link)[1] == "STOPPED"
    assert not link["operator"].state.errands


def test_with_nobody_at_hand_it_ends_with_the_isolation() -> None:
    link = careful_cell()
    link.give("operator", structs.replace(COMMAND, approvers=()))
    link.run(SECOND)
    assert (mode(link), link["operator"].state.errands) == (("CLOSED", "STANDBY"), {})


@pytest.mark.parametrize("people", [("mallory",), ("alice",), ("nobody",)])
def test_those_who_do_not_count_end_it_as_well(people: tuple[str, ...]) -> None:
    link = careful_cell()
    link["operator"].machine.state.trust = TRUST._replace(signer=KeyedHash(b"a cell of fakes", {"alice", "mallory"}))
    link.give("operator", structs.replace(COMMAND, approvers=people, approve_after_ns=0))
    link.run(8 * SECOND)
    assert (mode(link), link["operator"].state.errands) == (("CLOSED", "STANDBY"), {})


def test_what_is_still_said_of_the_isolation_ends_no_completed_request() -> None:
    link = Link("operator")
    link.boot("operator")
    link.give("operator", COMMAND)
    link.tell("operator", OrderStatus("stop-1", "o", "ACCEPTED", 1, "", 1), ONE)
    link.tell("operator", OrderStatus("stop-1", "o", "EFFECTIVE", 2, "", 1), ONE)
    assert not link["operator"].sent(CountersignedRequest), "people take their time"
    link.run(2 * SECOND)
    assert [each.countersignatures[0].countersigner for each in link["operator"].sent(CountersignedRequest)] == ["bob"]
    link.tell("operator", OrderStatus("stop-1", "o2", "EFFECTIVE", 2), ONE)
    assert not link["operator"].state.errands


# -- the world's own count --------------------------------------------------------------------------------------------------------------------


FACTS = {"principal": "alice", "tenant": "acme", "scope_kind": "tenant", "scope_value": "acme", "gate": 2, "life": 2, "grace_ns": 30 * SECOND}


def test_the_judge_knows_whose_key_a_rotation_brought() -> None:
    judge, raw = Judge(SIGNER, REPLICAS, 2), codec.unsigned(STOP)
    first, signed_ = ("alice", STOP.signature), {who: trust.countersign(TRUST, who, STOP).signature for who in ("alice#2", "bob", "bob#2")}
    assert judge.askers(raw, [first, ("bob#2", signed_["bob#2"])], FACTS) == ["alice"], "nobody's key, as far as it has heard"
    change = keysets.sign_change(SIGNER, KeyChange(2, "", (), {"alice": "alice#2", "bob": "bob#2"}), keys.ROOTS[:2])
    assert judge.keyset(change.raw, [(each.key, each.signature) for each in change.signatures])
    assert judge.askers(raw, [first, ("bob#2", signed_["bob#2"]), ("bob", signed_["bob"])], FACTS) == ["alice", "bob"]
    assert judge.askers(raw, [first, ("alice#2", signed_["alice#2"])], FACTS) == ["alice"]
    certificate = pair.resume(pair.order(ISOLATE), approvers=("bob", "bob#2"))
    assert not judge.certificate(certificate.raw, [(each.approver, each.signature) for each in certificate.approvals])


def test_the_judge_counts_the_people_for_itself() -> None:
    judge, raw = Judge(SIGNER, REPLICAS, 2), codec.unsigned(STOP)
    first = ("alice", STOP.signature)
    bob = ("bob", trust.countersign(TRUST, "bob", STOP).signature)
    others = [(who, trust.countersign(TRUST, who, STOP).signature) for who in ("alice", "mallory", ONE)]
    assert judge.askers(raw, [first, bob, bob, *others[1:]], FACTS) == ["alice", "bob"]
    assert judge.askers(raw, [first, bob], FACTS, revoked={"bob"}) == ["alice"]
    assert judge.askers(raw, [first, ("bob", approval_of_a_resume().signature)], FACTS) == ["alice"]
    assert judge.askers(raw, [others[0], bob], FACTS) == [], "nobody's request is no request, whoever countersigns it"
    assert judge.askers(raw, [first, bob], {**FACTS, "life": 1}) == []
    assert judge.askers(b"", [first, bob], FACTS) == []


@pytest.mark.parametrize(("principal", "changed", "may"), [
    ("alice", {"scope_kind": "global", "life": 2}, True), ("bob", {}, False), ("mallory", {}, False),
    ("erin", {"life": 2}, True), ("erin", {"tenant": "acme2"}, False), ("erin", {"scope_kind": "global"}, False),
    ("frank", {"life": 0}, True), ("frank", {"life": 1}, False), ("frank", {"tenant": "acme2", "life": 0}, True),
])  # fmt: skip
def test_the_worlds_own_judgement_knows_who_may_ask_for_what(principal: str, changed: dict[str, object], may: bool) -> None:
    judge = Judge(SIGNER, REPLICAS, 2)
    facts = {**FACTS, "principal": principal, **changed}
    assert judge.may_ask(facts) is may
    assert not judge.may_ask(facts, revoked={principal})
    asked = (str(facts["tenant"]), str(facts["scope_kind"]), 2, int(str(facts["life"])))
    granted = keys.authorised(keys.default_keyset((), ()), principal, keys.REQUEST, *asked)
    assert granted is may, "the keyset by convention says the same"
