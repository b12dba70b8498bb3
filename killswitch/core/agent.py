"""An agent's work loop: journal, effects, checkpoints, recovery (protocol 4).

Owns the order in which a step of work becomes durable. Must not know orders, leases, tokens or sinks' classes: its sidecar is its only
way out, answers APPLIED, DENIED or IN_DOUBT, and asks it to stop.

For each step of a task:   J1 INTENT durable -> J2, J3 the sidecar performs it -> J4 RESULT -> (last step) J5 DONE durable -> J6 acknowledge.
Checkpoint:                CK1-CK4 by the driver in slot generation % 2, then CKPT durable, and only then spoken of.
Compensation:              UNDO, then the steps that took place, the last first, each under a key of its own, by J1 to J4; COMPENSATED -> acknowledge.
Recovery:                  newest intact slot, replay the journal from its lsn, then ask what became of every intent without a result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


from msgspec import structs

from killswitch.core import audit, boot, checkpoints
from killswitch.core.checkpoints import Checkpoint, OpenTask
from killswitch.core.events import (
    AcknowledgeTask, Boot, CheckpointDurable, DiskFailed, Durable, Effect, Exit, Input, Observe, Receive, SetTimer, Submit, Timer,
    WriteCheckpoint,
)  # fmt: skip
from killswitch.core.journal import ENDS, fold, key_of, next_step, undo_key
from killswitch.core.machine import NodeConfig
from killswitch.core.messages import (
    EffectClass, EffectRequest, EffectResult, Gate, GateNotice, ResolveRequest, ResolveResult, StopAck, StopRequest, Task,
)  # fmt: skip
from killswitch.core.outlet import record, send

DOUBT_RETRY_MAX_NS = 4_000_000_000
CHECKPOINT_EVERY = 5  # tasks
QUEUE_MAX = 4096
RETRY_NS = 1_000_000_000


class Agent:
    """The state of one agent process. ``ended``: {task: how}; ``open``: begun and not ended."""

    __slots__ = (
        "awaiting", "booted", "chain", "checkpointing", "compensate", "config", "current", "disk_failed", "doubt_timer_set", "doubt_wait_ns",
        "drain", "effects", "ended", "generation", "leaving", "left", "open", "phase", "queue", "sidecar", "since_checkpoint", "stopping",
        "unresolved", "whole_slot",
    )  # fmt: skip

    def __init__(self, config: NodeConfig) -> None:
        self.config = config
        self.sidecar = f"sidecar/{config.agent}"
        self.effects: list[Effect] = []
        self.chain = audit.Chain("")
        self.ended: dict[str, str] = {}
        self.open: dict[str, OpenTask] = {}
        self.generation = 0  # of the last checkpoint that was on record or durable
        self.whole_slot: int | None = None  # where the newest checkpoint is that is known to be whole
        self.booted = False
        self.disk_failed = False
        self.queue: list[Task] = []
        self.current: OpenTask | None = None
        self.phase = "idle"  # idle, thinking, intending, asking, resolving, finishing
        self.awaiting: dict[int, tuple[str, str]] = {}
        self.stopping = False
        self.drain = False
        self.compensate = False
        self.leaving = False
        self.left = False
        self.checkpointing = False
        self.since_checkpoint = 0
        self.unresolved: list[str] = []
        self.doubt_wait_ns = RETRY_NS
        self.doubt_timer_set = False


def step(state: Agent, event: Input, now_ns: int) -> list[Effect]:
    """Take one input at ``now_ns`` on the agent's clock. Total, deterministic."""
    state.effects = []
    handler = _HANDLERS.get(type(event))
    if handler is not None and (state.booted or type(event) is Boot) and not state.leaving:
        handler(state, event, now_ns)
        go_on(state, now_ns)
    elif state.leaving:
        leave(state, event, now_ns)
    return state.effects


# -- the work loop -----------------------------------------------------------------------------------------------------------------------


def go_on(state: Agent, now_ns: int) -> None:
    """Whenever nothing is under way: resolve what is unknown, then stop if asked, then work."""
    if state.disk_failed and state.stopping:
        depart(state, 1)
    if state.phase != "idle" or state.disk_failed or not state.booted:
        return
    if state.unresolved and not (state.stopping and not state.drain):
        resolve_next(state, now_ns)
    elif state.stopping and not (state.drain and unfinished(state)):
        if not state.checkpointing:  # one that is under way does not hold what has come since
            begin_leaving(state, now_ns)
    elif state.current is None:
        take_next(state, now_ns)
    else:
        think(state, state.current, now_ns)


