"""What people do to a cell from the command line: order, look, approve, resume. Auditing has a module of its own (``auditor``).

Owns the words in which the answers are given, and the exit code of each. Must not know HTTP (``remote``). An answer says what is proven, what is
merely bounded, and what is not known, and never takes one for the other.
"""

from __future__ import annotations

import base64
import json
import secrets
import sys
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from killswitch import files
from killswitch.core import codec, intent, policy, unreadable
from killswitch.core.bundles import RolloutRequest, Stage
from killswitch.core.certificates import ResumeDraftRequest
from killswitch.core.keys import EVERY_TENANT
from killswitch.core.messages import OrderRequest
from killswitch.core.scopes import Scope
from killswitch.core.trust import read_draft
from killswitch.live.config import duration_ns
from killswitch.live.exits import Exit, Wrong
from killswitch.live.remote import Answer, Refused, Remote, Unreachable, read_request

T = TypeVar("T")
POLL_S: Final = 0.25
NAMED_MAX: Final = 8
GUARD_MAX: Final = 1 << 31
COUNTERSIGN: Final = "killswitch/countersign/1"
DRAFT: Final = "killswitch/draft/2"  # 1 had no signature of whoever asks
SEVERITIES: Final = tuple(mode.lower() for mode in policy.MODES if mode != "RUN")


def order(remote: Remote, severity: str, scope: str, reason: str, grace: str, request: str, wait: str, draft: Path | None, *, as_json: bool) -> int:
    """Issue a stop, and wait for its proof if asked to. Where the policy wants more keys, ``draft`` becomes what others can countersign."""
    if severity not in SEVERITIES:
        raise Wrong(f"severity: one of {', '.join(SEVERITIES)} (got {severity!r})")
    tenant, within = _scope(scope)
    gate, life = policy.MODES[severity.upper()]
    patience_ns = _duration("--wait", wait) if wait else 0
    named = request or f"{remote.person}-{secrets.token_hex(8)}"
    asked = OrderRequest(named, remote.person, tenant, within, int(gate), int(life), _duration("--grace", grace), reason)
    answer = _asked(lambda: remote.order(asked), f"ask again with --request {named}", patience_ns, remote.unlisted(tenant))
    granted_ms = (answer.body["stands"] or {}).get("grace_ms", 0)
    if 0 < granted_ms < asked.grace_ns // 1_000_000:
        print(f"--grace: {grace} is more than the cell's grace-max or the policy allows; it is {granted_ms / 1000:g} s", file=sys.stderr)
    if draft is not None and not answer.body["keys_needed"]:
        print(f"{draft}: not written, for the order is in force as it was asked for: no further key is wanted", file=sys.stderr)
    elif draft is not None:
        raw, signature = (base64.b64encode(part).decode() for part in remote.signed(asked))
        asking = {"schema": COUNTERSIGN, "request": named, "raw": raw, "signature": signature, "countersignatures": []}
        _write(draft, asking, f"the request stands, for now isolated: ask again with --request {named}, and another --draft")
        print(f"{draft}: killswitch countersign {draft} --as NAME adds a key, and hands it in", file=sys.stderr)
    return _told(remote, answer, scope, f"ask again with --request {named}", patience_ns, as_json=as_json)


def countersign(remote: Remote, file: Path, wait: str, *, as_json: bool) -> int:
    """Show what somebody else asks for, sign exactly that, and hand it in with all signatures that there are: a stop waits for no further command."""
    asking, asked = _read_asking(file)
    patience_ns = _duration("--wait", wait) if wait else 0
    whom = f"{asked.scope.kind} {asked.scope.value or 'everything'} of {asked.tenant}"
    severity = intent.Severity(codec.clamp_gate(asked.gate), codec.clamp_life(asked.life)).title
    print(f"{asked.principal} asks for {severity} on {whom}: {asked.reason or '(no reason)'}", file=sys.stderr)
    others = [each for each in asking["countersignatures"] if each["countersigner"] != remote.person]
    asking["countersignatures"] = [*others, remote.countersign(asking["request"], asking["raw"], asking["signature"])]
    _write(file, asking, "nothing was handed in")
    handed = (asking["request"], asking["raw"], asking["signature"], asking["countersignatures"])
    answer = _asked(lambda: remote.countersigned(*handed), f"hand it in again with killswitch countersign {file}", patience_ns)
    return _told(remote, answer, whom, f"hand it in again with killswitch countersign {file}", patience_ns, as_json=as_json)


