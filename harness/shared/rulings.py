"""A second opinion on what policies decide: a recorded decision is made again, from the same policies and the same input (S21).

Owns a reading of protocol 3.9 apart from the core's on purpose: Cedar is asked anew, and its answer is made safe by the rules as they stand in the
protocol, so that a mistake in the core does not blind what judges it. Knows records of one replica's log, and no node.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import cedarpy
import msgspec

from killswitch.core.bundles import BundleBody, RolloutBody
from killswitch.core.policy import DEFAULT_TEXT

CLOSED = 2
FIRST_SEQ = 1
MODES = {"RUN": (0, 0), "ISOLATE": (2, 0), "SOFT": (1, 1), "QUIESCE": (2, 1), "HARD": (2, 2)}
GATES = {"OPEN": 0, "DRAIN": 1, "CLOSED": 2}
LIVES = {"ALIVE": 0, "STOP": 1, "KILL": 2}
RESOURCES = {"agent": "Agent", "label": "Label", "tenant": "Tenant"}

_Policies = dict[str, dict[str, str]]


class Ruling(NamedTuple):
    """As records hold it: whether it is allowed, the severity and grace of the order, how many keys have to ask or approve; and the rules."""

    allowed: bool
    gate: int
    life: int
    grace_ns: int
    approvals: int
    rules: tuple[str, ...] = ()

    @property
    def terms(self) -> list[int]:
        return [self.allowed, self.gate, self.life, self.grace_ns, self.approvals]


class Rulings:
    """The policies and rollouts that one replica has on record, and what they come to."""

    def __init__(self) -> None:
        self._texts = {DEFAULT_HASH: DEFAULT_TEXT}
        self._rollouts: dict[str, RolloutBody] = {}

    def install(self, raw: bytes) -> BundleBody:
        body = msgspec.msgpack.decode(raw, type=BundleBody)
        self._texts[_hash(body.text)] = body.text
        return body

    def roll_out(self, raw: bytes) -> RolloutBody:
        body = msgspec.msgpack.decode(raw, type=RolloutBody)
        self._rollouts[hashlib.sha256(raw).hexdigest()] = body
        return body

    def objection(self, record: Mapping[str, Any]) -> str:
        """Why the decision on record is not the one that its policies and its input give; empty if it is."""
        facts, (seq, stable_hash, input_hash, rules, canary_hash, raised) = record["facts"], record["decision"]
        if _hash(_canonical(facts)) != input_hash:
            return "the input is not the one that was hashed"
        rollout = self._rollouts.get(record["rollout"])
        if stable_hash not in self._texts or (seq, stable_hash) != ((rollout.seq, rollout.stable) if rollout else (FIRST_SEQ, stable_hash)):
            return f"rollout {seq} of policy {stable_hash[:12]} is not the one on record as {record['rollout'][:12] or 'deployed'}"
        stable = ruling(self._texts[stable_hash], facts)
        candidate = ruling(self._texts[rollout.canary], facts) if rollout is not None and rollout.canary else None
        effective, tried = stable, ""
        if rollout is not None and candidate is not None and rollout.stage == "CANARY" and _chosen(rollout, facts):
            effective, tried = combined(stable, candidate, facts["action"]), rollout.canary
        told = (record["ruling"], record["stable"], record["candidate"], list(rules), canary_hash, raised)
        more = facts["action"] == "order" and (effective.allowed, *effective[1:3]) != (stable.allowed, *stable[1:3])
        again = (effective.terms, stable.terms, None if candidate is None else candidate.terms, list(effective.rules), tried, more)
        names = ("ruling", "stable policy's ruling", "candidate's ruling", "rules", "canary", "share of the canary in it")
        wrong = [
            f"the {name} was {one!r} and should have been {other!r}" for name, one, other in zip(names, told, again, strict=True) if one != other
        ]
        return wrong[0] if wrong else ""


def combined(stable: Ruling, candidate: Ruling, action: str) -> Ruling:
    """A kill is the join of both, a resume the meet."""
    rules = tuple(sorted({*stable.rules, *candidate.rules}))
    approvals = max(stable.approvals, candidate.approvals)
    if action != "order":
        return Ruling(stable.allowed and candidate.allowed, stable.gate, stable.life, stable.grace_ns, approvals, rules)
    if not (stable.allowed and candidate.allowed):
        return stable if stable.allowed or not candidate.allowed else candidate
    gate, life, grace = max(stable.gate, candidate.gate), max(stable.life, candidate.life), min(stable.grace_ns, candidate.grace_ns)
    return Ruling(True, gate, life, grace, approvals, rules)


def ruling(text: str, facts: Mapping[str, Any]) -> Ruling:
    """One policy's ruling: Cedar's answer, made safe. An error is never the absence of the rule that failed."""
    verdict, erred, rules, (gate, life, grace_ms, approvals) = _asked(text, _canonical(facts))
    grace = max(0, min(facts["grace_ns"], facts["grace_max_ns"], *(() if grace_ms is None else (grace_ms * 1_000_000,))))
    if facts["action"] != "order":
        allowed = facts["authorised"] and verdict == "Allow" and not erred
        return Ruling(allowed, 0, 0, grace if allowed else 0, max(facts["approvals"], approvals), rules)
    if not facts["authorised"] or (verdict == "Deny" and not erred):
        return Ruling(False, 0, 0, 0, 1, rules)
    if verdict == "Deny" and rules:
        return Ruling(True, CLOSED, 0, grace, 1, rules)
    asked_gate, asked_life = _clamped(facts["gate"]), _clamped(facts["life"])
    alone = facts["scope_kind"] == "agent" or (asked_life == 0 and facts["scope_kind"] != "global")
    needed = 1 if alone else approvals
    if facts["asking"] < needed:
        return Ruling(True, CLOSED, 0, grace, needed, rules)
    return Ruling(True, max(asked_gate, gate, CLOSED if erred else 0), max(asked_life, life), grace, needed, rules)


def _chosen(rollout: RolloutBody, facts: Mapping[str, Any]) -> bool:
    words = f"{rollout.salt}\0{facts['tenant']}\0{facts['scope_kind']}\0{facts['scope_value']}"
    return int.from_bytes(hashlib.sha256(words.encode("utf-8", "surrogatepass")).digest()[:8], "big") % 100 < rollout.percent


def _clamped(number: int) -> int:
    return number if 0 <= number <= 2 else 2


def _canonical(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


DEFAULT_HASH = _hash(DEFAULT_TEXT)


# -- Cedar ---------------------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _asked(text: str, canonical: str) -> tuple[str, bool, tuple[str, ...], tuple[int, int, int | None, int]]:
    """Cedar's verdict, whether anything failed, the rules that determined it, and what these demand: gate, life, longest grace in ms, approvals."""
    facts = json.loads(canonical)
    try:
        policies = _policies(text)
        answer = cedarpy.is_authorized(_request(facts), text, _entities(facts))
        names = answer.diagnostics.reasons
        demands = [_demands(policies[name]) for name in policies]  # also of those that do not apply: one that nobody can read spoils them all
        joined = _joined([demand for name, demand in zip(policies, demands, strict=True) if name in names])
    except (ValueError, KeyError, TypeError, RuntimeError):
        return "NoDecision", True, (), _joined([])
    rules = tuple(sorted(policies[name].get("id") or name for name in names))
    return answer.decision.value, bool(answer.diagnostics.errors) or answer.decision.value == "NoDecision", rules, joined