def unfinished(state: Agent) -> bool:
    """Whether a task has had an effect and could still have its others, or have it undone. Tasks in doubt are nobody's to finish now."""
    return any((task.done > 0 or task.undoing) and not task.in_doubt for task in state.open.values())


def take_next(state: Agent, now_ns: int) -> None:
    """First what was begun, then what is waiting; while draining only the former (subtasks and queued work are new tasks)."""
    begun = [task for task in state.open.values() if not task.in_doubt and (task.done > 0 or task.undoing or not state.stopping)]
    if begun:
        state.current = begun[0]
    elif state.queue and not state.stopping:
        state.current = OpenTask(state.queue.pop(0))
    else:
        return
    think(state, state.current, now_ns)


def think(state: Agent, current: OpenTask, now_ns: int) -> None:
    if is_to_be_undone(state, current):
        current.undoing = True
        record(state, "UNDO", {"task": current.task.task}, now_ns)
    if current.done == (0 if current.undoing else current.task.steps) and current.task.task in state.open:
        end(state, current, now_ns)  # recovered between its last result and its end
        return
    state.phase = "thinking"
    state.effects.append(SetTimer("think", now_ns + current.task.step_ns))


def is_to_be_undone(state: Agent, current: OpenTask) -> bool:
    """A soft stop that wants it, for a task that can be undone and is in the middle. Once begun, undoing goes on, now or in a later start."""
    return state.stopping and state.drain and state.compensate and current.task.undo and not current.undoing and 0 < current.done < current.task.steps


def intend(state: Agent, now_ns: int) -> None:
    """J1: write down what is about to be asked for."""
    current = state.current
    if current is None:
        state.phase = "idle"
        return
    if state.stopping and (current.done == 0 or not state.drain):
        state.phase = "idle"
        state.current = None
        return
    task, step = current.task, next_step(current)
    current.key = undo_key(key_of(task.task, step)) if current.undoing else key_of(task.task, step)
    state.open[task.task] = current
    state.phase = "intending"
    body = {"task": structs.astuple(task), "step": step, "key": current.key}
    state.awaiting[record(state, "INTENT", body, now_ns)] = ("intent", current.key)


def ask(state: Agent, now_ns: int) -> None:
    """J2, J3: the sidecar performs the step, or says why not."""
    current = state.current
    if current is None or not current.key:
        return
    cls = EffectClass.UNDO if current.undoing else EffectClass.NEW if current.done == 0 else EffectClass.INFLIGHT
    state.phase = "asking"
    send(state, state.sidecar, EffectRequest(current.task.task, next_step(current), current.key, cls, current.task.sink))


def on_effect_result(state: Agent, message: EffectResult, now_ns: int) -> None:
    """What became of the step: done, in doubt, or refused, which only a stop makes final."""
    current = state.current
    if current is None or current.key != message.key or state.phase != "asking":
        return
    if message.status == "APPLIED":
        note_result(state, current, message.result, now_ns)
    elif message.status == "IN_DOUBT":
        doubt(state, current, now_ns)
    elif not state.stopping:
        state.effects.append(SetTimer("retry", now_ns + RETRY_NS))
    elif current.done == 0:
        roll_back(state, current, now_ns)
    else:
        state.drain = False  # the gate is shut: what is begun stays begun, and is told so
        state.phase = "idle"
        state.current = None


def note_result(state: Agent, current: OpenTask, result: str, now_ns: int) -> None:
    """J4, and with the last step J5."""
    record(state, "RESULT", {"task": current.task.task, "step": next_step(current), "key": current.key, "result": result}, now_ns)
    current.done += -1 if current.undoing else 1
    current.key = ""
    if current.done == (0 if current.undoing else current.task.steps):
        end(state, current, now_ns)
    else:
        state.phase = "idle"


def end(state: Agent, current: OpenTask, now_ns: int) -> None:
    """J5: all steps have results, or all that had one are undone."""
    state.phase = "finishing"
    kind = "COMPENSATED" if current.undoing else "DONE"
    state.awaiting[record(state, kind, {"task": current.task.task}, now_ns)] = (kind, current.task.task)


def finish(state: Agent, task: str, outcome: str, now_ns: int) -> None:
    """J6: the end is durable; upstream may know."""
    state.open.pop(task, None)
    state.ended[task] = outcome
    state.current = None
    state.phase = "idle"
    state.since_checkpoint += 1
    state.effects.append(AcknowledgeTask(task, 0, outcome))
    if state.since_checkpoint >= CHECKPOINT_EVERY and not state.stopping:
        write_checkpoint(state, now_ns)


