"""Policy: may this principal do this, and with what obligations (protocol 3.9). Cedar answers; this module makes the answer safe.

Owns bundles, requests and rulings. Must not know the state of the cell, the clock or who asks through what: a ruling is a pure
function of a bundle and a request, so that any decision can be replayed from the hashes that its order carries (S21).

How the two languages meet. Cedar says Allow or Deny and names the policies that determined it; the annotations of *all* of them are
joined into obligations, which can only raise a stop and make a resume harder. Cedar skips a policy whose evaluation fails; a kill
switch must not, so an error is never read as the absence of the rule:

|the keyset says|Cedar says|a stop|a resume|
|---|---|---|---|
|not authorised|anything|denied|denied|
|authorised|Allow|as asked, raised by the obligations|allowed, by so many approvers|
|authorised|Deny|denied|denied|
|authorised|Allow, or Deny by default, with errors; no decision|as asked, raised, and at least ISOLATE|denied|
|authorised|Deny by a forbid, with errors|ISOLATE|denied|

One authorised key always suffices for ISOLATE within its tenant and for anything against one agent. What a policy demands more keys
for is ISOLATE at once, and as asked when enough keys have asked: isolate first, approve after.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources
from typing import Any, Final

import cedarpy
from msgspec import Struct, structs

from killswitch.core import codec
from killswitch.core.bundles import Decision
from killswitch.core.messages import Gate, Life

# Read once, at import: it is configuration that ships with the code, not something that a running node looks up.
DEFAULT_TEXT: Final = resources.files("killswitch.core").joinpath("policies/default.cedar").read_text("utf-8")

STOP: Final = "order"
RESUME: Final = "resume"
MODES: Final[Mapping[str, tuple[Gate, Life]]] = {
    "RUN": (Gate.OPEN, Life.ALIVE),
    "ISOLATE": (Gate.CLOSED, Life.ALIVE),
    "SOFT": (Gate.DRAIN, Life.STOP),
    "QUIESCE": (Gate.CLOSED, Life.STOP),
    "HARD": (Gate.CLOSED, Life.KILL),
}
RESOURCE_TYPES: Final[Mapping[str, str]] = {"agent": "Agent", "label": "Label", "tenant": "Tenant", "global": "Cell"}
CELL: Final = "cell"


class Bundle(Struct, frozen=True):
    """A policy in force: Cedar text, and the number of the rollout that it is in force by. Any text makes a bundle; see `problems`."""

    text: str = DEFAULT_TEXT
    seq: int = 1

    @property
    def digest(self) -> str:
        """SHA-256 of the text, in hex."""
        return _digest(self.text.encode("utf-8", "surrogatepass"))


class Request(Struct, frozen=True, kw_only=True):
    """Everything that a ruling may depend on. ``action``: `STOP` or `RESUME`. ``authorised``: what the keyset says (`keys.authorised`).

    ``approvals``: what the cell's parameters demand at least, for a resume. ``asking``: distinct authorised keys that ask for this stop.
    """

    principal: str
    action: str
    authorised: bool
    tenant: str
    scope_kind: str
    scope_value: str
    gate: int = 0
    life: int = 0
    grace_ns: int = 0
    grace_max_ns: int = 0
    approvals: int = 1
    asking: int = 1


class Ruling(Struct, frozen=True, kw_only=True):
    """The answer. For a stop, ``gate``, ``life`` and ``grace_ns`` go into the order as they are; while fewer than ``approvals`` keys ask, they
    are those of ISOLATE. For a resume, ``approvals`` is how many distinct approvers must sign.

    ``rules``: ids of the determining policies, sorted. ``errors``: what could not be evaluated. The hashes are SHA-256 in hex. ``canary_hash`` and
    ``raised``: of a policy on trial that was heard as well, and whether it made a stop more severe (``rollout``).
    """

    allowed: bool
    gate: int
    life: int
    grace_ns: int
    approvals: int
    rules: tuple[str, ...]
    policy_seq: int
    policy_hash: str
    input_hash: str
    errors: tuple[str, ...] = ()
    canary_hash: str = ""
    raised: bool = False

    @property
    def decision(self) -> Decision:
        """As an order or a certificate carries it."""
        return Decision(self.policy_seq, self.policy_hash, self.input_hash, self.rules, self.canary_hash, self.raised)


class Obligations(Struct, frozen=True):
    """What annotations demand: a least severity, a longest grace (None: any), a least number of keys."""

    gate: Gate = Gate.OPEN
    life: Life = Life.ALIVE
    grace_ns: int | None = None
    approvals: int = 1


class Answer(Struct, frozen=True):
    """Cedar's answer in this module's words: ``verdict`` is Allow, Deny or NoDecision."""

    verdict: str
    rules: tuple[str, ...]
    obligations: Obligations
    errors: tuple[str, ...]


def decide(bundle: Bundle, request: Request) -> Ruling:
    """The ruling on ``request`` under ``bundle``. Pure and total: whatever goes wrong inside is an error *of the ruling*."""
    answer = _answer(bundle.text, request)
    if request.action == STOP:
        return stop_ruling(bundle, request, answer)
    return resume_ruling(bundle, request, answer)


def stop_ruling(bundle: Bundle, request: Request, answer: Answer) -> Ruling:
    """A kill: the join of what is asked, what the obligations say, and ISOLATE if anything could not be evaluated."""
    undecided = bool(answer.errors) or answer.verdict == "NoDecision"
    forbidden = answer.verdict == "Deny" and bool(answer.rules)
    if not request.authorised or (answer.verdict == "Deny" and not undecided):
        return _ruling(bundle, request, answer, allowed=False)
    if forbidden:
        return _ruling(bundle, request, answer, allowed=True, gate=Gate.CLOSED)
    obligations = answer.obligations
    gate = max(codec.clamp_gate(request.gate), obligations.gate, error_floor(undecided))
    life = max(codec.clamp_life(request.life), obligations.life)
    approvals = 1 if is_emergency(request) else obligations.approvals
    if request.asking < approvals:
        gate, life = Gate.CLOSED, Life.ALIVE
    return _ruling(bundle, request, answer, allowed=True, gate=gate, life=life, approvals=approvals)


def resume_ruling(bundle: Bundle, request: Request, answer: Answer) -> Ruling:
    """A resume: every condition must hold, and nothing may have gone unevaluated."""
    allowed = request.authorised and answer.verdict == "Allow" and not answer.errors
    return _ruling(bundle, request, answer, allowed=allowed, approvals=max(request.approvals, answer.obligations.approvals))


def error_floor(undecided: bool) -> Gate:
    """A rule that could not be read might have closed the gate, so the gate is closed."""
    return Gate.CLOSED if undecided else Gate.OPEN


def is_emergency(request: Request) -> bool:
    """Whether one authorised key suffices, whatever a policy says: ISOLATE within a tenant, anything against one agent."""
    isolates = codec.clamp_life(request.life) == Life.ALIVE
    return request.scope_kind == "agent" or (isolates and request.scope_kind != "global")


def granted_grace(request: Request, obligations: Obligations) -> int:
    """The grace that goes into the order, in ns: clamped here, at issue, so that every receiver agrees on it."""
    limits = [request.grace_max_ns] if obligations.grace_ns is None else [request.grace_max_ns, obligations.grace_ns]
    return max(0, min(request.grace_ns, *limits))


def _ruling(
    bundle: Bundle, request: Request, answer: Answer, *, allowed: bool, gate: Gate = Gate.OPEN, life: Life = Life.ALIVE, approvals: int = 1
) -> Ruling:
    return Ruling(
        allowed=allowed,
        gate=int(gate),
        life=int(life),
        grace_ns=granted_grace(request, answer.obligations) if allowed else 0,
        approvals=approvals,
        rules=answer.rules,
        policy_seq=bundle.seq,
        policy_hash=bundle.digest,
        input_hash=input_hash(request),
        errors=answer.errors,
    )


# -- Annotations ---------------------------------------------------------------------------------------------------------------------


def obligations_of(annotations: Mapping[str, str]) -> Obligations:
    """What one policy's annotations demand. Raises `ValueError` naming the annotation whose value is not one of its kind."""
    mode = _named("mode", annotations.get("mode", "RUN"), MODES)
    gate = _named("gate", annotations.get("gate", "OPEN"), Gate.__members__)
    life = _named("life", annotations.get("life", "ALIVE"), Life.__members__)
    grace = annotations.get("grace_ms")
    return Obligations(
        gate=max(mode[0], gate),
        life=max(mode[1], life),
        grace_ns=None if grace is None else _whole("grace_ms", grace) * 1_000_000,
        approvals=max(1, _whole("approvals", annotations.get("approvals", "1"))),
    )


