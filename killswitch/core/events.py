"""What goes into a state machine and what comes out: the whole contract between the core and whoever drives it.

Owns the inputs and effects of ``step(state, input, now_ns) -> effects`` (protocol 3.10). Knows messages; knows no driver.

``step`` updates ``state`` in place and returns its effects in the order in which they must be carried out. It is total and
deterministic, and never raises. ``now_ns`` is the node's own monotonic clock; wall time is not a parameter anywhere.

A driver owes the core:

1. records are appended in order, and ``Durable(lsn)`` is given only after a sync that covers ``lsn`` returned;
2. a ``Send`` or ``AcknowledgeTask`` or ``Exit`` with ``after_lsn`` waits for ``Durable`` of that lsn; it is dropped if the process dies first;
3. a timer may be late, never early; setting a name again replaces it, ``at_ns=None`` cancels it;
4. ``Boot`` is the first input, with exactly the records that survived, truncated to the last valid one;
5. a failed sync is final: ``DiskFailed``, and no later ``Durable`` for that lsn or any after it (fsync cannot be tried again);
6. effects of one step are carried out before the next input of that node;
7. ``DiskFull`` when a record first finds no room but the reserve, ``DiskFreed`` when there is room again. Records wait meanwhile, in their
   order; one of `audit.RESERVED` is written to the reserve at once, with those that wait before it, for a log has no gaps;
8. ``ProcessExited`` comes after every message that the process still sent, and answers every ``REAP_ORPHANS``, whether or not there were any.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from killswitch.core.messages import Message, Task, Token


class Record(Struct, frozen=True, array_like=True):
    """One entry of a writer's log, which is both write-ahead journal and audit trail (D8). ``seq`` is its lsn, from 1.

    ``hash`` = SHA-256 over ``previous`` and the canonical encoding of the rest (`audit.seal`).
    """

    seq: int
    previous: bytes
    kind: str
    clock_ns: int
    boot: str
    body: bytes
    hash: bytes


# -- Inputs --------------------------------------------------------------------------------------------------------------------------


class Boot(Struct, frozen=True, tag=True):
    """The process starts. ``boot`` names the host's boot (its clock runs on within one); ``instance`` is fresh for each start.

    ``truncated`` counts bytes of an unreadable tail that the driver cut off. ``checkpoints``: surviving slots (agents only).
    """

    records: tuple[Record, ...]
    boot: str
    instance: str
    truncated: int = 0
    checkpoints: tuple[bytes, ...] = ()
    token: Token | None = None


class Receive(Struct, frozen=True, tag=True):
    """A message from an authenticated peer, by its node id."""

    sender: str
    message: Message


class Timer(Struct, frozen=True, tag=True):
    """The clock has reached what `SetTimer` asked for under ``name``."""

    name: str


class Durable(Struct, frozen=True, tag=True):
    """Everything up to and including ``lsn`` survives a power loss from now on."""

    lsn: int


class DiskFailed(Struct, frozen=True, tag=True):
    """The sync that was to cover ``lsn`` failed, for good."""

    lsn: int


class DiskFull(Struct, frozen=True, tag=True):
    """There was no room for the record ``lsn``, or none but the reserve. Nothing is lost, and nothing is half written: it waits."""

    lsn: int


class DiskFreed(Struct, frozen=True, tag=True):
    """There is room again; ``Durable`` follows for what had waited."""


class ProcessExited(Struct, frozen=True, tag=True):
    """The agent's whole process tree is gone. ``code`` 0 is an exit by itself; ``signalled`` that it was killed.

    ``checkpoints``: the slots as they were found when it was, and made durable.
    """

    code: int
    signalled: bool
    checkpoints: tuple[bytes, ...] = ()


class CheckpointDurable(Struct, frozen=True, tag=True):
    """The checkpoint of ``generation`` has been written, synced, renamed and its directory synced (CK1-CK4)."""

    generation: int


class Submit(Struct, frozen=True, tag=True):
    """Upstream hands the agent a task."""

    task: Task


class Command(Struct, frozen=True, tag=True):
    """A person asks the operator's client to do something: ``verb`` is order, resume or policy, ``request`` its idempotency key.

    ``gate``, ``life``, ``grace_ns``, ``cleanup`` serve orders; ``approvers`` (names of keys at hand, and their time) resumes, and stops that take
    more keys than one; a policy has a ``stage`` to go to, and where that tries one its Cedar ``text``, the hash of its ``tests``, and a canary's
    ``percent`` and ``guard``. ``replica``: which to ask first.
    """

    verb: str
    request: str
    principal: str
    tenant: str
    scope_kind: str
    scope_value: str
    gate: int = 0
    life: int = 0
    grace_ns: int = 0
    reason: str = ""
    approvers: tuple[str, ...] = ()
    replica: str = ""
    stage: str = ""
    text: str = ""
    tests: str = ""
    percent: int = 0
    guard: int = 0
    cleanup: str = "none"
    approve_after_ns: int = 0


Input = Boot | Receive | Timer | Durable | DiskFailed | DiskFull | DiskFreed | ProcessExited | CheckpointDurable | Submit | Command


# -- Effects -------------------------------------------------------------------------------------------------------------------------


class Send(Struct, frozen=True, tag=True):
    """Send ``message`` to the node ``to``, not before ``after_lsn`` is durable (0: at once)."""

    to: str
    message: Message
    after_lsn: int = 0


class Append(Struct, frozen=True, tag=True):
    """Append ``record`` to the log and sync; ``Durable(record.seq)`` or ``DiskFailed`` follows."""

    record: Record


class SetTimer(Struct, frozen=True, tag=True):
    """Give ``Timer(name)`` when the node's clock reads ``at_ns``; ``None`` cancels."""

    name: str
    at_ns: int | None


class SignalKind(StrEnum):
    """What can be done to a process tree."""

    CONT = "CONT"
    TERM = "TERM"
    KILL = "KILL"
    REAP_ORPHANS = "REAP_ORPHANS"


class Spawn(Struct, frozen=True, tag=True):
    """Start the agent's process under ``token``."""

    token: Token


class Signal(Struct, frozen=True, tag=True):
    """CONT lets a process go on that something stopped; TERM asks; KILL ends the whole tree; REAP_ORPHANS ends what an earlier sidecar left."""

    kind: SignalKind


class WriteCheckpoint(Struct, frozen=True, tag=True):
    """Write ``body`` to slot ``generation % 2`` by CK1-CK4, then give `CheckpointDurable`."""

    generation: int
    body: bytes


class AcknowledgeTask(Struct, frozen=True, tag=True):
    """Tell upstream how the task ended (COMPLETED, ROLLED_BACK or COMPENSATED), not before ``after_lsn`` is durable."""

    task: str
    after_lsn: int
    outcome: str = "COMPLETED"


class Exit(Struct, frozen=True, tag=True):
    """The process ends itself, not before ``after_lsn`` is durable."""

    code: int
    after_lsn: int


class Observe(Struct, frozen=True, tag=True):
    """A fact about the node's own state that no other effect shows. ``kind`` and the keys of ``fields`` are of the history's vocabulary."""

    kind: str
    fields: dict[str, object]


Effect = Send | Append | SetTimer | Spawn | Signal | WriteCheckpoint | AcknowledgeTask | Exit | Observe
