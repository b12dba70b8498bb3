"""How a report says things: durations, names, severities, and every kind of fact as a sentence.

Owns wording only. Must not know a results directory, nor any output format: what leaves here is plain text, which every renderer
still escapes for its own format. Text that came from outside goes through `plain` first, so that a name cannot hide in a terminal,
reverse a line or break an XML file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.shared.history import SEVERITIES, Fact

_GATES = {0: "OPEN", 1: "DRAIN", 2: "CLOSED"}
_LIVES = {0: "ALIVE", 1: "STOP", 2: "KILL"}

# Controls (but for the line feed), lone surrogates, bidirectional overrides and non-characters: legal in JSON, harmful in a report.
_UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]")
_IDENTIFIER = re.compile(r"[0-9a-f]{24,}\Z")

# kind -> sentence about it. ``{field}`` is a field of the fact, worded; ``{severity}`` joins gate and life.
SENTENCES: dict[str, str] = {
    "run-started": "The run starts: scenario {scenario}, seed {seed}, played by {driver}.",
    "topology": "{replicas} replicas; {kill_quorum} make an order effective, {quorum} grant a lease.",
    "run-ended": "The run ends: {reason}.",
    "healed": "All faults are over; from here on the system has to recover within its bounds.",
    "core-healed": "{members} are healed, and the rest is not yet: among them the system has to recover within its bounds.",
    "stop-condition": "The stop condition {condition} holds.",
    "node-started": "The process starts, with {records} records that survived (instance {instance}).",
    "node-crashed": "The process dies and loses {lost_records} records; host lost power: {power}.",
    "node-paused": "The process is paused.",
    "node-resumed": "The process goes on.",
    "node-cloned": "Its host is copied: {copy} boots beside it, from a disk that holds {records} records.",
    "clone-ended": "Its host is gone for good; {survivor} has the name to itself.",
    "step-raised": "The state machine raised: {error}.",
    "disk-full": "The disk is full: there is no room for record {lsn}, or none but the reserve.",
    "disk-freed": "There is room on the disk again.",
    "disk-failed": "A sync fails; record {lsn} and all after it will never be durable.",
    "messages-heard": "Has heard {since_heal} messages since the heal.",
    "over-share": "Has now dropped {dropped} requests of {sender}, which are over its share.",
    "log-truncated": "Starts on a log from the end of which {bytes} bytes had been cut.",
    "log-cut": "Finds its log broken after {records} records, cuts it there and says so: {why}.",
    "replica-joined": "Has learned from {teachers} what it may have forgotten, and vouches again.",
    "command-refused": "Refuses what {principal} asks for: {why}.",
    "order-requested": "{principal} asks for {severity} on {scope} of {tenant} (grace {grace}).",
    "order-learned": "Learns the order {order}: {severity} on {scope} of {tenant} (grace {grace}).",
    "order-durable": "Holds the order {order} durably.",
    "order-status": "The operator is told: order {order} is {stage}, {copies} durable copies; {keys} more keys are needed.",
    "cell-status": "The operator is told: in cell {cell} order {order} is {stage}, {copies} durable copies there.",
    "agent-status": "The operator is told: {agent} is {stage} under order {order}.",
    "foreign-news": "Is told by {sender} of {what} {id}, which is {tenant}'s.",
    "order-rejected": "Refuses an order from {sender}: {why}.",
    "escalated": "The soft order {parent} did not complete for {agent}: issues the hard order {child}.",
    "declared": "Declares {agent} (token {token}) stopped under order {order}, by waiting alone.",
    "resume-requested": "{principal} asks to resume {scope} of {tenant}.",
    "certificate-learned": "Takes in the resume certificate {certificate}, which covers {covers}.",
    "certificate-durable": "Resume certificate {certificate} is durable: from now on it covers {covers} here.",
    "hostile-input": "Is sent by {sender} what somebody made up: {what}.",
    "input-poisoned": "Reading the order {order} kills the process.",
    "order-quarantined": "Does not read the order {order} again: nobody outlived that.",
    "attempt-over": "Has read the order {order}, and does not take it in.",
    "order-deferred": "Reads the order {order} only once a mark of it is on the disk.",
    "prohibition-arrived": "Is handed the order {order} by {sender}, {how}.",
    "order-handed-on": "Is handed the order {order} by {sender}, {how}.",
    "floor-held": "Enforces gate {gate}, life {life} for {agent} beside the orders that it has read: {reason}.",
    "floor-dropped": "Enforces nothing more for {agent} for this reason: {reason}.",
    "keyset-installed": "Takes in keyset {version}: revoked {revoked}, new keys for {rotated}.",
    "draft-asked": "Asks {replica} for a draft of resume {request}.",
    "resume-handed-in": "Is handed resume {certificate}, approved by {approvers}.",
    "resume-told": "Answers that resume {certificate} is {stage}.",
    "resume-status": "The operator is told: resume {certificate} is {stage}.",
    "draft-sent": "Shows approvers what resume {request} would lift: {covers}; it has heard {heard}.",
    "recorded-without-room": "Records {what} (lsn {lsn}), though its disk is full.",
    "reserve-used": "What it recorded up to {what} (lsn {lsn}) is durable, by its reserve.",
    "draft-shown": "Is shown a draft of resume {request}: {certificate}.",
    "resume-submitted": "Hands in what approvers signed for resume {request}: {certificate}.",
    "certificate-rejected": "Refuses a resume certificate from {sender}: {why}.",
    "intent": "Intent is now {severity}: {orders_count} orders, {certificates_count} certificates (digest {digest}).",
    "intent-recovered": "Recovers {orders_count} orders and {certificates_count} certificates from its log.",
    "log-unread": "Cannot read {records} orders on its own log.",
    "log-folded": "Live state {live}, state folded from its {records} records {folded}; hash chain intact: {chain_ok}.",
    "clock-suspected": "Trusts its own clock no more: {peers} contradict it.",
    "clock-trusted": "Trusts its own clock again: for a lease length nothing contradicted it.",
    "lease-requested": "Asks for a lease for {agent} (round {nonce}, token {token}); the lease counts from here.",
    "lease-granted": "Grants {agent} {len} of lease (round {nonce}, token {token}).",
    "lease-denied": "Denies {agent} a lease (round {nonce}): {why}.",
    "lease-opened": "Counts its lease for {agent} as open until {until} on its own clock (round {nonce}).",
    "lease-lost": "Notices that the lease of {agent} is out.",
    "lease-recorded": "Records that the lease of {agent} is {what} (token {token}).",
    "gate-changed": "The gate of {agent} is now {gate}; mode {mode}.",
    "gate-recorded": "Records the gate of {agent} as {gate}; mode {mode}.",
    "evidence-durable": "Holds the proof of {stage} of {agent} for order {order} durably.",
    "evidence-recorded": "Records the proof of {stage} of {agent} for order {order}.",
    "evidence-taken": "Takes in the proof of {stage} of {agent} for order {order}.",
    "process-recorded": "Records {what} of the process of {agent} (token {token}).",
    "permits-recorded": "Records {count} effects of {agent} that it let out (token {token}).",
    "drain-deadline": "{agent} has to be drained by {deadline} on this clock (order {order}).",
    "token-promised": "Promises token {token} to {agent}.",
    "start-readied": "Says that nothing of an earlier start of {agent} can still take effect, so that token {token} may begin.",
    "cosignature-sent": "Hands out its cosignature of the log of {origin}, up to record {size}.",
    "promise-sent": "Tells {agent} that token {token} is promised.",
    "vouched": "Gives its word: {what}, of {about}.",
    "question-answered": "Tells {agent} of key {key}: {status}.",
    "question-asked": "Asks {sink} what became of key {key} of {agent}, under nonce {nonce}.",
    "doubts-named": "Puts on record what a stop of {agent} left in doubt ({what}): {in_doubt}.",
    "promised-away": "Hears of {replica} that the greatest token it promised {agent} is {promised}; its own is {token}.",
    "start-proposed": "Asks for promises of token {token} for {agent}; the greatest that it was told of is {told}, by {by}.",
    "token-opened": "Starts {agent} under token {token}, after {predecessor}.",
    "evidence-sent": "Proves {stage} of {agent} for order {order}.",
    "permit-aborted": "Calls an admitted effect of {agent} back ({key}).",
    "process-started": "The process of {agent} runs (token {token}).",
    "process-continued": "Sends SIGCONT to the process of {agent}.",
    "process-termed": "Asks the process of {agent} to stop.",
    "process-killed": "Sends SIGKILL to the process of {agent}.",
    "process-reaped": "The process tree of {agent} is gone (code {code}, by signal: {signalled}).",
    "effect-admitted": "Lets an effect of {agent} out: task {task} step {step}, class {cls}, to {sink} (token {token}).",
    "effect-applied": "Applies the effect {key} of {agent}, class {cls} (token {token}; asked again: {again}).",
    "effect-rejected": "Rejects the effect {key} of {agent}: {why} (token {token}).",
    "fence-sent": "Tells {sink} to refuse every token of {agent} below {min_token}.",
    "challenge-issued": "Challenges whoever sent key {key}, before it applies anything.",
    "fence-durable": "Refuses every token of {agent} below {min_token} from now on.",
    "task-submitted": "{agent} is given task {task}, {steps} steps.",
    "task-handed-over-again": "Upstream hands {task} over to {agent} once more.",
    "task-expired": "Upstream goes on without task {task} of {agent}.",
    "task-intent": "{agent} notes what it is about to do: task {task} step {step}.",
    "task-intent-durable": "The intent of task {task} step {step} is durable.",
    "task-result": "{agent} has the result of task {task} step {step}: {status}.",
    "log-grown": "A record of lsn {size} is durable that calls for a new signed head.",
    "sth-signed": "{origin} signs the head of its log at size {size}.",
    "sth-cosigned": "{witness} has cosigned the head of {origin} at size {size}.",
    "fork-shown": "Has now been shown two logs of {origin}, which differ by record {size}.",
    "fork-proven": "It is proven that {origin} keeps two logs.",
    "fork-durable": "Its record of the proof that {origin} keeps two logs is durable.",
    "log-verified": "The log of {writer} was held against its cosigned heads: sound {sound}, {why}.",
    "log-stamped": "The log of {writer} is laid open with its time stamps.",
    "task-done": "{agent} notes that task {task} is done.",
    "task-done-durable": "That task {task} is done is durable.",
    "task-rolled-back": "{agent} rolls task {task} back.",
    "task-undoing": "{agent} begins to undo task {task}.",
    "task-compensated": "{agent} has undone all of task {task}.",
    "task-absent": "{agent} finds that step {key} of task {task} did not take place.",
    "task-in-doubt": "Task {task} of {agent} is in doubt: nobody can say whether {key} took place.",
    "task-acknowledged": "Upstream is told that task {task} is done.",
    "task-returned": "Upstream is told that nothing of task {task} stands.",
    "checkpoint-begun": "Begins checkpoint {generation} of {agent} at record {lsn}.",
    "checkpoint-durable": "Checkpoint {generation} of {agent} is durable, up to record {lsn}.",
    "checkpoint-found": "Finds checkpoint {generation} of {agent}, whose process is gone.",
    "checkpoint-acknowledged": "Is told of checkpoint {generation} of {agent}.",
    "checkpoint-recovered": "{agent} recovers from checkpoint {generation} (record {lsn}, intact: {intact}; {journal} records in its journal).",
    "fault-armed": "Fault {what} is armed ({fault}).",
    "fault-on": "Fault {what} begins at {target} ({fault}).",
    "fault-fired": "Fault {what} makes a difference ({fault}).",
    "fault-attested": "Fault {fault} was measured by {how}: {measured}.",
    "fault-unattested": "Fault {fault} could not be measured by {how}: {measured}.",
    "fault-off": "Fault {what} is over ({fault}).",
    "fault-idle": "Fault {what} befell nobody ({fault}): {measured}.",
    "rollout-requested": "{principal} asks for a policy to go to {stage}.",
    "rollout-asked-after": "Asks {replica} about the rollout that {accepted} has accepted.",
    "rollout-status": "Is told that the rollout is {stage}, as number {seq}.",
    "rollout-told": "Tells whoever asked for rollout {seq} that it is {stage}.",
    "policy-installed": "Takes in the policy {policy} of {author}.",
    "rollout-durable": "Rollout {seq} to {stage} is durable (asked for by {request}; policy {stable}, on trial {canary}, {percent} % of scopes).",
    "rollout-changed": "Rollout {seq} is in force: {stage}, policy {stable}, on trial {canary}.",
    "decision": "Decides on {action} {request} under rollout {seq} (raised by a canary: {raised}; replayed alike: {replayed} {why}).",
    "operation-played": "Operation {what} is carried out ({operation}).",
}  # fmt: skip


WHY_SKIPPED = "for what they lean on was broken (A1, A2; T5), doubled (a clone), or gone with a crash"  # instances of an invariant


def plain(text: object) -> str:
    """``text`` with every character that could mislead or break a reader replaced by its visible escape, such as ``\\u202e``."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", str(text))