def _told(remote: Remote, answer: Answer, whom: str, again: str, patience_ns: int, *, as_json: bool) -> int:
    """What became of a request for a stop, with its proof if there is patience for that."""
    said = answer.body
    if said["stage"] == "ALREADY_COVERED":
        raise Wrong(f"order: {said['why']}", Exit.REFUSED)
    if patience_ns:
        said["stands"] = _wait_for(remote, said["order"], patience_ns) or said["stands"]
    stands = said["stands"] or {}
    matched = stands.get("agents", [])
    confirmed = bool(matched) and all(each["confirmed"] for each in matched)
    if as_json:
        print(json.dumps({"schema": "killswitch/order/1", **said, "confirmed": confirmed}))
    else:
        waits = said["stage"] == "NEEDS_KEYS"
        print(f"order {said['order'][:12]} " + ("waits for further keys" if waits else f"{said['stage'].lower()}: {said['copies']} replicas hold it"))
        _show_orders([stands] if stands else [])
    if said["keys_needed"]:
        print(f"isolated for now: policy wants {said['keys_needed']} more people to ask for this, each with a key of their own", file=sys.stderr)
        return Exit.UNKNOWN
    if said["stage"] != "EFFECTIVE":
        print(f"not yet held by enough replicas: {again}", file=sys.stderr)
        return Exit.UNKNOWN
    if stands and not matched:
        why = said.get("warning") or "none of this cell's agents is within it, so nothing was stopped; killswitch status shows which there are"
        print(f"{whom}: {why}\nthe order stands all the same, and binds whoever joins under it; killswitch resume lifts it", file=sys.stderr)
        return Exit.UNKNOWN
    return Exit.UNKNOWN if patience_ns and not confirmed else Exit.DONE


def status(remote: Remote, tenant: str, replica: str, *, lifted: bool, as_json: bool) -> int:
    """What is in force and what is proven."""
    path = f"/v1/status?tenant={tenant}&lifted={'true' if lifted else 'false'}"
    answer = _asked(lambda: remote.ask("GET", path, replica=replica), "try another --replica")
    shown = answer.body
    standing = [each for each in shown["orders"] if each["stage"] != "LIFTED"]
    open_stops = sum(not agent["confirmed"] for each in standing for agent in each["agents"])
    if as_json:
        print(json.dumps({"schema": "killswitch/status/1", **shown, "unconfirmed": open_stops}))
    else:
        print(f"as {shown['replica']} of cell {shown['cell']} knows it" + ("" if shown["vouches"] else "; its disk failed, it vouches for nothing"))
        now = shown["policy"]
        share = f" at {now['percent']} %" if now["stage"] == "CANARY" else ""  # of a shadow there is none: it decides for nobody
        trial = f", {now['stage']} {now['canary'][:12]}{share}" if now["canary"] else ""
        print(f"  policy {now['stable'][:12]}, rollout {now['rollout']}{trial}")
        _show_forked(shown.get("forked", []))  # a replica of an earlier version does not say
        for agent in shown["agents"]:
            free = agent["in_force"] == "RUN"
            start = f"latest start {agent['start']}" if agent["start"] else "never started"
            print(f"  {agent['agent']}: {'free to run, nothing is in force' if free else agent['in_force'] + ' in force'}; {start}")
        _show_orders(shown["orders"])
    return Exit.UNKNOWN if open_stops else Exit.DONE


