"""S16, S17 and L7: the audit trail as others can check it: true to what was witnessed, in an order that causes respect, witnessed in time."""

from __future__ import annotations

from harness.checkers.bounds import BACKOFF_CAP_NS, Bounds, stretch
from harness.checkers.checker import InvariantChecker
from harness.checkers.run import Run
from harness.checkers.words import agent_of, is_replica
from harness.shared.history import Fact


def cosigned_within_ns(bounds: Bounds) -> int:
    """L7: ((k + 1) W + R + 4 gossip) / (1 - rho) + the backoff cap + the slack, where W is one lease, rounded up to whole renewals, and k is 1, or
    with a network that always loses something as many tries of a message and its answer as that takes (`Bounds.tries`).

    A writer looks after its head with each heartbeat and at no other time, every R at a sidecar (protocol 5). The first that finds the log grown, R
    after that at the latest, begins the wait of one lease; the first after that wait signs and shows the head, W later. What was lost on its way, or
    came with a proof from elsewhere than where its witness stands, is shown again another W later. A replica looks with each round of gossip instead:
    one until it finds the growth, and less than one in each of its two waits beyond a lease; and a witness answers with its next: four rounds.

    As in L1 the transport's longest pause and the slack are added.
    """
    wait_ns = -(-bounds.lease_ns // bounds.renew_ns) * bounds.renew_ns
    return stretch((bounds.tries(2) + 1) * wait_ns + bounds.renew_ns + 4 * bounds.gossip_ns, bounds.drift_ppm) + BACKOFF_CAP_NS + bounds.slack_ns


class AuditTamper(InvariantChecker):
    """S16 (protocol 5). The log that a writer leaves is the one that was cosigned of it; no writer shows, and no witnesses cosign, two roots
    for one size, nor hand a cosignature out before it is durable, which a crash could make them forget; nobody whose log is sound is accused of
    a fork. A head names the size of the one before it, if this start of its writer has shown one. A witness that is master of its own disk follows
    one log of a writer, across its restarts: what it cosigns grows, and after a head of another log it cosigns none of the one that is left. A
    replica that is shown two logs of a writer proves that in the same step. A writer whose log some fault took out of its hands, or whose host was
    cloned, is held to less: it has to be found out, by a proven fork, once witnesses had time to look.

    Whoever starts on a log from which something had to be cut off says so in its first step: nobody else can know that there was more.

    An instance is a head shown, a cosignature, a start on what is left of a log, or a log verified at the end. That `verify` finds every mutation of
    an export is a matter for tests of it: a run has nobody who tampers with logs but its faults.
    """

    invariant = "S16"
    title = "AuditTamper: a log that is not what was witnessed of it is found out, and no sound one is accused"
    kinds = frozenset({
        "sth-signed", "sth-cosigned", "cosignature-sent", "fork-shown", "fork-proven", "log-verified", "node-started", "node-crashed", "over-share",
        "log-truncated", "log-cut",
    })  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._roots: dict[tuple[str, int], dict[str, int]] = {}
        self._longest: dict[str, int] = {}
        self._rewound: dict[str, int] = {}  # writer -> when it first had, or signed for, less than it had signed for before
        self._accused: dict[str, int] = {}
        self._heads: dict[str, tuple[int, int]] = {}  # writer -> size of the head that this start of it showed last, and the fact
        self._comparable_ns: dict[str, int] = {}  # writer -> when it first showed a head after the last of another host of its name
        self._cosigned: dict[tuple[str, str], dict[int, int]] = {}  # (witness, writer) -> {size: index of the fact}
        self._shown: dict[tuple[str, str], tuple[int, int]] = {}  # (replica, writer) -> when it was shown a fork that it has not proven, and index
        self._dropping: set[str] = set()  # replicas that did not take in all that reached them
        self._proven: set[tuple[str, str]] = set()
        self._truncated: dict[str, tuple[int, int]] = {}  # node -> when it started on what was left of its log, and has not said so; and the fact

    def see_twin(self, index: int, fact: Fact) -> None:
        if fact.kind == "sth-signed":
            self._roots.setdefault((fact.body["origin"], fact.body["size"]), {}).setdefault(fact.body["root"], index)
            self._comparable_ns.pop(fact.body["origin"], None)

    def see(self, index: int, fact: Fact) -> None:
        match fact.kind:
            case "sth-signed" | "sth-cosigned":
                self.examined += 1
                self._roots.setdefault((fact.body["origin"], fact.body["size"]), {}).setdefault(fact.body["root"], index)
                if fact.kind == "sth-signed":
                    self._judge_previous(index, fact)
                    self._comparable_ns.setdefault(fact.body["origin"], fact.at_ns)
                    self._note_size(index, fact.body["origin"], fact.body["size"])
                    self._longest[fact.body["origin"]] = max(fact.body["size"], self._longest.get(fact.body["origin"], 0))
                else:
                    self._judge_cosigned(index, fact)
            case "cosignature-sent":
                sizes = self._cosigned.get((fact.node, fact.body["origin"]), {})
                if fact.body["size"] not in sizes and fact.node not in self.run.custody:
                    self.blame(f"{fact.node} handed out a cosignature of {fact.body['origin']} at {fact.body['size']} that was not durable", index)
            case "node-started":
                self._heads.pop(fact.node, None)
                self._note_size(index, fact.node, fact.body["records"])
            case "fork-proven":
                self._accused.setdefault(fact.body["origin"], index)
                self._judge_proven(index, fact)
            case "fork-shown":
                self.examined += 1
                if (fact.node, fact.body["origin"]) not in self._proven and fact.node not in self._dropping:
                    self._shown.setdefault((fact.node, fact.body["origin"]), (fact.at_ns, index))
            case "over-share":
                self._dropping.add(fact.node)
            case "log-truncated":
                self.examined += 1
                self._truncated[fact.node] = (fact.at_ns, index)
            case "log-cut":
                self._truncated.pop(fact.node, None)
            case "node-crashed":
                if self._truncated.get(fact.node, (-1, 0))[0] == fact.at_ns:
                    del self._truncated[fact.node]
                self._shown = {key: shown for key, shown in self._shown.items() if key[0] != fact.node or shown[0] < fact.at_ns}
            case _:
                self._judge_log(index, fact)

    def _judge_previous(self, index: int, fact: Fact) -> None:
        """A head names the one that this start of its writer showed before it, by its size; the first one names none."""
        origin = fact.body["origin"]
        size, shown = self._heads.get(origin, (0, index))
        if fact.body["previous"] != size:
            why = f"{origin} showed a head of {fact.body['size']} records that names one of {fact.body['previous']} as the one before it, and that "
            self.blame(f"{why}was of {size}" if size else f"{why}was none", shown, index)
        self._heads[origin] = (fact.body["size"], index)

    def _note_size(self, index: int, writer: str, size: int) -> None:
        if size < self._longest.get(writer, 0):
            self._rewound.setdefault(writer, index)

    def _judge_cosigned(self, index: int, fact: Fact) -> None:
        """A witness follows one log, across its restarts: each head of a writer that it cosigns is longer than all before."""
        origin, size = fact.body["origin"], fact.body["size"]
        sizes = self._cosigned.setdefault((fact.node, origin), {})
        before = next(reversed(sizes), -1)
        if size <= before and fact.node not in self.run.custody:
            self.blame(f"{fact.node} cosigned {origin} at size {size} after it had cosigned it at {before}", sizes[before], index)
        sizes[size] = index

    def _judge_proven(self, index: int, fact: Fact) -> None:
        """Whoever is shown both logs has the proof in its hands, and has to wait for nobody else to find it."""
        key = (fact.node, fact.body["origin"])
        self._proven.add(key)
        shown_ns, shown_index = self._shown.pop(key, (fact.at_ns, index))
        if shown_ns < fact.at_ns:
            self.blame(f"{fact.node} was shown two logs of {key[1]}, and proved that only {fact.at_ns - shown_ns} ns later", shown_index, index)

    def _judge_log(self, index: int, fact: Fact) -> None:
        self.examined += 1
        writer, why = fact.body["writer"], fact.body["why"]
        for witness in fact.body.get("returned", ()):  # histories of earlier versions do not tell
            if witness not in self.run.custody:
                self.blame(f"{witness} cosigned another log of {writer}, and after that the one that is left", index)
        if fact.body["sound"]:
            if writer in self._accused and not self._split(writer) and writer not in self._rewound and writer not in self.run.doubled:
                self.blame(f"{writer} was accused of a fork, and its log is the one that was witnessed", self._accused[writer], index)
        elif not self._excused(writer):
            self.blame(f"the log of {writer} {why}", index, *self._split(writer))
        elif writer not in self._accused and self._had_time(writer):
            self.blame(f"the log of {writer} {why}, and nobody found out", index)

    def _excused(self, writer: str) -> bool:
        """Whether two logs are no fault of the writer's: one was taken out of its hands, or its host was cloned. Then they have to be found out."""
        return writer in self.run.custody or writer in self.run.doubled

    def _had_time(self, writer: str) -> bool:
        """Whether all has been well for so long that the writer must have shown its log to a witness again. One of two hosts shows nothing new
        until its log grows, and so far its log is the beginning of the other's."""
        node = self.run.node(writer)
        well_since_ns = self.run.end_ns if self.run.healed_ns is None else max(self.run.healed_ns, node.since_ns)
        if writer in self.run.doubled:
            well_since_ns = max(well_since_ns, self._comparable_ns.get(writer, self.run.end_ns))
        return node.works and self.run.end_ns - well_since_ns > cosigned_within_ns(self.run.bounds)

    def _split(self, writer: str) -> tuple[int, ...]:
        """The facts that show two roots for one size of the writer's log; none if there are none."""
        return next((tuple(roots.values()) for (origin, _), roots in self._roots.items() if origin == writer and len(roots) > 1), ())

    def settle(self) -> None:
        for node, (_, index) in self._truncated.items():
            self.blame(f"{node} started on a log from which something had been cut off, and did not say so", index)
        for (node, writer), (_, index) in self._shown.items():
            self.blame(f"{node} was shown two logs of {writer}, and never proved that", index)
        for (origin, size), roots in self._roots.items():
            if len(roots) > 1 and not self._excused(origin):
                self.blame(f"{origin} keeps two logs: two of its heads at size {size} have different roots", *roots.values())
        for writer, index in self._rewound.items():
            if not self._excused(writer):
                self.blame(f"{writer} keeps two logs: it had, or signed for, less than it had signed for before", index)


class Causality(InvariantChecker):
    """S17 (protocol 5). In every log that is left, stamps grow and the own clock does not go back within a boot; and whoever refers to
    another log has the greater stamp, so that sorting all records by stamp puts no effect before its cause. An instance is a record. A
    reference to a log that a fault took out of its writer's hands, or of which there are two, is skipped: the record that it means may be gone.

    Cannot see: causes that no record refers to. A log of which less is left than is referred to is for S16. Who may have been told a stamp too
    far ahead of his own wall clock to believe it, since one of the two clocks jumped, is held to the order of his own records only (T5); and
    that a clock was made to jump back is not its log's fault.
    """

    invariant = "S17"
    title = "Causality: stamps follow causes, and no clock of a log goes back within a boot"
    kinds = frozenset({"log-stamped"})

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._logs: dict[str, tuple[int, Fact]] = {}

    def see(self, index: int, fact: Fact) -> None:
        self._logs[fact.body["writer"]] = (index, fact)

    def settle(self) -> None:
        for writer, (index, fact) in self._logs.items():
            self._judge_growth(index, writer, fact)
            self._judge_references(index, writer, fact)

    def _judge_growth(self, index: int, writer: str, fact: Fact) -> None:
        stamps, clocks, boots = fact.body["stamps"], fact.body["clocks"], set(fact.body["boots"])
        self.examined += len(stamps)
        for place in range(1, len(stamps)):
            if stamps[place] <= stamps[place - 1]:
                self.blame(f"record {place + 1} of {writer} has a stamp that is not greater than its predecessor's", index)
            if clocks[place] < clocks[place - 1] and place + 1 not in boots and writer not in self.run.clock_suspects:
                self.blame(f"the clock of {writer} went back at record {place + 1} within one boot", index)

    def _judge_references(self, index: int, writer: str, fact: Fact) -> None:
        for seq, origin, size in fact.body["references"]:
            if origin in self.run.custody or origin in self.run.doubled:
                self.skipped += 1
            elif origin in self._logs and not self.run.wall_suspects & {writer, origin}:
                cause_index, cause = self._logs[origin]
                stamps = cause.body["stamps"]
                if size <= len(stamps) and stamps[size - 1] >= fact.body["stamps"][seq - 1]:
                    why = f"record {seq} of {writer} refers to record {size} of {origin}, and its stamp is not greater"
                    self.blame(why, index, cause_index)


class AuditSync(InvariantChecker):
    """L7 (protocol 5). What became durable in the log of a working replica or sidecar is covered by a head that every other working replica has
    durably cosigned, by max(heal, when it became durable, last start or resumption of either) + `cosigned_within_ns`. An instance is a
    growth of a log at a witness.

    And a fork that a working replica has on record is on record with every other one of its cell, and with every working sidecar there, by max(heal,
    since when that replica has it, last start or resumption of either) + `Bounds.propagation_ns`: proofs go out with each round of gossip and each
    answer to a heartbeat. Such an instance is a working node of that cell. A node that crashes has what was durable, and one whose disk a fault took
    out of its hands neither owes it after that nor is owed it.

    Left out are writers that were caught keeping two logs, or whose log a fault took from them or doubled, nodes whose disk failed, those whose
    clock was broken (a timer that was set before a clock jumped back is due late by that much, T5), growth by nothing but
    notes of witnessing, and what was not due when the run ended: logs grow to the end of every run.
    """

    invariant = "L7"
    title = "AuditSync: after the heal every durable record comes under a cosigned head in time, and every proven fork is known"
    kinds = frozenset({"log-grown", "sth-cosigned", "fork-proven", "fork-durable", "node-crashed"})

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._growths: dict[str, list[tuple[int, int, int]]] = {}  # writer -> (size, when, index of the fact)
        self._cosigned: dict[tuple[str, str], list[tuple[int, int]]] = {}  # (writer, witness) -> (size, when)
        self._forked: set[str] = set()
        self._on_record: dict[str, dict[str, tuple[int, int]]] = {}  # writer of two logs -> {node: when it put that on record, index of the fact}
        self._durable: set[tuple[str, str]] = set()  # such a writer, and a node whose record of that is durable
        self._excused: set[tuple[str, str]] = set()  # such a writer, and a node that had that on a record which is no longer in its hands

    def see(self, index: int, fact: Fact) -> None:
        match fact.kind:
            case "log-grown":
                self._growths.setdefault(fact.node, []).append((fact.body["size"], fact.at_ns, index))
            case "sth-cosigned":
                self._cosigned.setdefault((fact.body["origin"], fact.node), []).append((fact.body["size"], fact.at_ns))
            case "fork-proven":
                self._forked.add(fact.body["origin"])
                self._on_record.setdefault(fact.body["origin"], {}).setdefault(fact.node, (fact.at_ns, index))
            case "fork-durable":
                self._durable.add((fact.body["origin"], fact.node))
                self._on_record.setdefault(fact.body["origin"], {}).setdefault(fact.node, (fact.at_ns, index))
            case _:
                for origin in self._on_record:
                    self._crashed(origin, fact.node)

    def _crashed(self, origin: str, node: str) -> None:
        lost, known = node in self.run.custody, self._on_record[origin]
        if node in known and (lost or (origin, node) not in self._durable):
            del known[node]
            if lost:
                self._excused.add((origin, node))

    def settle(self) -> None:
        broken = self.run.clock_suspects
        witnesses = [replica for replica in self.run.replicas if self.run.node(replica).works and replica not in broken]
        for writer, growths in self._growths.items():
            if (
                writer in self._forked
                or writer in self.run.custody
                or writer in self.run.doubled
                or writer in broken
                or not self.run.node(writer).works
            ):
                continue
            for witness in witnesses:
                if witness != writer and self._peers(writer, witness):
                    self._judge(writer, witness, growths)
        for origin in self._on_record:
            self._judge_told(origin)

    def _judge_told(self, origin: str) -> None:
        """Whom the replicas that know of the fork have to have told of it by now."""
        known = self._on_record[origin]
        for cell in self.run.cells:
            knowing = [replica for replica in cell.replicas if replica in known and self._is_sound(replica)]
            for node in (*cell.replicas, *(f"sidecar/{agent}" for agent in sorted(cell.agents))):
                others = [replica for replica in knowing if replica != node]
                if others and self._is_sound(node) and (origin, node) not in self._excused:
                    self._judge_known(origin, node, others)

    def _is_sound(self, node: str) -> bool:
        return self.run.node(node).works and node not in self.run.clock_suspects

    def _judge_known(self, origin: str, node: str, others: list[str]) -> None:
        """Of all who could have told it, the one from whom it was due first."""
        run, known = self.run, self._on_record[origin]
        if run.healed_ns is None:
            return
        since_ns = max(run.healed_ns, run.node(node).since_ns)
        start_ns, index = min((max(since_ns, known[each][0], run.node(each).since_ns), known[each][1]) for each in others)
        bound_ns = run.bounds.propagation_ns
        if node not in known and run.end_ns < start_ns + bound_ns:
            return
        self.examined += 1
        if node not in known:
            self.blame(f"{node} was never told that {origin} keeps two logs", index)
            return
        heard_ns, heard_index = known[node]
        if heard_ns > start_ns:
            self.measure(heard_ns - start_ns, bound_ns)
        if heard_ns > start_ns + bound_ns:
            self.blame(f"{node} was told that {origin} keeps two logs {heard_ns - start_ns - bound_ns} ns after that was due", index, heard_index)

    def _peers(self, writer: str, witness: str) -> bool:
        """A log is witnessed by the replicas of its own cell."""
        if is_replica(writer):
            return any(writer in cell.replicas and witness in cell.replicas for cell in self.run.cells)
        return witness in self.run.cell_of(agent_of(writer)).replicas

    def _judge(self, writer: str, witness: str, growths: list[tuple[int, int, int]]) -> None:
        bound_ns = cosigned_within_ns(self.run.bounds)
        since_ns = max(self.run.node(writer).since_ns, self.run.node(witness).since_ns, self.run.healed_ns or 0)
        cosigned = self._cosigned.get((writer, witness), [])
        for size, at_ns, index in growths:
            start_ns = max(since_ns, at_ns)
            covered_ns = next((at for reached, at in cosigned if reached >= size), None)
            due_ns = None if self.run.healed_ns is None else start_ns + bound_ns
            if covered_ns is None and (due_ns is None or self.run.end_ns < due_ns):
                continue
            self.examined += 1
            if covered_ns is None:
                self.blame(f"{witness} never cosigned a head of {writer} over record {size}", index)
            elif due_ns is not None and covered_ns > start_ns:
                self.measure(covered_ns - start_ns, bound_ns)
                if covered_ns > due_ns:
                    self.blame(f"{witness} cosigned record {size} of {writer} {covered_ns - due_ns} ns after that was due", index)
