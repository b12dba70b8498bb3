"""The operator's client: what a person's command becomes, retried until the control plane has answered for good (protocol 3.7 to 3.9).

Owns asking again, elsewhere, and carrying a resume from draft through approvals to acceptance. Decides nothing: people do, and the
policy does. Holds the keys of the people who use it.
"""

from __future__ import annotations

from msgspec import structs

from killswitch.core import codec, federation, intent, trust
from killswitch.core.bundles import RolloutRequest, RolloutStatus
from killswitch.core.certificates import ResumeCertificate, ResumeDraft, ResumeDraftRequest, ResumeStatus, ResumeSubmit
from killswitch.core.countersigns import CountersignedRequest
from killswitch.core.events import Boot, Command, Effect, Input, Observe, Receive, Send, SetTimer, Timer
from killswitch.core.cells import CellStatus
from killswitch.core.machine import Cell, NodeConfig
from killswitch.core.messages import ASK_ANOTHER, GRACE_MAX_NS, Message, OrderRequest, OrderStatus
from killswitch.core.outlet import observe
from killswitch.core.scopes import Scope
from killswitch.core.trust import Trust

RETRY_NS = 1_000_000_000
RETRY_MAX_NS = 5_000_000_000
OPEN_MAX = 256  # commands under way at once; what comes beyond them is refused, not put in the place of another


class Errand:
    """One command under way: what to send next, to which replica (by index), and how long to wait before asking again. ``sent_on``: how many replicas
    were asked since one that the draft did not hear sent this certificate on to another, that one included; 0 if none has."""

    __slots__ = ("command", "effective", "message", "replica", "sent_on", "wait_ns")

    def __init__(self, command: Command, message: Message) -> None:
        self.command = command
        self.message = message
        self.replica = 0
        self.sent_on = 0
        self.wait_ns = RETRY_NS
        self.effective: dict[str, dict[str, int]] = {}  # order -> cell -> copies, where it is effective


class Operator:
    """The state of one client. ``errands``: {request id: Errand}, until the answer is final."""

    def __init__(self, config: NodeConfig, trust: Trust) -> None:
        self.config = config
        self.trust = trust
        self.effects: list[Effect] = []
        self.errands: dict[str, Errand] = {}


def step(state: Operator, event: Input, now_ns: int) -> list[Effect]:
    """Take one input at ``now_ns`` on the client's clock. Total, deterministic."""
    state.effects = []
    if isinstance(event, Command):
        on_command(state, event, now_ns)
    elif isinstance(event, Receive) and event.sender in state.config.replicas:
        on_receive(state, event.message, event.sender, now_ns)
    elif isinstance(event, Timer):
        on_timer(state, event.name, now_ns)
    elif isinstance(event, Boot):
        state.errands.clear()  # a client that restarts has forgotten; the person asks again, and gets the same order
    return state.effects


def on_command(state: Operator, command: Command, now_ns: int) -> None:
    """Sign what a person asks for and send it on its way, to the replica named if there is one of that name. Too many at once are refused: the person
    is told, and whatever is under way already goes on. So is something else under the name of what is under way."""
    why = refusal(state, command)
    if why:
        observe(state, "command-refused", request=command.request, principal=command.principal, verb=command.verb, why=why)
        return
    scope = Scope(command.scope_kind, command.scope_value)
    message: OrderRequest | ResumeDraftRequest | RolloutRequest
    if command.verb == "policy":
        tried = RolloutRequest(
            command.request, command.principal, command.stage, command.text, command.tests, command.percent, command.guard,
        )  # fmt: skip
        message = sign(state, tried)
        observe(state, "rollout-requested", request=command.request, principal=command.principal, stage=command.stage)
    elif command.verb == "order":
        asked = OrderRequest(
            command.request, command.principal, command.tenant, scope, codec.clamp_gate(command.gate), codec.clamp_life(command.life),
            min(max(command.grace_ns, 0), GRACE_MAX_NS), command.reason,
            command.cleanup,
        )  # fmt: skip
        _observe(state, "order-requested", command, gate=command.gate, life=command.life, grace_ns=command.grace_ns,
                 reason=command.reason, cleanup=command.cleanup)  # fmt: skip
        message = sign(state, asked)
    else:
        _observe(state, "resume-requested", command)
        message = sign(state, ResumeDraftRequest(command.request, command.principal, command.tenant, scope, command.reason))
    errand = Errand(command, message)
    if command.replica in state.config.replicas:
        errand.replica = state.config.replicas.index(command.replica)
    state.errands[command.request] = errand
    go(state, errand, now_ns)