def duration(nanoseconds: int | None) -> str:
    """A span of time for people, to about four digits: ``5.051 s``, ``230 ms``, ``12 µs``; a dash for None."""
    if nanoseconds is None:
        return "–"
    size = abs(nanoseconds)
    for unit, name in ((10**9, "s"), (10**6, "ms"), (10**3, "µs")):
        if size >= unit:
            return f"{nanoseconds / unit:.4g} {name}" if size < 1000 * unit else f"{nanoseconds / unit:,.0f} {name}"
    return f"{nanoseconds} ns" if nanoseconds else "0 s"


def readable(text: str) -> str:
    """Prose of a checker with its whole nanoseconds as durations for people; the results keep every digit."""
    return re.sub(r"(?<![\w.])(\d{4,18}) ns\b", lambda match: duration(int(match.group(1))), plain(text))


def instant(at_ns: int) -> str:
    """A moment of a run to the microsecond, in seconds: ``12.345678 s``."""
    return f"{at_ns / 10**9:.6f} s"


def ratio(share: float) -> str:
    """Observed over bound, with three digits that never round a breach down to 1: ``0.412``, ``1.0001``."""
    rounded = f"{share:.3f}"
    return f"{share:.3g}" if share >= 100 else (f"{share:.9f}".rstrip("0") if rounded == "1.000" and share > 1 else rounded)