def policy_step(remote: Remote, stage: str, file: Path | None, percent: int, guard: int, request: str, *, as_json: bool) -> int:
    """Bring a policy a step further, or take it back. Done once enough replicas hold it that no resume is decided without it any more."""
    named = stage.upper().replace("-", "_")
    if not 0 <= percent <= 100 or not 0 <= guard < GUARD_MAX:
        raise Wrong(f"--percent: 0 to 100 (got {percent}); --guard: a count below {GUARD_MAX} (got {guard})")
    if named not in Stage.__members__:
        raise Wrong(f"stage: one of {', '.join(each.lower().replace('_', '-') for each in Stage)} (got {stage!r})")
    text = ""
    if file is not None:
        try:
            text = files.content(file).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise Wrong(f"{file}: cannot be read ({error})") from error
        wrong = policy.problems(text) if text.strip() else ["policy: empty; nobody could be resumed by it"]
        if wrong:
            raise Wrong("\n".join(f"{file}: {problem}" for problem in wrong))
        _warn_of_the_unstoppable(file, remote.stoppable(text))
    name = request or f"{remote.person}-{secrets.token_hex(8)}"
    asked = RolloutRequest(name, remote.person, named, text, "", percent, guard)
    again = f"ask again with --request {name}"
    answer = _asked(lambda: remote.policy(asked), again)
    said = answer.body
    rollout, effective = f"rollout {said['rollout']}", said["stage"] == "EFFECTIVE"
    if said["stage"] == "SUPERSEDED":
        raise Wrong(f"{rollout}: {said['why']}; killswitch status shows what is in force now", Exit.REFUSED)
    if as_json:
        print(json.dumps({"schema": "killswitch/policy/1", **said}))
    elif effective:
        print(f"{rollout} is effective: enough replicas hold it")
    else:
        print(f"{rollout} is durable at replica {answer.replica}, and the others decide as before till they hold it")
    if not effective:
        print(f"not yet held by enough replicas: {again}", file=sys.stderr)
    return Exit.DONE if effective else Exit.UNKNOWN


def _warn_of_the_unstoppable(file: Path, stoppable: dict[str, bool]) -> None:
    """A policy under which nobody could stop anything is a slip, and nobody could stop anything to mend it."""
    out_of_reach = [agent for agent, can in stoppable.items() if not can]
    if out_of_reach and len(out_of_reach) == len(stoppable):
        raise Wrong(f"{file}: under this policy none of the cell's operators could stop anything; permit them to, and forbid what they must not")
    if out_of_reach:
        print(f"{file}: under this policy none of the cell's operators can stop {', '.join(out_of_reach[:NAMED_MAX])}", file=sys.stderr)


def resume(remote: Remote, scope: str, reason: str, approvers: list[str], draft: Path | None, *, as_json: bool) -> int:
    """Draft a resume; have it approved by those whose keys are here, and hand it in; or write it down for others to approve."""
    tenant, within = _scope(scope)
    named = f"{remote.person}-{secrets.token_hex(8)}"
    answer = _asked(lambda: remote.draft(ResumeDraftRequest(named, remote.person, tenant, within, reason)), "ask again")
    if answer.body["stage"] == "NOTHING_TO_COVER":
        wider = _holding(remote, tenant, within)
        if not wider:
            print("nothing is in force there")
            return Exit.DONE
        raise Wrong(
            "\n".join((f"nothing is in force at {scope} itself; what holds it is wider, and only its own scope lifts it:", *wider)), Exit.REFUSED
        )
    drafted = {"schema": DRAFT, **answer.body, "asked": remote.asks_for(answer.body["raw"]), "approvals": []}
    if draft is not None:
        _write(draft, drafted, "nothing is lifted; name another --draft")
        print(
            f"{draft}: needs {drafted['approvals_needed']} approvals; killswitch approve {draft} --as NAME, then killswitch resume --submit {draft}"
        )
        return Exit.DONE
    for name in approvers:
        try:
            drafted["approvals"].append(remote.also(name).approve(drafted["raw"]))
        except (OSError, KeyError) as error:
            raise Wrong(f"--approvers: the keys of {name} are not here ({error}); killswitch resume ... --draft FILE asks where they are") from error
    return _hand_in(remote, drafted, as_json=as_json)


