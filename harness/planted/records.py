"""Planted bugs of records: left out, written twice, or gathered until a crash takes them."""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakKeyDictionary

from harness.planted.bug import PlantedBug
from killswitch.core import attempts, audit, intent, trust
from killswitch.core.certificates import ResumeCertificate
from killswitch.core.events import Append, Effect, SetTimer, Signal, SignalKind
from killswitch.core.messages import NO_TOKEN, Evidence, StartRequest
from killswitch.core.outlet import Writer, observe, parts, record
from killswitch.core.replica import orders
from killswitch.core.replica.state import Replica
from killswitch.core.sidecar import step as sidecar_step
from killswitch.core.sidecar.state import Sidecar, send_replicas

GATHERED = 3

_after_accept = orders.after_accept
_outlived = attempts.outlived
_learn_certificate = sidecar_step.learn_certificate
_gathered: WeakKeyDictionary[Writer, list[Effect]] = WeakKeyDictionary()


def gathered(state: Writer, kind: str, body: Mapping[str, object], now_ns: int) -> int:
    """Records are written a few at a time, to spare the disk; nobody flushes at a crash."""
    waiting = _gathered.setdefault(state, [])
    effect: Append = state.chain.append(kind, body, now_ns)
    waiting.append(effect)
    if len(waiting) >= GATHERED:
        state.effects.extend(waiting)
        waiting.clear()
    return effect.record.seq


def prove_off_the_record(state: Sidecar, order: str, reached: str, now_ns: int) -> None:
    token, _, checkpoint, in_doubt = (state.token, "", state.checkpoint, ()) if state.process else state.last_stop
    signed = trust.sign_evidence(state.trust, state.config.node, Evidence(state.config.agent, token, order, reached, checkpoint, in_doubt))
    state.proved[order] = signed
    send_replicas(state, signed)


def kill_off_the_record(state: Sidecar, now_ns: int) -> None:
    state.killing = True
    if now_ns >= state.next_kill_ns:
        state.next_kill_ns = now_ns + state.parameters.kill_retry_ns
        state.effects += [Signal(SignalKind.KILL), SetTimer("kill", state.next_kill_ns)]


def record_no_permits(state: Sidecar, now_ns: int) -> None:
    state.let_out = (0, bytes(32))


def decide_twice(state: Replica, order: str, now_ns: int) -> None:
    """Whoever watches an order puts down for whom."""
    _after_accept(state, order, now_ns)
    for each in [effect.record for effect in state.effects if isinstance(effect, Append) and effect.record.kind == "DECISION"]:
        record(state, "DECISION", audit.content(each), now_ns)


def lost_is_lost(state: Sidecar, now_ns: int) -> None:
    """The gate looks at the clock by itself."""
    state.lease_timer_set = now_ns < state.lease_until_ns
    if state.lease_timer_set:
        state.effects.append(SetTimer("lease", state.lease_until_ns))


def whatever_comes(state: Sidecar, certificate: ResumeCertificate, now_ns: int) -> None:
    """What it knows of it already makes no difference."""
    known = state.intent.certificates.pop(intent.content_id(certificate.raw), None)
    _learn_certificate(state, certificate, now_ns)
    if known is not None:
        state.intent.certificates[known.id] = known


def said_and_not_written(state: Sidecar, now_ns: int) -> None:
    """Whoever watches it is told."""
    lost_is_lost(state, now_ns)
    if not state.lease_timer_set:
        observe(state, "lease-lost", agent=state.config.agent, token=parts(state.token))


def each_end_is_put_down(state: attempts.Reader, identity: str, now_ns: int, *, on_record: bool) -> None:
    """What was begun on record ends on record."""
    _outlived(state, identity, now_ns, on_record=False)


def noted_off_the_record(state: Replica, request: StartRequest, now_ns: int) -> None:
    """The sidecar will say so again."""
    if request.stopped > state.stopped.get(request.agent, NO_TOKEN):
        state.stopped[request.agent] = request.stopped


BUGS = (
    PlantedBug("B33", "records are gathered and written a few at a time, and a crash takes those that wait",
               {f"sidecar.{module}:record": gathered for module in ("step", "starts", "proof")}, ("S15",), ("swarm-storm",), "easy"),
    PlantedBug("B107", "proofs leave without a record", {"sidecar.proof:prove": prove_off_the_record}, ("S15", "S11"), ("swarm-storm",), "easy"),
    PlantedBug("B108", "kills are not put on record", {"sidecar.step:kill": kill_off_the_record}, ("S15",), ("swarm-storm",), "easy"),
    PlantedBug("B109", "effects that leave are not put on record", {"sidecar.permits:put_on_record": record_no_permits}, ("S15",),
               ("kill-with-effects-in-flight", "swarm-storm"), "easy"),
    PlantedBug("B110", "a ruling is put on record twice", {"replica.orders:after_accept": decide_twice}, ("S15",), ("swarm-storm",), "easy"),
    PlantedBug("B337", "nobody puts down that a lease ran out", {"sidecar.starts:on_lease_timer": lost_is_lost}, ("S15",),
               ("kill-during-partition", "swarm-storm"), "easy"),
    PlantedBug("B338", "a certificate is put on record each time that it comes", {"sidecar.step:learn_certificate": whatever_comes}, ("S15",),
               ("leaves-before-it-has-saved", "resume-race"), "easy"),
    PlantedBug("B485", "that a lease ran out is shown to those who watch, and never put on record",
               {"sidecar.starts:on_lease_timer": said_and_not_written}, ("S15",), ("kill-during-partition", "swarm-storm"), "easy"),
    PlantedBug("B511", "the end of an attempt to read an order is put on record beside the order", {"attempts:outlived": each_end_is_put_down},
               ("S15",), ("poisoned-order", "swarm-storm"), "easy"),
    PlantedBug("B512", "that a start is over is not put on record", {"replica.grants:note_stopped": noted_off_the_record}, ("S15",),
               ("swarm-storm",), "easy"),
)  # fmt: skip
