"""The history: the one vocabulary of observable facts that both drivers record and every checker reads.

Owns the kinds of fact, their fields, and how a history is written to disk. Imports nothing of the project, so that drivers may
import it without knowing a checker, and checkers without knowing a driver.

A fact has real time (`at_ns`: the world's clock in simulation, the host's unskewed monotonic clock live, both from 0 at the start
of the run), the node it happened at, and that node's own clock. Ids: order and certificate ids are 64 hex digits, agents are
``tenant/name``, nodes are ``replica/1``, ``sidecar/acme/1``, ``agent/acme/1``, ``sink/acme/ledger``, ``operator`` and ``world``.
A token is the list ``[epoch, counter, instance]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct


class Fact(Struct, frozen=True, array_like=True, gc=False):
    """One thing that happened. ``clock_ns`` is the node's own reading (equal to ``at_ns`` for the world).

    A struct because a run makes thousands and reads each a dozen times: a named tuple takes three times as long to make. No fact is part of a
    cycle, so the collector need not look at any.
    """

    at_ns: int
    kind: str
    node: str
    clock_ns: int
    body: Mapping[str, Any]


# kind -> (fields, when it is recorded). A test holds every recorded fact against this table.
VOCABULARY: dict[str, tuple[tuple[str, ...], str]] = {
    # -- the run
    "run-started": (("scenario", "seed", "driver"), "first fact of every history"),
    "topology": (("replicas", "quorum", "kill_quorum", "core", "cells", "agents", "sinks", "parameters"),
                 "second fact. core: who is healed first, if not all at once; cells: [{replicas, quorum, kill_quorum, agents}] if there are several; "
                 "agents: {agent: {tenant, labels, sinks}}; sinks: {sink node: class}; parameters: {lease_ns, renew_ns, "
                 "grace_ns, grace_max_ns, challenge_ns, drift_ppm, slack_ns, kill_retry_ns, gossip_ns, stop_timeout_ns, standby_max_ns, "
                 "approval_ns, longest_step_ns, loss_ppm, latency_ns}, the last three of the work and, at most, of every link"),
    "run-ended": (("reason",), "last fact: 'complete', or the stop condition that ended it"),
    "healed": ((), "all faults are off from here on; liveness is due within its bounds after this"),
    "core-healed": (("members",), "these nodes, and the links among them, are free of faults from here on, and everybody else is cut off, down or "
                                  "stopped until all is healed; liveness is due among them. Simulation only"),
    "stop-condition": (("condition",), "a stop condition of the scenario held"),
    # -- nodes
    "node-started": (("boot", "instance", "records"), "a process booted, with so many surviving log records"),
    "node-crashed": (("lost_records", "power"), "a process died; power: the host lost power, so what was not synced is gone"),
    "node-paused": ((), "stopped by SIGSTOP or its like"),
    "node-resumed": ((), ""),
    "node-cloned": (("copy", "records"), "a copy of a sidecar's host, with its agent, begins to boot beside it, from a disk with so many records. "
                                         "copy: what the history calls the sidecar there; others know it by the name of the original"),
    "clone-ended": (("survivor",), "one of the two hosts is gone for good, and the other has the name to itself"),
    "step-raised": (("error",), "a state machine raised: always a violation"),
    "disk-failed": (("lsn",), "a sync failed"),
    "disk-full": (("lsn",), "there was no room for a record, or none but the reserve"),
    "disk-freed": ((), "there is room again"),
    "recorded-without-room": (("lsn", "what", "own"), "a node that had been told that its disk is full appended a record of that kind. own: of what "
                                                      "it signed itself"),
    "reserve-used": (("lsn", "what"), "such a record became durable, with all before it, while the disk was full"),
    "over-share": (("sender", "dropped"),
                   "a replica dropped the so-many-th request for permission of a sender that was over its share: the 1st, 10th, 100th, ..."),
    "log-cut": (("records", "why"), "a process started on a log that ended in something unbelievable: so many records are left, and it says so"),
    "log-truncated": (("bytes",), "a process started on a log from the end of which its driver had cut so many bytes, which could not be read"),
    "replica-joined": (("teachers",), "a replica that may have forgotten something has heard from enough peers, and vouches again"),
    # -- intent: orders
    "order-requested": (("request", "principal", "tenant", "scope", "gate", "life", "grace_ns", "reason", "cleanup"),
                        "the operator's client sent it"),
    "command-refused": (("request", "principal", "verb", "why"),
                        "the operator's client sent nothing, for it has too many commands under way; why says what to do"),
    "order-learned": (("order", "tenant", "scope", "gate", "life", "grace_ns", "reason", "cleanup", "issuer", "signer", "parent",
                       "authentic", "decided"),
                      "a replica or sidecar took the order into its intent. scope: [kind, value]. authentic: the signature verifies and "
                      "the signer may give orders for that scope, by the world's own keyring. decided: [seq, policy, input] of the ruling that it "
                      "rests on"),
    "order-durable": (("order",), "the record of the order became durable at this node. The k-th replica's is t0 (EFFECTIVE)"),
    "order-status": (("request", "order", "stage", "copies", "keys"),
                     "what the operator's client was told about an order. keys: how many more it takes for what was asked; the order isolates"),
    "cell-status": (("request", "order", "cell", "stage", "copies"),
                    "the same, of one of several cells by its number; order-status is then of all that the order concerns"),
    "agent-status": (("order", "agent", "token", "stage"), "what the operator's client was told about an agent"),
    "order-rejected": (("why", "sender"), "a node refused an order"),
    "foreign-news": (("what", "id", "tenant", "sender"),
                     "a sidecar was handed an order, or a certificate, that is another tenant's and not for everybody: read off what arrives"),
    "escalated": (("parent", "child", "agent"), "a replica issued the child order of a soft stop that did not complete"),
    "declared": (("order", "agent", "token"), "a replica declared PRESUMED_STOPPED (T4)"),
    # -- intent: certificates
    "resume-requested": (("request", "principal", "tenant", "scope"), ""),
    "certificate-learned": (("certificate", "covers", "approvers", "authentic", "tenant", "scope", "policy_seq"),
                            "taken in, not yet in force. authentic: M distinct authorised approvers, none revoked at this node, signed exactly "
                            "this; it speaks for tenant and scope, and for no order beyond. policy_seq: the rollout that its draft "
                            "was ruled on under"),
    "certificate-durable": (("certificate", "covers"), "durable at this node: from now on it covers its orders here"),
    "resume-status": (("request", "certificate", "stage"), "what the operator's client was told. certificate: none, if there is no draft"),
    "draft-asked": (("request", "replica"), "the operator's client asked a replica for a draft of a resume: read off the wire"),
    "resume-handed-in": (("request", "certificate", "tenant", "scope", "covers", "approvers", "authentic", "policy_seq", "ends"),
                         "a replica was handed a draft with its approvals: read off what arrives. authentic, policy_seq: as above. ends: [replica, "
                         "boot, its own clock], until when it can be handed in there; none, as earlier versions drafted, if that is over"),
    "resume-told": (("request", "certificate", "stage"), "a replica told whoever handed a resume in what becomes of it: read off the wire"),
    "certificate-rejected": (("why", "sender"), ""),
    "draft-sent": (("request", "covers", "certificate", "heard"),
                   "a replica showed what a resume would have to lift, for approvers to sign; covers: nothing, if it says that there is nothing to "
                   "lift. certificate: the id that it will have. heard: [replica, boot, its own clock] of each other replica whose answer it rests "
                   "on, as that one gave it"),
    "draft-shown": (("request", "certificate"), "the operator's client was shown a draft, for approvers to sign"),
    "resume-submitted": (("request", "certificate"), "the operator's client sent a replica what approvers signed: read off the wire, each time"),
    "keyset-installed": (("version", "authentic", "revoked", "rotated"),
                         "a replica or sidecar took in a change of the keyset: keys that it revokes, whose order keys it replaces. authentic: "
                         "enough distinct root keys signed exactly this"),
    # -- policies
    "rollout-requested": (("request", "principal", "stage"), "the operator's client sent it"),
    "rollout-status": (("request", "stage", "seq"), "what the operator's client was told of rollout seq; REFUSED: there is none"),
    "rollout-told": (("request", "stage", "seq"), "a replica told somebody what has become of the rollout that he asked it for: read off the wire"),
    "rollout-asked-after": (("request", "replica", "accepted"),
                            "the operator's client asked a replica about a rollout for the first time since another one, or the same, told it that "
                            "it has accepted that: read off the wire"),
    "policy-installed": (("policy", "parent", "tests", "author", "authentic"),
                         "a replica took a policy in. policy: SHA-256 of its text; parent: what was stable then; authentic: a replica signed exactly "
                         "this, by a key that the node's keyset had not revoked"),
    "rollout-durable": (("record", "seq", "parent", "stage", "stable", "canary", "former", "percent", "guard", "request", "authentic"),
                        "the record of a rollout became durable at a replica. former: stable before the last promotion; request: who asked, or "
                        "'guard'; authentic: as above, when it was taken in. The k-th replica's commits it"),
    "rollout-changed": (("record", "seq", "stage", "stable", "canary"),
                        "a replica's own view: what is in force there; also after Boot, if not what was deployed"),
    "decision": (("request", "action", "tenant", "order", "seq", "policy", "canary", "input", "requested", "stable", "ruling", "raised", "differs",
                  "replayed", "why", "asking", "askers", "may"),
                 "a replica put a decision on record. order: what it let in, a kill order or the certificate of a resume; requested: [gate, life, "
                 "grace_ns]; stable, ruling: [allowed, gate, life, grace_ns, approvals], of the stable policy and in effect. raised: a canary "
                 "alone made the stop more severe; differs: the one on trial, canary or shadow, would "
                 "have ruled otherwise. replayed: an independent replay of the same policies and input agrees, else why not. asking: how many keys "
                 "counted; askers: where they were several, the people who may and did sign exactly this, by the world's own keyring; "
                 "may: whether it is for the person named to ask for"),
    # -- hostile input
    "hostile-input": (("sender", "what", "read"), "a node was handed a signal that somebody made up; read: the codec made a message of it"),
    "input-poisoned": (("order",), "reading the order killed the node's process"),
    "order-deferred": (("agent", "order"), "after a restart: a mark of the order goes to the disk first, and it is read once that is durable"),
    "attempt-over": (("agent", "order"), "a record of its own says that the node outlived reading an order that was marked, and did not take it in"),
    "order-quarantined": (("order",),
                          "at Boot: nobody outlived reading the order, so it is not read again; the agent stands by until a certificate lists it"),
    "prohibition-arrived": (("order", "sender", "how"),
                            "a replica's word of an order reached a sidecar in a version, or under a key, that it may not know"),
    "order-handed-on": (("order", "sender", "how"), "a replica's word of an order reached another under a key that this may not know"),
    "floor-held": (("agent", "reason", "gate", "life", "all"),
                   "the sidecar's own view: for this reason it enforces so much beside the orders that it has read. all: [gate, life] of all "
                   "reasons together"),
    "floor-dropped": (("agent", "reason"), "that reason is over"),
    # -- intent as a whole
    "intent": (("digest", "orders", "certificates", "gate", "life"),
               "after each change of a node's intent: digest of its set, sorted ids of orders and certificates in force, and for a sidecar "
               "the severity in force for its agent (for a replica that for the global scope)"),
    "intent-recovered": (("orders", "certificates"), "what a node holds after Boot, before anything else: sorted ids"),
    "log-unread": (("records",), "at a start: so many orders on a node's own log are in a form that it does not know. Simulation only"),
    "log-folded": (("records", "live", "folded", "chain_ok"),
                   "at a crash and at the end: digest of the live durable state and of the state that a fresh node folds from the same durable "
                   "records; chain_ok: the hash chain verifies"),
    # -- the audit trail
    "log-grown": (("size",), "a replica's or sidecar's record of that lsn became durable, the first since its last head that calls for a new one"),
    "sth-signed": (("origin", "size", "root", "previous"), "a writer showed a new signed head of its log; root in hex"),
    "sth-cosigned": (("origin", "size", "root", "witness"), "the record of a cosignature became durable at the witness"),
    "cosignature-sent": (("origin", "size", "root", "witness"), "a witness handed it out, once for each start of the witness, "
                         "and again if it leaves sooner: read off the wire"),
    "fork-shown": (("origin", "size", "roots"),
                   "one start of a replica has been told by its peers of, or has cosigned, two roots for one size of a writer's log, both signed by "
                   "the writer: read off the wire"),
    "fork-proven": (("origin", "first", "second"), "a node put on record that a writer keeps two logs, with the sizes of the two heads"),
    "fork-durable": (("origin",), "that record became durable"),
    "log-verified": (("writer", "records", "cosigned", "sound", "why", "returned"),
                     "at the end: whether the log that a writer left is the one that was cosigned; if not, why. cosigned: size of the longest head; "
                     "returned: the witnesses that cosigned a head of another log of the writer's, and one of this log after that"),
    "log-stamped": (("writer", "stamps", "clocks", "boots", "references"),
                    "at the end: the hybrid stamp and own clock of each record, the lsns at which a boot began, and [lsn, origin, size] for each "
                    "cosigned head"),
    # -- leases
    "lease-requested": (("agent", "nonce", "token", "instance"), "a sidecar sent the first request of a round; clock_ns is s_r"),
    "lease-granted": (("agent", "nonce", "replica", "token", "len_ns"), "a replica sent a grant with len_ns > 0"),
    "lease-denied": (("agent", "nonce", "replica", "token", "why"), ""),
    "lease-opened": (("agent", "nonce", "token", "until_ns"), "the sidecar's own view: its lease now runs to until_ns on its clock"),
    "lease-lost": (("agent", "token"), "the sidecar noticed that its lease is out"),
    "lease-recorded": (("agent", "token", "what"), "a sidecar's record was appended that a lease OPENED where it held none, or was LOST"),
    # -- clocks
    "clock-suspected": (("peers",), "a sidecar's or replica's clock ran in a way that those of so many peers contradict that it trusts it no more"),
    "clock-trusted": ((), "for a lease length nothing contradicted it any more"),
    # -- enforcement
    "gate-changed": (("agent", "token", "gate", "mode"), "modes: BOOT, STANDBY, RUNNING, DRAINING, QUIESCING, KILLING, STOPPED"),
    "gate-recorded": (("agent", "gate", "mode"), "the record of a gate change was appended"),
    "evidence-recorded": (("agent", "token", "order", "stage"), "a sidecar appended the record of a proof"),
    "evidence-durable": (("agent", "token", "order", "stage"), "that record became durable"),
    "evidence-taken": (("agent", "token", "order", "stage"), "a replica took a proof in, in the place of what it had of that order and agent"),
    "process-recorded": (("agent", "token", "what"), "a sidecar's record of START became durable, or that of TERM, KILL or REAPED was appended"),
    "permits-recorded": (("agent", "token", "count", "root"), "a sidecar appended one record for so many admissions. root, in hex: from 32 zero "
                         "bytes on, SHA-256 over the root before and the key, for each in order"),
    "drain-deadline": (("agent", "order", "deadline_ns", "boot"), "the sidecar's deadline for a soft order, on its clock; also after each Boot"),
    "token-promised": (("agent", "token"), "a replica durably promised it"),
    "promise-sent": (("agent", "token"),
                     "a replica's promise left it, once for each start of the replica, and again if it leaves sooner: read off the wire"),
    "start-readied": (("agent", "token"),
                      "a replica said that nothing of an earlier start can act any more, once for each start of the replica, and again if it "
                      "leaves sooner: read off the wire"),
    "vouched": (("what", "about"),
                "a node's word left it that rests on a record of its own, once for each of its starts: read off the wire. what, and about what: a "
                "replica's copy, or wait (that it has outwaited all leases), of an order; accepted: an order, to who asked for it; rollout, "
                "by its record; request: its seq/the request for it; certificate, to who handed it in or whom it is handed on to; promise, to a "
                "peer that learns: agent token. A sidecar's proof: order stage number of the start; its own order. A sink's effect, by its key; "
                "refusal of one that is fenced out, likewise; fence: agent token. A token is written epoch.number.instance"),
    "question-asked": (("agent", "sink", "key", "nonce"),
                       "a sidecar asked a sink what became of an effect: read off the wire, once for each time that its agent asks, however often "
                       "the sink is asked"),
    "question-answered": (("agent", "key", "status"),
                          "a sidecar told its agent what a sink says of the effect: APPLIED, ABSENT, or IN_DOUBT, if nobody says: read off the wire"),
    "doubts-named": (("agent", "token", "what", "in_doubt"),
                     "a sidecar put on record which tasks a stop left in doubt. what: REAPED when the process was gone, or the stage of a proof"),
    "promised-away": (("agent", "token", "replica", "promised"),
                      "a replica answered a sidecar that asked for a lease under the token it opened last: it has promised a greater one; or, having "
                      "said so, that it has not. Read off what arrives, once for each change; clock_ns is the sidecar's clock then"),
    "start-proposed": (("agent", "token", "told", "by", "over"),
                       "a sidecar asked for promises of it, for the first time since it started. told, by: the greatest token that this start of the "
                       "sidecar had been told of by then, as promised or fenced, and who told it. over: the latest of its own starts that it says is "
                       "over, or came to nothing: read off the wire"),
    "token-opened": (("agent", "token", "predecessor"), "a sidecar holds q promises and starts under it"),
    "evidence-sent": (("agent", "token", "order", "stage"), "a proof left the sidecar"),
    "permit-aborted": (("agent", "key"), "an admitted effect that had not left was called back"),
    # -- processes
    "process-started": (("agent", "token"), ""),
    "process-continued": (("agent", "token"), "SIGCONT sent"),
    "process-termed": (("agent", "token"), "asked to stop"),
    "process-killed": (("agent", "token"), "SIGKILL sent"),
    "process-reaped": (("agent", "token", "code", "signalled"), "the whole tree is gone"),
    # -- effects
    "effect-admitted": (("agent", "token", "instance", "task", "step", "key", "cls", "sink"),
                        "the sidecar sent an Apply: read off the wire, not off the sidecar's own word; clock_ns is its clock then"),
    "challenge-issued": (("sink", "key", "nonce"), "a class C sink sent a challenge for the key: read off the wire; clock_ns is its clock then"),
    "effect-applied": (("sink", "agent", "token", "key", "cls", "result", "again"), "a sink applied it, or answered again for a known key"),
    "effect-rejected": (("sink", "agent", "token", "key", "why"), ""),
    "fence-sent": (("sink", "agent", "min_token", "order"),
                   "a replica, or a sidecar before a start, told a sink to refuse every token of the agent below, once for each of its own starts, "
                   "and again if it leaves sooner: read off the wire. order: the one that calls for it, or none"),
    "fence-durable": (("sink", "agent", "min_token", "order"), "a class F sink durably holds the fence and acknowledges it"),
    # -- tasks
    "task-submitted": (("agent", "task", "steps", "sink", "undo"), "upstream handed it over. undo: what is done of it can be undone"),
    "task-handed-over-again": (("agent", "task", "sink"),
                               "upstream, which has not heard how it ended, or has forgotten, handed it over once more. Simulation only"),
    "task-expired": (("agent", "task"), "upstream goes on without it: the round that it was for is closed. Simulation only"),
    "task-intent": (("agent", "task", "step", "key"), "intent appended"),
    "task-intent-durable": (("agent", "task", "step", "key"), ""),
    "task-result": (("agent", "task", "step", "key", "status"), ""),
    "task-done": (("agent", "task"), "TASK_DONE appended"),
    "task-done-durable": (("agent", "task"), ""),
    "task-rolled-back": (("agent", "task"), ""),
    "task-undoing": (("agent", "task"), "from here on its steps are undone, the last first"),
    "task-compensated": (("agent", "task"), "COMPENSATED appended: all that took place of it is undone"),
    "task-absent": (("agent", "task", "key"), "found not to have taken place: the step is to be done again"),
    "task-in-doubt": (("agent", "task", "key"), ""),
    "task-acknowledged": (("agent", "task"), "upstream was told that it is done"),
    "task-returned": (("agent", "task"), "upstream was told that nothing of it stands: rolled back, or compensated"),
    # -- checkpoints
    "checkpoint-begun": (("agent", "generation", "lsn"), ""),
    "checkpoint-durable": (("agent", "generation", "lsn"), "CK1-CK4 done, told to the agent"),
    "checkpoint-found": (("agent", "generation"), "the newest whole checkpoint that was found, and made durable, when an agent's tree was gone"),
    "checkpoint-acknowledged": (("agent", "generation"), "the sidecar was told"),
    "checkpoint-recovered": (("agent", "generation", "lsn", "intact", "journal"),
                             "what a starting agent recovered from; generation 0: none. intact: a slot holds, byte for byte, what was "
                             "written as that generation. journal: durable records it found"),
    # -- load
    "messages-heard": (("since_heal",),
                       "at the end: how many messages a node has heard since the heal. Simulation only, where a run has faults of load"),
    # -- faults
    "fault-armed": (("fault", "what"), "the schedule holds it"),
    "fault-on": (("fault", "what", "target"), "it is in force"),
    "fault-fired": (("fault", "what"), "it made a difference: dropped, delayed or duplicated something, killed something, ..."),
    "fault-attested": (("fault", "how", "measured"), "an independent measurement saw it"),
    "fault-unattested": (("fault", "how", "measured"), "the measurement did not see it: the verdict is unknown"),
    "fault-off": (("fault", "what"), ""),
    "fault-idle": (("fault", "what", "measured"),
                   "it is over, and whatever could be measured of it says that it befell nobody: the verdict is unknown. Live only"),
    "operation-played": (("operation", "what"), "an operation of the timeline was carried out"),
}  # fmt: skip


class History:
    """An append-only list of facts, in the order in which they happened."""

    __slots__ = ("facts",)

    def __init__(self, facts: Iterable[Fact] = ()) -> None:
        self.facts: list[Fact] = list(facts)

    def __iter__(self) -> Iterator[Fact]:
        return iter(self.facts)

    def __len__(self) -> int:
        return len(self.facts)

    def of(self, *kinds: str) -> list[Fact]:
        """All facts of the kinds, in order. Raises `KeyError` for a kind that is not in the vocabulary."""
        for kind in kinds:
            VOCABULARY[kind]
        return [fact for fact in self.facts if fact.kind in kinds]

    def save(self, path: Path) -> None:
        """Write JSON Lines: ``[at_ns, kind, node, clock_ns, body]`` a line."""
        encoder = msgspec.json.Encoder(order="deterministic")
        path.write_bytes(encoder.encode_lines(self.facts))

    @classmethod
    def load(cls, path: Path) -> History:
        """Read what `save` wrote. Raises `ValueError` with the place of the first broken line."""
        facts = []
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            try:
                at_ns, kind, node, clock_ns, body = msgspec.json.decode(line)
            except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
                raise ValueError(f"{path}:{number}: fact: not a JSON list of five ({error}); is the file a history.jsonl, and whole?") from error
            facts.append(Fact(at_ns, kind, node, clock_ns, body))
        return cls(facts)


SEVERITIES = {(0, 0): "RUN", (2, 0): "ISOLATE", (1, 1): "SOFT", (2, 1): "QUIESCE", (2, 2): "HARD"}
"""{(gate, life): what people call it}."""


def severity_name(gate: int, life: int) -> str:
    """Of a pair that has no name, the pair."""
    return SEVERITIES.get((gate, life), f"({gate},{life})")