def approve(remote: Remote, file: Path) -> int:
    """Show what would be lifted, and sign exactly that."""
    drafted = _read_draft(file)
    body = read_draft(base64.b64decode(drafted["raw"]))
    assert body is not None
    print(f"{body.requester} asks to resume {body.scope.kind} {body.scope.value or 'everything'} of {body.tenant}: {body.reason}")
    for covered in body.covers:
        print(f"  lifts order {covered}")
    if not _checked(partial(remote.is_asked_for, drafted["raw"], drafted["asked"])):
        raise Wrong(f"{file}: not approved: {body.requester}, in whose name it is, has not signed exactly this; it was changed since", Exit.REFUSED)
    own = remote.approve(drafted["raw"])
    if why := _checked(partial(remote.objection, drafted["raw"], own)):
        raise Wrong(f"{file}: not approved: {remote.person} {why}; `people` in the cell's file says who approves", Exit.REFUSED)
    drafted["approvals"] = [*(each for each in drafted["approvals"] if each["approver"] != remote.person), own]
    _write(file, drafted, "the approval is not in it")
    counted = _show_approvals(remote, drafted)
    missing = drafted["approvals_needed"] - len(counted)
    then = f"{missing} more needed: killswitch approve {file} --as NAME" if missing > 0 else f"enough: killswitch resume --submit {file}"
    print(f"{file}: approved by {', '.join(counted)}; {then}")
    return Exit.DONE


def submit(remote: Remote, file: Path, *, as_json: bool) -> int:
    """Hand in a draft that others have approved."""
    return _hand_in(remote, _read_draft(file), as_json=as_json)


def _show_approvals(remote: Remote, drafted: dict[str, Any]) -> list[str]:
    """Who has approved a draft; each approval that will not count is named, with the reason."""
    counted = []
    for each in drafted["approvals"]:
        why = _checked(partial(remote.objection, drafted["raw"], each))
        if why:
            print(f"not counted: {each['approver']} {why}", file=sys.stderr)
        else:
            counted.append(each["approver"])
    return counted


def _checked(look: Callable[[], T]) -> T:
    """What a look at signatures says."""
    try:
        return look()
    except (OSError, ValueError) as error:
        raise Wrong(f"approve: nobody's signature can be checked here: {error}") from error


# -- In words ------------------------------------------------------------------------------------------------------------------------


def _show_forked(nodes: list[str]) -> None:
    for node in nodes:
        then = "; its grants count no more" if node.startswith("replica/") else ""
        print(f"  caught keeping two logs: {node}{then} (killswitch audit verify says more)")


def _show_orders(orders: list[dict[str, Any]]) -> None:
    for each in orders:
        where = f"{each['scope']['kind']} {each['scope']['value']}".strip()
        print(f"  {each['severity']} {each['order'][:12]} on {where}, by {each['issuer']}: {each['reason'] or '(no reason)'}")
        if each["stage"] == "LIFTED":
            print("    lifted: a sidecar that has heard so enforces it no more")
            continue
        over = bool(each["agents"]) and all(agent["confirmed"] and not agent["in_doubt"] for agent in each["agents"])
        bounded = "" if over else _bounded(each["bounded"])  # what is proven needs no theorem
        print(f"    {each['stage'].lower()}, held by {len(each['holders'])} replicas where {each['needed']} are needed{bounded}")
        if not each["agents"]:
            print("    none of this cell's agents is within it: it binds whoever joins")
        for agent in each["agents"]:
            aside = [f"not fenced yet at {', '.join(agent['fencing'])}"] if agent["fencing"] else ["fenced"] if agent["fenced"] else []
            aside += [f"in doubt: {', '.join(agent['in_doubt'])}"] if agent["in_doubt"] else []
            aside += ["presumed stopped"] if agent["presumed_stopped"] and not agent["confirmed"] else []
            print(f"    {agent['agent']}: {agent['evidence']}{', confirmed' if agent['confirmed'] else ''}{''.join(f', {word}' for word in aside)}")


