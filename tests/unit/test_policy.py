"""Rulings: the table of `killswitch.core.policy` row by row, obligations and their join, grace, and the emergency rule."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from killswitch.core import policy
from killswitch.core.messages import Gate, Life
from killswitch.core.policy import Bundle, Obligations, Request, Ruling

SECOND = 1_000_000_000
PERMIT = '@id("permit") permit (principal, action, resource);'
FORBID = '@id("forbid") forbid (principal, action, resource);'
PERMIT_THAT_FAILS = '@id("failing") permit (principal, action, resource) when { context.nowhere == 1 };'
UNREADABLE = PERMIT + '@mode("MAYBE") permit (principal, action, resource);'
FORBID_THAT_FAILS = '@id("failing") forbid (principal, action, resource) when { context.nowhere == 1 };'
BROKEN = "permit ("


def asked(gate: int = 1, life: int = 1, **fields: Any) -> Request:
    """A SOFT stop of a tenant by its operator, unless it says otherwise."""
    given = {"principal": "alice", "action": policy.STOP, "authorised": True, "tenant": "acme", "scope_kind": "tenant", "scope_value": "acme"}
    return Request(**{**given, "gate": gate, "life": life, "grace_ns": 30 * SECOND, "grace_max_ns": 300 * SECOND, **fields})


def rule(text: str, request: Request) -> Ruling:
    return policy.decide(Bundle(text), request)


def severity(ruling: Ruling) -> tuple[int, int]:
    assert ruling.allowed
    return ruling.gate, ruling.life


class TestDefaultBundle:
    def test_has_no_problems(self) -> None:
        assert policy.problems(policy.DEFAULT_TEXT) == ()

    @pytest.mark.parametrize("asked_for", [(2, 0), (1, 1), (2, 1), (2, 2)])
    @pytest.mark.parametrize(("kind", "value"), [("agent", "acme/1"), ("label", "tier=gold"), ("tenant", "acme"), ("global", "")])
    def test_an_operator_stops_alone_and_gets_what_he_asked_for(self, asked_for: tuple[int, int], kind: str, value: str) -> None:
        ruling = policy.decide(Bundle(), asked(*asked_for, scope_kind=kind, scope_value=value))
        assert severity(ruling) == asked_for
        assert (ruling.grace_ns, ruling.approvals, ruling.rules, ruling.errors) == (30 * SECOND, 1, ("operators-stop",), ())

    def test_a_resume_takes_the_approvals_of_the_cell(self) -> None:
        ruling = policy.decide(Bundle(), asked(0, 0, action=policy.RESUME, approvals=3))
        assert (ruling.allowed, ruling.approvals, ruling.rules) == (True, 3, ("operators-ask-for-resume",))

    def test_who_is_not_authorised_gets_nothing(self) -> None:
        for action in (policy.STOP, policy.RESUME, "pardon"):
            ruling = policy.decide(Bundle(), asked(2, 2, action=action, principal="mallory", authorised=False))
            assert (ruling.allowed, ruling.gate, ruling.life, ruling.grace_ns) == (False, 0, 0, 0)
        assert not policy.decide(Bundle(), asked(action="pardon")).allowed


class TestTable:
    @pytest.mark.parametrize("text", [PERMIT, FORBID, BROKEN, PERMIT_THAT_FAILS, PERMIT + FORBID_THAT_FAILS, ""])
    @pytest.mark.parametrize("action", [policy.STOP, policy.RESUME])
    def test_not_authorised_is_denied_whatever_the_policy_says_or_fails_to_say(self, text: str, action: str) -> None:
        assert not rule(text, asked(authorised=False, action=action)).allowed

    @pytest.mark.parametrize("text", ["", FORBID, PERMIT + FORBID])
    def test_a_plain_deny_stays_denied(self, text: str) -> None:
        assert not rule(text, asked(2, 2)).allowed
        assert not rule(text, asked(action=policy.RESUME)).allowed

    @pytest.mark.parametrize("text", [PERMIT_THAT_FAILS, PERMIT + FORBID_THAT_FAILS, BROKEN, UNREADABLE])
    def test_an_error_raises_a_stop_to_isolate_and_denies_a_resume(self, text: str) -> None:
        ruling = rule(text, asked(1, 1))
        assert severity(ruling) == (2, 1), "SOFT joined with ISOLATE"
        assert ruling.errors
        assert severity(rule(text, asked(0, 0))) == (2, 0)
        assert severity(rule(text, asked(2, 2))) == (2, 2), "and never lowers it"
        assert not rule(text, asked(action=policy.RESUME)).allowed

    def test_a_forbid_beside_an_error_leaves_isolate(self) -> None:
        ruling = rule(FORBID + PERMIT_THAT_FAILS, asked(2, 2))
        assert severity(ruling) == (2, 0)
        assert ruling.rules == ("forbid",)

    def test_what_cedar_cannot_take_is_an_error_not_an_exception(self) -> None:
        ruling = rule(PERMIT, asked(1, 1, principal="\ud800", asking=2**70))
        assert severity(ruling) == (2, 1)
        assert ruling.errors


class TestObligations:
    def test_are_joined_over_all_determining_policies(self) -> None:
        text = (
            '@id("b") @gate("CLOSED") @grace_ms("9000") @approvals("2") permit (principal, action, resource);'
            '@id("a") @life("KILL") @grace_ms("5000") @approvals("1") permit (principal, action, resource);'
            '@id("other") @mode("HARD") @grace_ms("0") @approvals("9") permit (principal == Principal::"zoe", action, resource);'
        )
        ruling = rule(text, asked(1, 1, asking=2))
        assert severity(ruling) == (2, 2)
        assert (ruling.grace_ns, ruling.approvals, ruling.rules) == (5 * SECOND, 2, ("a", "b"))

    def test_raise_and_never_lower(self) -> None:
        assert severity(rule('@mode("ISOLATE") permit (principal, action, resource);', asked(1, 1))) == (2, 1)
        assert severity(rule('@mode("RUN") permit (principal, action, resource);', asked(2, 2))) == (2, 2)
        assert rule('@grace_ms("999999") permit (principal, action, resource);', asked()).grace_ns == 30 * SECOND
        assert rule('@approvals("1") permit (principal, action, resource);', asked(action=policy.RESUME, approvals=2)).approvals == 2

    @pytest.mark.parametrize(
        ("annotations", "severe"),
        [
            ('@mode("ISOLATE") @life("KILL")', (2, 2)),
            ('@mode("SOFT") @gate("CLOSED")', (2, 1)),
            ('@mode("HARD") @gate("DRAIN") @life("STOP")', (2, 2)),
        ],
    )
    def test_what_stands_beside_a_mode_counts_as_well(self, annotations: str, severe: tuple[int, int]) -> None:
        assert severity(rule(f"{annotations} permit (principal, action, resource);", asked(0, 0))) == severe

    def test_a_policy_without_id_is_named_by_its_place(self) -> None:
        assert rule("permit (principal, action, resource);", asked()).rules == ("policy0",)

    def test_join_is_a_join(self) -> None:
        some = [Obligations(), Obligations(grace_ns=5), Obligations(gate=Gate.CLOSED, grace_ns=3), Obligations(life=Life.KILL, approvals=4)]
        for one in some:
            assert policy.join([one, one]) == policy.join([one]) == one
            for other in some:
                assert policy.join([one, other]) == policy.join([other, one])
                assert all(policy.join([policy.join([one, other]), third]) == policy.join([one, policy.join([other, third])]) for third in some)

    @pytest.mark.parametrize(("annotation", "said"), [
        ('@mode("soft")', "@mode: not one of RUN, ISOLATE"), ('@gate("SHUT")', "@gate: not one of"), ("@life", "@life: not one of"),
        ('@grace_ms("5s")', "@grace_ms: not a whole number"), ('@grace_ms("-1")', "@grace_ms"), ('@approvals("²")', "@approvals"),
        ('@approvals("9999999999999")', "@approvals"),
    ])  # fmt: skip
    def test_unreadable_annotations_are_problems_with_a_place(self, annotation: str, said: str) -> None:
        (problem,) = policy.problems(f'@id("p7") {annotation} permit (principal, action, resource);')
        assert problem.startswith(f"p7: {said}")


class TestGrace:
    @pytest.mark.parametrize(("asked_ns", "granted_ns"), [(0, 0), (1, 1), (300 * SECOND, 300 * SECOND), (10**15, 300 * SECOND), (-5, 0)])
    def test_is_clamped_at_issue(self, asked_ns: int, granted_ns: int) -> None:
        assert policy.decide(Bundle(), asked(grace_ns=asked_ns)).grace_ns == granted_ns


class TestEmergency:
    TWO_KEYS = '@approvals("2") permit (principal, action, resource);'

    @pytest.mark.parametrize(("request_", "approvals", "now"), [
        (asked(2, 0), 1, (2, 0)),
        (asked(2, 0, scope_kind="label"), 1, (2, 0)),
        (asked(2, 2, scope_kind="agent", scope_value="acme/1"), 1, (2, 2)),
        (asked(2, 2), 2, (2, 0)),
        (asked(1, 1), 2, (2, 0)),
        (asked(2, 2, scope_kind="label"), 2, (2, 0)),
        (asked(2, 0, scope_kind="global"), 2, (2, 0)),
        (asked(2, 9), 2, (2, 0)),
        (asked(2, 2, asking=2), 2, (2, 2)),
    ])  # fmt: skip
    def test_one_key_suffices_for_isolate_in_a_tenant_and_for_one_agent(self, request_: Request, approvals: int, now: tuple[int, int]) -> None:
        ruling = rule(self.TWO_KEYS, request_)
        assert (ruling.approvals, severity(ruling)) == (approvals, now)


class TestRequestsToCedar:
    def test_policies_can_speak_of_tenant_scope_and_context(self) -> None:
        text = 'permit (principal == Principal::"alice", action == Action::"order", resource in Tenant::"acme") when { context.life < 2 };'
        assert rule(text, asked(scope_kind="agent", scope_value="acme/1")).allowed
        assert rule(text, asked()).allowed
        assert not rule(text, asked(life=2)).allowed
        assert not rule(text, asked(tenant="acme2", scope_value="acme2")).allowed
        assert not rule(text, asked(tenant="acme2", scope_kind="agent", scope_value="acme/1")).allowed, "the tenant counts, not the name"
        assert not rule(text, asked(scope_kind="global", scope_value="")).allowed
        assert not rule(text, asked(principal="bob")).allowed

    def test_kinds_of_resource(self) -> None:
        for kind, type_ in policy.RESOURCE_TYPES.items():
            assert rule(f"permit (principal, action, resource is {type_});", asked(scope_kind=kind)).allowed
        assert rule("permit (principal, action, resource is Cell);", asked(scope_kind="galaxy")).allowed, "an unknown scope is the widest"

    def test_names_cannot_break_out_of_the_request(self) -> None:
        text = 'permit (principal == Principal::"alice", action, resource);'
        assert not rule(text, asked(principal='x", "principal": "Principal::\\"alice\\"')).allowed


class TestReplay:
    def test_a_ruling_carries_what_it_takes_to_repeat_it(self) -> None:
        bundle, request = Bundle(PERMIT, seq=7), asked()
        ruling = policy.decide(bundle, request)
        decision = ruling.decision
        assert (decision.policy_seq, decision.policy_hash, decision.input_hash, decision.rules) == (7, bundle.digest, ruling.input_hash, ("permit",))
        assert policy.decide(Bundle(PERMIT, seq=7), structs.replace(request)) == ruling

    def test_any_other_input_has_another_hash(self) -> None:
        changes: dict[str, Any] = {
            "principal": "zoe", "action": policy.RESUME, "authorised": False, "tenant": "t", "scope_kind": "agent", "scope_value": "v",
            "gate": 2, "life": 2, "grace_ns": 1, "grace_max_ns": 1, "approvals": 5, "asking": 5,
        }  # fmt: skip
        assert set(changes) == set(Request.__struct_fields__)
        hashes = {rule(PERMIT, structs.replace(asked(), **{field: value})).input_hash for field, value in changes.items()}
        assert len(hashes | {rule(PERMIT, asked()).input_hash}) == len(changes) + 1
        assert Bundle(PERMIT).digest != Bundle(PERMIT + " ").digest