def join(obligations: Iterable[Obligations]) -> Obligations:
    """The least obligations that meet all of them: severity and approvals go up, grace goes down."""
    joined = Obligations()
    for each in obligations:
        graces = [grace for grace in (joined.grace_ns, each.grace_ns) if grace is not None]
        joined = Obligations(
            gate=max(joined.gate, each.gate),
            life=max(joined.life, each.life),
            grace_ns=min(graces, default=None),
            approvals=max(joined.approvals, each.approvals),
        )
    return joined


def _named(annotation: str, value: str, among: Mapping[str, Any]) -> Any:
    if value not in among:
        raise ValueError(f"@{annotation}: not one of {', '.join(among)} (got {value!r})")
    return among[value]


def _whole(annotation: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 12):
        raise ValueError(f"@{annotation}: not a whole number of at most 12 digits (got {value!r})")
    return int(value)


# -- Cedar ---------------------------------------------------------------------------------------------------------------------------


class _Parsed:
    """A parsed policy text: Cedar's handle, and for each of Cedar's own policy names the ``@id`` and the obligations."""

    __slots__ = ("ids", "obligations", "policies", "problems")

    def __init__(self, text: str) -> None:
        self.policies: cedarpy.PolicySet | None = None
        self.ids: dict[str, str] = {}
        self.obligations: dict[str, Obligations] = {}
        self.problems: tuple[str, ...] = ()
        try:
            self.policies = cedarpy.PolicySet.from_str(text)
            static = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]
        except (ValueError, KeyError, RuntimeError) as error:
            self.problems = (f"policy: {error}",)
            return
        problems = []
        for name, policy in static.items():
            annotations = {key: value or "" for key, value in policy.get("annotations", {}).items()}
            self.ids[name] = annotations.get("id") or name
            try:
                self.obligations[name] = obligations_of(annotations)
            except ValueError as error:
                problems.append(f"{self.ids[name]}: {error}")
        self.problems = tuple(sorted(problems))