def _bounded(bound: dict[str, Any] | None) -> str:
    if bound is None:
        return ""
    left_ms = bound["nothing_applied_in_ms"]
    sure = "" if bound["guaranteed_at_every_sink"] else " (but for sinks of class U, which promise nothing)"
    if left_ms == 0:
        return f"; no effect can take place any more{sure}"
    return f"; bounded: no effect later than {-(-left_ms // 100) / 10:.1f} s from now{sure}"  # a promise rounds up


# -- Common --------------------------------------------------------------------------------------------------------------------------


def _scope(text: str) -> tuple[str, Scope]:
    """(tenant, scope) of ``everything``, ``acme``, ``acme/a1`` or ``acme:tier=gold``."""
    if text == "everything":
        return EVERY_TENANT, Scope("global")
    tenant, label, value = text.partition(":")
    if label and tenant and "=" in value:
        return tenant, Scope("label", value)
    tenant, slash, name = text.partition("/")
    if tenant and not label and bool(slash) == bool(name):
        return tenant, Scope("agent", text) if slash else Scope("tenant", tenant)
    raise Wrong(f"scope: TENANT/AGENT, TENANT, TENANT:KEY=VALUE or everything (got {text!r})")


def _holding(remote: Remote, tenant: str, scope: Scope, lifted: Collection[str] = ()) -> list[str]:
    """Each order in force that holds somebody of ``scope`` and is not of that scope, with the command that lifts it. Who has a label is for replicas
    to know: of one, everybody of its tenant counts. ``lifted``: orders that were, of which whoever is asked need not have heard."""
    shown = _asked(lambda: remote.ask("GET", f"/v1/status?tenant={tenant}&lifted=false"), "ask again").body
    held = []
    for order in shown["orders"]:
        kind, value = order["scope"]["kind"], order["scope"]["value"]
        if order["order"] not in lifted and any(scope.kind != "agent" or agent["agent"] == scope.value for agent in order["agents"]):
            whole = {"global": "everything", "label": f"{order['tenant']}:{value}"}.get(kind, value)
            held.append(f"  {order['severity']} of {whole}, order {order['order'][:12]}: killswitch resume {whole} --reason ... --approvers ...")
    return held


def _duration(option: str, text: str) -> int:
    try:
        return duration_ns(text)
    except ValueError as error:
        raise Wrong(f"{option}: {error} (got {text!r})") from None


def _asked(ask: Callable[[], Answer], remedy: str, patience_ns: int = 0, hint: str = "") -> Answer:
    """The first answer. What was asked keeps its name, so that asking again for as long as patience lasts asks for nothing more. ``hint``: what may
    be the reason if it is refused."""
    deadline = time.monotonic() + patience_ns / 1e9
    while True:
        try:
            return ask()
        except Refused as refused:
            raise Wrong(f"refused: {refused}{hint}", Exit.REFUSED) from None
        except Unreachable as silent:
            if time.monotonic() >= deadline:
                raise Wrong(f"no replica answered, so nothing is known: {silent}; {remedy}", Exit.UNKNOWN) from None
        time.sleep(POLL_S)


def _wait_for(remote: Remote, order_id: str, patience_ns: int) -> dict[str, Any] | None:
    """How the order stands once every agent's stop is proven, or when patience is at its end. Silent replicas are asked again."""
    deadline = time.monotonic() + patience_ns / 1e9
    stands: dict[str, Any] | None = None
    while True:
        try:
            found = [each for each in remote.ask("GET", "/v1/status?lifted=true").body["orders"] if each["order"] == order_id]
            stands = found[0] if found else stands
        except (Refused, Unreachable) as silent:
            print(f"waiting: {silent}", file=sys.stderr)
        if (stands and all(agent["confirmed"] for agent in stands["agents"])) or time.monotonic() > deadline:
            return stands
        time.sleep(POLL_S)