def count(number: int, one: str, many: str = "") -> str:
    """``1 run``, ``12,000 runs``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def unjudged(names: Sequence[str], driver: str) -> str:
    """Which invariants no run was judged by, and what they need: a sentence, or nothing."""
    needs = "needs --twins (seeds 1, 11, 21, ...)" if driver == "sim" else "needs --twins, which are simulated only"
    return f"Not judged: {', '.join(map(plain, names))}, {needs}." if names else ""


def gate_word(gate: object) -> str:
    """OPEN, DRAIN or CLOSED, whether the fact gives the number or the word."""
    return _GATES.get(gate, plain(gate)) if isinstance(gate, int) else plain(gate).upper()


def severity_word(gate: object, life: object) -> str:
    """The severity of a gate and a life (protocol 3.5); a pair without a name is spelled out."""
    gates = {word: number for number, word in _GATES.items()}
    lives = {word: number for number, word in _LIVES.items()}
    pair = (gates.get(gate_word(gate), -1), life if isinstance(life, int) else lives.get(plain(life).upper(), -1))
    return SEVERITIES.get(pair, f"{plain(gate)}/{plain(life)}")


def short(value: object) -> str:
    """A field of a fact for people: identifiers to eight digits, tokens as ``epoch.counter``, yes and no, lists with commas."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return f"{value[:8]}…" if _IDENTIFIER.match(value) else plain(value) or "nothing"
    if isinstance(value, list | tuple):
        if len(value) == 3 and isinstance(value[0], int) and isinstance(value[1], int):
            return f"{value[0]}.{value[1]}"
        if len(value) == 2 and isinstance(value[0], str) and value[0] in {"agent", "label", "tenant", "global"}:
            return f"{value[0]} {plain(value[1])}".strip()
        return ", ".join(short(item) for item in value) or "nothing"
    return "nothing" if value is None else plain(value)


class _Fields(dict[str, str]):
    """The fields of one fact, worded; a field that the fact lacks reads as a question mark instead of failing the report."""

    def __missing__(self, field: str) -> str:
        return "?"


def sentence(fact: Fact) -> str:
    """What the fact says, as one sentence. A kind that this version does not know is spelled out field by field."""
    pattern = SENTENCES.get(fact.kind)
    if pattern is None:
        return f"{plain(fact.kind)}: " + "; ".join(f"{plain(field)} {short(value)}" for field, value in fact.body.items())
    return pattern.format_map(_worded(fact.body))


def _worded(body: Mapping[str, Any]) -> _Fields:
    worded = _Fields()
    for field, value in body.items():
        worded[field] = short(value)
        if field.endswith("_ns") and isinstance(value, int):
            worded[field[:-3]] = instant(value) if field in {"until_ns", "deadline_ns"} else duration(value)
        elif isinstance(value, list | tuple):
            worded[f"{field}_count"] = str(len(value))
    if "gate" in body:
        worded["gate"] = gate_word(body["gate"])
        worded["severity"] = severity_word(body["gate"], body.get("life", 0))
    return worded