@lru_cache(maxsize=64)
def _parsed(text: str) -> _Parsed:
    return _Parsed(text)


def problems(text: str) -> tuple[str, ...]:
    """What is wrong with a policy text, for whoever installs it. A bundle with problems still stops agents, and resumes none."""
    return _parsed(text).problems


@lru_cache(maxsize=4096)
def _answer(text: str, request: Request) -> Answer:
    # Remembered by content, because one evaluation costs as much as some hundred steps of a state machine.
    parsed = _parsed(text)
    if parsed.policies is None or parsed.problems:
        return Answer("NoDecision", (), Obligations(), parsed.problems)
    try:
        result = cedarpy.is_authorized(_cedar_request(request), parsed.policies, _cedar_entities(request))
    except (ValueError, TypeError, RuntimeError) as error:
        return Answer("NoDecision", (), Obligations(), (f"evaluation: {error}",))
    reasons = result.diagnostics.reasons
    rules = tuple(sorted(parsed.ids[name] for name in reasons))
    obligations = join(parsed.obligations[name] for name in reasons)
    return Answer(result.decision.value, rules, obligations, tuple(sorted(result.diagnostics.errors)))


def _resource(request: Request) -> dict[str, str]:
    kind = RESOURCE_TYPES.get(request.scope_kind, "Cell")
    return {"type": kind, "id": CELL if kind == "Cell" else request.scope_value}


def _cedar_request(request: Request) -> dict[str, Any]:
    return {
        "principal": {"type": "Principal", "id": request.principal},
        "action": {"type": "Action", "id": request.action},
        "resource": _resource(request),
        "context": {
            "authorised": request.authorised,
            "tenant": request.tenant,
            "scope": request.scope_kind,
            "gate": int(codec.clamp_gate(request.gate)),
            "life": int(codec.clamp_life(request.life)),
            "grace_ms": granted_grace(request, Obligations()) // 1_000_000,
            "asking": request.asking,
        },
    }


def _cedar_entities(request: Request) -> str:
    """The resource lies in its tenant and the tenant in the cell, so that a policy can say ``resource in Tenant::"acme"``."""
    cell, tenant, resource = {"type": "Cell", "id": CELL}, {"type": "Tenant", "id": request.tenant}, _resource(request)
    parents = [(cell, []), (tenant, [cell])]
    if resource not in (cell, tenant):
        parents.append((resource, [tenant]))
    return json.dumps([{"uid": uid, "attrs": {}, "parents": above} for uid, above in parents])


def input_hash(request: Request) -> str:
    """What an order carries of the request that it was decided on: SHA-256 in hex."""
    return _digest(_canonical_request(request))


def _canonical_request(request: Request) -> bytes:
    # JSON in ASCII, because it can write down any string and any integer, and this must not fail.
    return json.dumps(structs.asdict(request), sort_keys=True, separators=(",", ":")).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