def refusal(state: Operator, command: Command) -> str:
    """Why a command is not sent, and what to do; empty if it is. Answers name what they answer, and nothing else: of two under one name the answer to
    the one would be the end of the other."""
    under_way = state.errands.get(command.request)
    if under_way is not None and content(command) != content(under_way.command):
        remedy = "give this one a name of its own"
        return f"{command.verb} {command.request} was not sent: something else under that name waits for its answer; {remedy}"
    if under_way is None and len(state.errands) >= OPEN_MAX:
        remedy = "ask again once one of them is answered, or ask another client, or for one stop of a wider scope"
        return (
            f"{command.verb} {command.request} was not sent: {OPEN_MAX} commands of this client wait for their answers, which is the most; {remedy}"
        )
    return ""


def content(command: Command) -> Command:
    """What is asked for, without whom to ask first and who signs it."""
    return structs.replace(command, replica="", approvers=(), approve_after_ns=0)


def sign(state: Operator, request: trust.AnyRequest) -> trust.AnyRequest:
    """Sign with the principal's key; somebody whose key is not at hand asks without one, and is refused."""
    try:
        return trust.sign_request(state.trust, request)
    except KeyError:
        return request


def go(state: Operator, errand: Errand, now_ns: int) -> None:
    """Send, and be ready to try the next replica. An order is asked for in each cell that it concerns, too, so that each can tell of its agents."""
    asked = [state.config.replicas[errand.replica]]
    if isinstance(errand.message, OrderRequest | CountersignedRequest) and state.config.cells:
        asked += [cell.replicas[errand.replica % len(cell.replicas)] for cell in homes(state, errand)]
    for replica in dict.fromkeys(asked):
        state.effects.append(Send(replica, errand.message))
    errand.replica = (errand.replica + 1) % len(state.config.replicas)
    errand.sent_on += errand.sent_on > 0
    state.effects.append(SetTimer(errand.command.request, now_ns + errand.wait_ns))
    errand.wait_ns = min(errand.wait_ns * 3 // 2, RETRY_MAX_NS)


def on_timer(state: Operator, request: str, now_ns: int) -> None:
    errand = state.errands.get(request)
    if errand is not None:
        go(state, errand, now_ns)


def on_receive(state: Operator, message: Message, sender: str, now_ns: int) -> None:
    """An answer: the end of its errand, or the next thing to do about it."""
    if isinstance(message, RolloutStatus):
        on_rollout_status(state, message, sender)
    elif isinstance(message, OrderStatus):
        if not is_to_be_countersigned(state, message, now_ns) and is_final(message):
            settle(state, message.request)
    elif isinstance(message, CellStatus):
        if not is_to_be_countersigned(state, message, now_ns) and message.stage == "EFFECTIVE":
            on_cell_status(state, message)
    elif isinstance(message, ResumeDraft):
        on_draft(state, message, now_ns)
    elif isinstance(message, ResumeStatus):
        on_resume_status(state, message, sender, now_ns)


def is_final(status: OrderStatus) -> bool:
    """What is merely accepted may be with a replica that nobody else hears: it is asked of the others, too."""
    return status.stage != "ACCEPTED"


def on_rollout_status(state: Operator, status: RolloutStatus, sender: str) -> None:
    """What is merely accepted is asked after where it was: another replica that has not heard of it would take a step of its own."""
    errand = state.errands.get(status.request)
    if errand is not None and status.stage == "ACCEPTED":
        errand.replica = state.config.replicas.index(sender)
    else:
        settle(state, status.request)


def on_cell_status(state: Operator, status: CellStatus) -> None:
    """Effective in one cell; that is final once it is said of every cell that the order concerns. Where policies differ, one request becomes an order
    in each cell: what holds of one of them says nothing of another."""
    errand = state.errands.get(status.request)
    if errand is None:
        return
    effective = errand.effective.setdefault(status.order, {})
    effective[status.cell] = max(status.copies, effective.get(status.cell, 0))
    if all(cell.name in effective for cell in homes(state, errand)):
        told = {"request": status.request, "order": status.order, "stage": "EFFECTIVE"}
        everywhere = {**told, "copies": sum(effective.values()), "keys": status.keys}
        state.effects.append(Observe("order-status", everywhere))
        settle(state, status.request)


def is_to_be_countersigned(state: Operator, status: OrderStatus | CellStatus, now_ns: int) -> bool:
    """Whether what was asked for takes more keys, and there are people at hand for that: they sign, in their time, and the request goes out again
    with their signatures. Meanwhile, what is said of the isolation ends nothing."""
    errand = state.errands.get(status.request)
    if errand is None or not status.keys or not errand.command.approvers or status.stage == "NEEDS_KEYS":
        return False
    if isinstance(errand.message, OrderRequest):
        request, signatures = errand.message, []
        for person in errand.command.approvers:
            try:
                signatures.append(trust.countersign(state.trust, person, request))
            except KeyError:
                continue  # somebody without a key countersigns nothing
        if not signatures:
            return False
        errand.message = CountersignedRequest(request.request, codec.unsigned(request), request.signature, tuple(signatures))
        errand.effective.clear()
        go_in_their_time(state, errand, now_ns)
    return True


def homes(state: Operator, errand: Errand) -> tuple[Cell, ...]:
    """The cells that an errand concerns."""
    return federation.concerned(state.config, Scope(errand.command.scope_kind, errand.command.scope_value))


def on_draft(state: Operator, draft: ResumeDraft, now_ns: int) -> None:
    """Have the draft signed by whoever asked for it and approved by the people at hand, in their time, and hand it in. Whom one replica sends on asks
    the next, in its time."""
    errand = state.errands.get(draft.request)
    if errand is None or not isinstance(errand.message, ResumeDraftRequest):
        return
    if draft.stage == ASK_ANOTHER:
        return
    if draft.stage != "DRAFTED":
        settle(state, draft.request)
        return
    approvals = []
    people = ((errand.command.principal, trust.sign_asked), *((approver, trust.sign_approval) for approver in errand.command.approvers))
    for person, sign_it in people:
        try:
            approvals.append(sign_it(state.trust, person, draft.raw))
        except KeyError:
            continue  # somebody without a key asks for nothing, and approves nothing
    errand.message = ResumeSubmit(draft.request, ResumeCertificate(draft.raw, tuple(approvals)))
    errand.sent_on = 0
    go_in_their_time(state, errand, now_ns)


def go_in_their_time(state: Operator, errand: Errand, now_ns: int) -> None:
    """What people have signed goes back to where it came from, once they have taken their time."""
    errand.replica = (errand.replica - 1) % len(state.config.replicas)
    errand.wait_ns = RETRY_NS
    if errand.command.approve_after_ns:
        state.effects.append(SetTimer(errand.command.request, now_ns + errand.command.approve_after_ns))
    else:
        go(state, errand, now_ns)


def on_resume_status(state: Operator, status: ResumeStatus, sender: str, now_ns: int) -> None:
    """Accepted and refused are final. A draft that misses an order, or is too old, is drafted anew: people approve what they were shown. Whom one
    replica sends on hands in the same at the next, in its time; where none of those whom the draft heard is left to let it in, it is drafted anew."""
    errand = state.errands.get(status.request)
    if errand is None:
        return
    if status.stage == ASK_ANOTHER and not is_in_vain(state, errand, status, sender):
        return
    if status.stage not in ("NEEDS_CONTEXT", "EXPIRED", ASK_ANOTHER):
        settle(state, status.request)
        return
    command = errand.command
    scope = Scope(command.scope_kind, command.scope_value)
    errand.message = sign(state, ResumeDraftRequest(command.request, command.principal, command.tenant, scope, command.reason))
    errand.wait_ns = RETRY_NS
    errand.sent_on = 0
    go(state, errand, now_ns)


def is_in_vain(state: Operator, errand: Errand, status: ResumeStatus, sender: str) -> bool:
    """Whether a replica that the draft did not hear sends a certificate on, and all have been asked since one such did so first: whoever was heard is
    silent, or cannot let it in, either. In a cell of one version some such replica works wherever a quorum does; in a mixed one the draft may
    name nobody but who made it."""
    if not isinstance(errand.message, ResumeSubmit) or intent.content_id(errand.message.certificate.raw) != status.certificate:
        return False
    known = intent.read_certificate(errand.message.certificate)
    if known is None or any(each.replica == sender for each in known.body.ends):
        return False
    errand.sent_on = max(errand.sent_on, 1)
    return errand.sent_on >= len(state.config.replicas)


def settle(state: Operator, request: str) -> None:
    if state.errands.pop(request, None) is not None:
        state.effects.append(SetTimer(request, None))


def _observe(state: Operator, kind: str, command: Command, **fields: object) -> None:
    scope = (command.scope_kind, command.scope_value)
    common = {"request": command.request, "principal": command.principal, "tenant": command.tenant, "scope": scope}
    state.effects.append(Observe(kind, {**common, **fields}))