def _read_draft(file: Path) -> dict[str, Any]:
    try:
        drafted = _read_json(file)
        known = drafted["schema"] == DRAFT and read_draft(base64.b64decode(drafted["raw"], validate=True)) is not None
        known = known and isinstance(drafted["approvals_needed"], int)
        signed = (drafted["asked"], *drafted["approvals"])
        known = known and all(isinstance(each["approver"], str) and base64.b64decode(each["signature"], validate=True) for each in signed)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Wrong(f"{file}: no draft of a resume ({_broken(error)}); killswitch resume SCOPE --reason ... --draft FILE writes one") from error
    if not known:
        raise Wrong(f"{file}: no draft of a resume; killswitch resume SCOPE --reason ... --draft FILE writes one")
    return drafted


def _read_asking(file: Path) -> tuple[dict[str, Any], OrderRequest]:
    why, asking, asked = "it is something else", {}, None
    try:
        asking = _read_json(file)
        if asking["schema"] == COUNTERSIGN and isinstance(asking["countersignatures"], list):
            asked = read_request(asking["request"], asking["raw"], asking["signature"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        why = _broken(error)
    if asked is None:
        raise Wrong(f"{file}: no request for a stop ({why}); killswitch order ... --draft FILE writes one")
    return asking, asked


def _read_json(file: Path) -> dict[str, Any]:
    """What people hand from one to the next. Raises `ValueError` for a key that stands twice: somebody may have read the one, and signs the other."""
    content = files.content(file)
    if twice := unreadable.repeated(content):
        raise ValueError("; ".join(twice))
    return dict(json.loads(content))


def _broken(error: Exception) -> str:
    return f"{error} is not in it" if isinstance(error, KeyError) else str(error)


def _write(file: Path, document: dict[str, Any], otherwise: str) -> None:
    """What people hand from one to the next. ``otherwise``: how things are if it cannot be written, and what to do."""
    try:
        file.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise Wrong(f"{file}: cannot be written ({error.strerror}); {otherwise}") from error


def _hand_in(remote: Remote, drafted: dict[str, Any], *, as_json: bool) -> int:
    signed = [drafted["asked"], *drafted["approvals"]]
    answer = _asked(lambda: remote.resume(drafted["request"], drafted["raw"], signed), "hand it in again")
    if as_json:
        print(json.dumps({"schema": "killswitch/resume/1", **answer.body}))
    if answer.body["stage"] == "EXPIRED":
        print("approved too late: draft anew, and have that approved", file=sys.stderr)
        return Exit.REFUSED
    if answer.body["stage"] == "NEEDS_CONTEXT":
        missing = ", ".join(order_id[:12] for order_id in answer.body["missing"])
        print(f"another order has come since the draft ({missing}): draft anew, so that approvers see it", file=sys.stderr)
        return Exit.REFUSED
    held = _still_held(remote, drafted)
    if not as_json:
        print(
            "accepted, and durable at a replica. Each sidecar lifts the orders once the certificate reaches it" + ("" if held else ", and starts its")
        )
        if not held:
            print("agent again by itself, as a rule within seconds; in killswitch status its latest start then has a new number. An agent of")
            print("restart: never stays down")
    if held:
        print("\n".join(held), file=sys.stderr)
    return Exit.DONE


def _still_held(remote: Remote, drafted: dict[str, Any]) -> list[str]:
    """After a resume that was accepted: what else holds those whom it was for. That nobody answers this changes nothing of the acceptance."""
    body = read_draft(base64.b64decode(drafted["raw"]))
    assert body is not None
    try:
        wider = _holding(remote, body.tenant, body.scope, body.covers)
    except Wrong as silent:
        return [f"whether something else holds them is not known ({silent}): killswitch status shows it"]
    return ["other orders are in force there, and whom they hold stays stopped; only their own scope lifts them:", *wider] if wider else []