def roll_back(state: Agent, current: OpenTask, now_ns: int) -> None:
    """Nothing of the task took place, for certain: it ends here, and upstream may give it to somebody else."""
    state.phase = "finishing"
    current.key = ""
    state.awaiting[record(state, "ROLLED_BACK", {"task": current.task.task}, now_ns)] = ("ROLLED_BACK", current.task.task)


def doubt(state: Agent, current: OpenTask, now_ns: int) -> None:
    """Put down that nobody can say, once; and ask again later, for as long as it takes: it is never guessed."""
    if not current.in_doubt:
        record(state, "IN_DOUBT", {"task": current.task.task, "key": current.key}, now_ns)
    current.in_doubt = True
    state.current = None
    state.phase = "idle"
    if not state.doubt_timer_set:
        state.doubt_timer_set = True
        state.effects.append(SetTimer("doubt", now_ns + state.doubt_wait_ns))


def ask_about_doubts(state: Agent) -> None:
    """The next tries come later, unless one has found something out."""
    state.doubt_timer_set = False
    state.doubt_wait_ns = min(2 * state.doubt_wait_ns, DOUBT_RETRY_MAX_NS)
    doubtful = (task for task, begun in state.open.items() if begun.in_doubt and begun.key)
    state.unresolved += sorted(task for task in doubtful if task not in state.unresolved)


# -- recovery ------------------------------------------------------------------------------------------------------------------------------


def resolve_next(state: Agent, now_ns: int) -> None:
    """The sidecar fenced this start's sinks before it spawned us, so what is absent now stays absent (D9)."""
    task = state.unresolved[0]
    current = state.open.get(task)
    if current is None or not current.key:
        state.unresolved.pop(0)
        state.phase = "idle"
        go_on(state, now_ns)
        return
    state.phase = "resolving"
    send(state, state.sidecar, ResolveRequest(current.key, current.task.sink))


def on_resolve_result(state: Agent, message: ResolveResult, now_ns: int) -> None:
    """An intent of an earlier start took place, did not, or nobody can say."""
    if state.phase != "resolving" or not state.unresolved:
        return
    current = state.open[state.unresolved[0]]
    if current.key != message.key:
        return
    state.unresolved.pop(0)
    state.phase = "idle"
    state.current = current
    if message.status != "IN_DOUBT":
        state.doubt_wait_ns = RETRY_NS
    if message.status == "APPLIED":
        current.in_doubt = False
        note_result(state, current, message.result, now_ns)
    elif message.status == "IN_DOUBT":
        doubt(state, current, now_ns)
    elif current.done == 0 and not current.undoing:
        current.in_doubt = False
        roll_back(state, current, now_ns)
    else:
        record(state, "ABSENT", {"task": current.task.task, "key": current.key}, now_ns)
        current.in_doubt = False
        current.key = ""  # the step did not take place: it is done again, under this start's token
        state.current = None


# -- stopping ------------------------------------------------------------------------------------------------------------------------------


def on_stop(state: Agent, message: StopRequest, now_ns: int) -> None:
    """Finish what is begun if that is still allowed; else put down what is not known, and leave."""
    state.drain = message.drain and (state.drain or not state.stopping)
    state.compensate = message.compensate
    state.stopping = True
    begins = state.current is None or state.current.done == 0
    if state.phase == "thinking" and (begins or not state.drain or (state.current is not None and is_to_be_undone(state, state.current))):
        state.phase, state.current = "idle", None
    if state.phase == "resolving" and not state.drain:
        state.phase = "idle"
    if state.phase == "asking" and state.current is not None and not state.drain:
        doubt(state, state.current, now_ns)
    elif state.phase == "asking":
        ask(state, now_ns)  # it may have been denied and be waiting for the gate: ask again, now that waiting is over


def begin_leaving(state: Agent, now_ns: int) -> None:
    state.leaving = True
    write_checkpoint(state, now_ns)


def leave(state: Agent, event: Input, now_ns: int) -> None:
    """Only the final checkpoint matters now: durable, recorded, told, and out."""
    if isinstance(event, CheckpointDurable):
        on_checkpoint_durable(state, event, now_ns)
    elif isinstance(event, Durable):
        on_durable(state, event, now_ns)
    awaits_checkpoint = state.checkpointing or any(kind == "checkpoint" for kind, _ in state.awaiting.values())
    if isinstance(event, DiskFailed) or not awaits_checkpoint:
        depart(state, 1 if isinstance(event, DiskFailed) else 0)


