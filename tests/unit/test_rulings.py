"""The second opinion on policy decisions: it agrees with the core on everything, was written apart from it, and objects to whatever was changed."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from msgspec import structs

from harness.shared import rulings
from harness.shared.rulings import Rulings, ruling
from killswitch.core import audit, policy, rollout
from killswitch.core.policy import Bundle, Request
from killswitch.core.rollout import Snapshot
from scenarios import bundles
from tests.unit.one_sided import ONE, control_plane, request
from tests.unit.test_core_rollouts import roll

SECOND = 1_000_000_000
TEXTS = {
    "default": policy.DEFAULT_TEXT,
    **{name: bundles.text(name) for name in bundles.NAMES},
    "nothing": "",
    "broken": "permit (",
    "unreadable": policy.DEFAULT_TEXT + '@mode("MAYBE") forbid (principal, action, resource) when { false };',
    "two-keys": '@approvals("2") @grace_ms("500") permit (principal, action, resource);',
    "joined": '@mode("SOFT") permit (principal, action, resource); @gate("CLOSED") @grace_ms("9") permit (principal, action, resource);',
    "failing": "permit (principal, action, resource) when { context.nowhere };",
    "forbidden-in-failure": "forbid (principal, action, resource); permit (principal, action, resource) when { context.nowhere };",
}  # fmt: skip
SCOPES = (("agent", "acme/1"), ("label", "tier=gold"), ("tenant", "acme"), ("global", ""))


def requests() -> list[Request]:
    severities = ((0, 0), (2, 0), (1, 1), (2, 2), (7, -1))
    return [
        Request(principal="alice", action=action, authorised=authorised, tenant="acme", scope_kind=kind, scope_value=value, gate=gate, life=life,
                grace_ns=30 * SECOND, grace_max_ns=20 * SECOND, approvals=2, asking=asking)
        for action, authorised, (kind, value), (gate, life), asking
        in itertools.product(("order", "resume", "pardon"), (True, False), SCOPES, severities, (1, 2))
    ]  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_two_readings_of_one_policy_agree(name: str) -> None:
    bundle = Bundle(TEXTS[name])
    for asked in requests():
        core = policy.decide(bundle, asked)
        ours = ruling(TEXTS[name], structs.asdict(asked))
        assert (core.allowed, core.gate, core.life, core.grace_ns, core.approvals, core.rules) == tuple(ours), asked


@pytest.mark.parametrize(("stable", "canary"), list(itertools.permutations(("default", "too-lax", "every-stop-is-hard", "two-keys", "failing"), 2)))
def test_two_readings_of_a_canary_agree(stable: str, canary: str) -> None:
    snapshot = Snapshot(2, "CANARY", Bundle(TEXTS[stable]), Bundle(TEXTS[canary]), percent=100)
    for asked in requests():
        core, facts = rollout.decide(snapshot, asked).ruling, structs.asdict(asked)
        ours = rulings.combined(ruling(TEXTS[stable], facts), ruling(TEXTS[canary], facts), asked.action)
        assert (core.allowed, core.gate, core.life, core.grace_ns, core.approvals, core.rules) == tuple(ours), asked


def decided() -> tuple[Rulings, dict[str, Any]]:
    """A replica's records of a canary and of a decision under it."""
    link = control_plane()
    link.tell(ONE, roll("CANARY", TEXTS["every-stop-is-hard"]), "operator")
    link.tell(ONE, request(), "operator")
    opinion, decision = Rulings(), {}
    for record in link[ONE].records:
        body = audit.content(record)
        if record.kind == "POLICY_INSTALLED":
            opinion.install(body["raw"])
        elif record.kind == "POLICY_ROLLOUT":
            opinion.roll_out(body["raw"])
        elif record.kind == "DECISION":
            decision = body
    return opinion, decision


def test_a_decision_as_it_was_made_finds_no_objection() -> None:
    opinion, decision = decided()
    assert opinion.objection(decision) == ""
    assert opinion.objection(json.loads(json.dumps(decision))) == "", "also when it was read back from a file"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"facts": {"gate": 0}}, "the input is not the one that was hashed"),
        ({"ruling": [True, 2, 0, 0, 1]}, "the ruling was"),
        ({"stable": [True, 0, 0, 0, 1]}, "the stable policy's ruling was"),
        ({"candidate": None}, "the candidate's ruling was"),
        ({"rollout": ""}, "is not the one on record as deployed"),
        ({"rollout": "ab" * 32}, "rollout 2 of policy"),
    ],
)
def test_whatever_was_changed_is_objected_to(change: dict[str, Any], why: str) -> None:
    opinion, decision = decided()
    changed = {key: {**decision[key], **value} if isinstance(value, dict) else value for key, value in change.items()}
    assert why in opinion.objection({**decision, **changed})


@pytest.mark.parametrize(("place", "value"), [(0, 1), (1, "ab" * 32), (2, "ab" * 32), (3, []), (4, ""), (5, True)])
def test_whatever_the_order_would_carry_wrongly_is_objected_to(place: int, value: object) -> None:
    opinion, decision = decided()
    changed = list(decision["decision"])
    assert changed[place] != value
    changed[place] = value
    assert opinion.objection({**decision, "decision": changed}) != ""