def _policies(text: str) -> _Policies:
    """The annotations of every policy of a text, by Cedar's names for them."""
    static = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]
    return {name: {key: value or "" for key, value in policy.get("annotations", {}).items()} for name, policy in static.items()}


def _demands(annotations: Mapping[str, str]) -> tuple[int, int, int | None, int]:
    mode = MODES[annotations.get("mode", "RUN")]
    grace = annotations.get("grace_ms")
    gate, life = max(mode[0], GATES[annotations.get("gate", "OPEN")]), max(mode[1], LIVES[annotations.get("life", "ALIVE")])
    return gate, life, None if grace is None else _whole(grace), max(1, _whole(annotations.get("approvals", "1")))


def _whole(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 12):
        raise ValueError(value)
    return int(value)


def _joined(demands: list[tuple[int, int, int | None, int]]) -> tuple[int, int, int | None, int]:
    gate, life, grace_ms, approvals = 0, 0, None, 1
    for demand in demands:
        gate, life, approvals = max(gate, demand[0]), max(life, demand[1]), max(approvals, demand[3])
        grace_ms = demand[2] if grace_ms is None else grace_ms if demand[2] is None else min(grace_ms, demand[2])
    return gate, life, grace_ms, approvals


def _request(facts: Mapping[str, Any]) -> dict[str, Any]:
    context = {
        "authorised": facts["authorised"], "tenant": facts["tenant"], "scope": facts["scope_kind"], "gate": _clamped(facts["gate"]),
        "life": _clamped(facts["life"]), "grace_ms": max(0, min(facts["grace_ns"], facts["grace_max_ns"])) // 1_000_000, "asking": facts["asking"],
    }  # fmt: skip
    principal, action = {"type": "Principal", "id": facts["principal"]}, {"type": "Action", "id": facts["action"]}
    return {"principal": principal, "action": action, "resource": _resource(facts), "context": context}


def _resource(facts: Mapping[str, Any]) -> dict[str, str]:
    kind = RESOURCES.get(facts["scope_kind"])
    return {"type": "Cell", "id": "cell"} if kind is None else {"type": kind, "id": facts["scope_value"]}


def _entities(facts: Mapping[str, Any]) -> str:
    cell, tenant, resource = {"type": "Cell", "id": "cell"}, {"type": "Tenant", "id": facts["tenant"]}, _resource(facts)
    above = [(cell, []), (tenant, [cell]), *([] if resource in (cell, tenant) else [(resource, [tenant])])]
    return json.dumps([{"uid": uid, "attrs": {}, "parents": parents} for uid, parents in above])