def depart(state: Agent, code: int) -> None:
    """Say what is left open, and be gone; nothing waits for a disk that has failed."""
    if not state.left:
        state.leaving = state.left = True
        send(state, state.sidecar, StopAck(state.generation, tuple(sorted(state.open))))
        state.effects.append(Exit(code, 0))


# -- checkpoints -------------------------------------------------------------------------------------------------------------------------


def write_checkpoint(state: Agent, now_ns: int) -> None:
    if state.checkpointing:
        return
    state.checkpointing = True
    state.since_checkpoint = 0
    generation = checkpoints.next_generation(state.generation, state.whole_slot)
    body = checkpoints.seal(Checkpoint(generation, state.chain.seq, state.ended, state.open))
    state.effects.append(WriteCheckpoint(generation, body))


def on_checkpoint_durable(state: Agent, event: CheckpointDurable, now_ns: int) -> None:
    state.checkpointing = False
    state.generation = max(state.generation, event.generation)
    state.whole_slot = event.generation % 2
    state.awaiting[record(state, "CKPT", {"generation": event.generation}, now_ns)] = ("checkpoint", str(event.generation))


# -- inputs --------------------------------------------------------------------------------------------------------------------------------


def on_submit(state: Agent, event: Submit, now_ns: int) -> None:
    """Upstream hands over a task, perhaps not for the first time."""
    task = event.task
    outcome = state.ended.get(task.task)
    if outcome is not None:
        state.effects.append(AcknowledgeTask(task.task, 0, outcome))
        return
    known = task.task in state.open or any(queued.task == task.task for queued in state.queue)
    under_way = state.current is not None and state.current.task.task == task.task
    if not known and not under_way and not state.stopping and len(state.queue) < QUEUE_MAX:
        state.queue.append(task)


def on_durable(state: Agent, event: Durable, now_ns: int) -> None:
    state.chain.made_durable(event.lsn)
    for lsn in [lsn for lsn in state.awaiting if lsn <= event.lsn]:
        kind, subject = state.awaiting.pop(lsn)
        if kind == "intent" and state.phase == "intending" and not state.leaving:
            ask(state, now_ns)
        elif kind in ENDS:
            finish(state, subject, ENDS[kind], now_ns)


def on_receive(state: Agent, event: Receive, now_ns: int) -> None:
    message = event.message
    if event.sender != state.sidecar:
        return
    if isinstance(message, EffectResult):
        on_effect_result(state, message, now_ns)
    elif isinstance(message, ResolveResult):
        on_resolve_result(state, message, now_ns)
    elif isinstance(message, StopRequest):
        on_stop(state, message, now_ns)
    elif isinstance(message, GateNotice) and message.gate is not Gate.CLOSED and state.phase == "asking":
        ask(state, now_ns)


def on_timer(state: Agent, event: Timer, now_ns: int) -> None:
    if event.name == "think" and state.phase == "thinking":
        intend(state, now_ns)
    elif event.name == "retry" and state.phase == "asking":
        ask(state, now_ns)
    elif event.name == "doubt":
        ask_about_doubts(state)


def on_disk_failed(state: Agent, event: DiskFailed, now_ns: int) -> None:
    """Nothing more can be promised, so nothing more is begun."""
    state.disk_failed = True


def on_boot(state: Agent, event: Boot, now_ns: int) -> None:
    """Newest intact checkpoint, then the journal from its lsn; what it leaves open is asked about before any work."""
    recovery = boot.recover(state, event)
    journal = len(recovery.records)
    checkpoint = checkpoints.choose(event.checkpoints, journal)
    if checkpoint is not None:
        state.ended, state.open, state.generation = checkpoint.ended, checkpoint.open, checkpoint.generation
        state.whole_slot = checkpoint.generation % 2
    recovered = state.generation
    lsn = 0 if checkpoint is None else checkpoint.lsn
    foreign = boot.fold_all(state, recovery.records[lsn:], fold, now_ns)
    state.effects.append(Observe("checkpoint-recovered", {"agent": state.config.agent, "generation": recovered, "lsn": lsn, "journal": journal}))
    state.unresolved = sorted(task for task, begun in state.open.items() if begun.key)
    boot.note(state, event, recovery, now_ns, foreign, generation=state.generation)


_HANDLERS: dict[type, Callable[[Agent, Any, int], None]] = {
    Boot: on_boot,
    Receive: on_receive,
    Timer: on_timer,
    Durable: on_durable,
    DiskFailed: on_disk_failed,
    Submit: on_submit,
    CheckpointDurable: on_checkpoint_durable,
}
