"""An agent's journal: what its records mean, and how they fold to what it knows (protocol 4).

Owns the fold, and what of an agent's state it has to give back. Must not know when a record is written or what waits for it (``agent``).

    INTENT       a step is about to be asked for       RESULT   it took place     ABSENT   it did not, and will not     IN_DOUBT   nobody can say
    UNDO         from here on the task's steps are undone, the last first: each an INTENT and a RESULT under a key of its own
    DONE, ROLLED_BACK, COMPENSATED   how the task ended
"""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

from killswitch.core import audit
from killswitch.core.checkpoints import OpenTask
from killswitch.core.events import Record
from killswitch.core.messages import Task

ENDS = {"DONE": "COMPLETED", "ROLLED_BACK": "ROLLED_BACK", "COMPENSATED": "COMPENSATED"}


class Journaled(Protocol):
    """The part of an agent's state that its journal tells. ``awaiting``: {lsn: (kind of record, task)} that is not durable yet."""

    ended: dict[str, str]
    open: dict[str, OpenTask]
    generation: int
    awaiting: dict[int, tuple[str, str]]


def key_of(task: str, step: int) -> str:
    """The idempotency key of a step: H(task, step)."""
    return hashlib.sha256(f"{task}/{step}".encode()).hexdigest()[:32]


def undo_key(key: str) -> str:
    """The key under which the step of ``key`` is undone: its own, or the sink would take the undoing for a retry of the doing."""
    return f"undo/{key}"


def next_step(current: OpenTask) -> int:
    """The step that comes next: forwards the first without a result, backwards the last with one."""
    return current.done - 1 if current.undoing else current.done


def fold(state: Journaled, entry: Record, body: dict[str, Any], now_ns: int) -> None:
    """Take one record of an earlier life into account."""
    kind = entry.kind
    if kind == "INTENT":
        task = Task(*body["task"])
        begun = state.open.setdefault(task.task, OpenTask(task))
        begun.key = body["key"]
    elif kind in ENDS:
        state.open.pop(body["task"], None)
        state.ended[body["task"]] = ENDS[kind]
    elif kind == "CKPT":
        state.generation = max(state.generation, body["generation"])
    elif kind in ("RESULT", "ABSENT", "IN_DOUBT", "UNDO") and body["task"] in state.open:
        _fold_step(state.open[body["task"]], kind, body)


def _fold_step(begun: OpenTask, kind: str, body: dict[str, Any]) -> None:
    if kind == "UNDO":
        begun.undoing = True
    elif kind == "IN_DOUBT":
        begun.in_doubt = True
    else:
        begun.key, begun.in_doubt = "", False
        if kind == "RESULT":
            begun.done = body["step"] + (not begun.undoing)


def digest(state: Journaled) -> str:
    """What of the state a fold of journal and checkpoint must give back (S12, S15): ends, and how far each open task is.

    An end that is on record and not durable yet is one in the log already; in the agent it becomes one when it is.
    """
    ending = {subject: ENDS[kind] for kind, subject in state.awaiting.values() if kind in ENDS}
    ended = [f"{task}={outcome}" for task, outcome in sorted({**state.ended, **ending}.items())]
    begun = [
        f"{task}:{each.done}:{each.key}:{each.in_doubt}:{each.undoing}" for task, each in sorted(state.open.items()) if task not in ending
    ]  # fmt: skip
    return audit.digest_of([*ended, "/", *begun])
