"""S8: one incarnation of an agent at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from harness.checkers.checker import InvariantChecker
from harness.checkers.run import Run
from harness.checkers.words import NO_TOKEN, STOPPED, Token, token_of
from harness.shared.history import Fact


@dataclass(slots=True)
class _Round:
    """A round of lease requests of one token, and who granted it."""

    token: Token
    at_ns: int
    index: int
    granters: set[str] = field(default_factory=set)


class OneIncarnation(InvariantChecker):
    """S8. At a class F sink the tokens of an agent's applied effects never decrease; nothing is admitted under a token after a higher one was
    opened; and a process starts under a token only when the last process's token is out of the way: proven stopped (reaped, or by
    STOPPED evidence), or fenced at every sink of the agent, all of class F, or past its last lease by T4, that is L/(1-rho) of real time
    (plus P for class C) after the request of the last round in which it got a quorum.

    A token serves one process, and none once it is proven over: what others concluded from that would not be so any more.

    And every class F sink of the agent holds a fence at its token, or above, before a process starts under it: what the start asks about and finds
    absent has to stay so (D9).

    And a replica keeps its promises, whatever it lives through: once it has told that a token is promised, it promises no lower one, and
    grants no lease to a lower one.

    And a replica that may have forgotten, since its log was cut or its disk lost, promises and grants nothing, and calls no predecessor over, in any
    of its lives, until it has been taught again.

    And a replica that may have forgotten, and vouches again, holds what those that taught it had promised before it asked them: it would keep it.

    And a sidecar asks for no token that is not greater than every one of which it has been told, by a replica or a sink, since it started: such a one
    is refused, or worse, is another start's. What it hears of a replica that was proven to keep two logs counts for nothing. And it says
    with the request that the start which it opened last is over: it can ask only then, and that proof spares everybody the wait for it.

    And a sidecar whose process runs under a token that more than n-q replicas of its home cell told it that they promised away asks for no other
    within L of that, by its own clock, so that two hosts of one name that both go on take turns. Where a class F sink holds a fence above that token
    there are other reasons to replace the process, and none to wait.

    And a sidecar opens a token only when a quorum of its home cell has said that nothing of an earlier start can act any more.

    And a replica says that a start's predecessor is over only if it is: reaped or proven stopped, or with no sink but of class F, or W (and P) has
    passed on the replica's own clock since it last granted the predecessor a lease, and last began or ceased to doubt that clock. Whether others
    waited long enough hides none of that.

    Of two hosts of one name, each is held to that by itself, but that a start is judged only after a start of its own: what the other has running no
    host can know. Instead, nothing is admitted under a token later than L/(1-rho) after the other host opened a greater one: q replicas had promised
    that by then, so no later round got its quorum.

    An instance is an application at class F, an admission, a promise, made or taught, a grant, a predecessor that is called over, a token that is
    asked for, in the place of one that was promised away, or opened, or a start. The third case takes the shortest wait that any honest clock makes
    possible, since a replica may be ready by what it alone knows; it is skipped where a clock was broken (T5).
    """

    invariant = "S8"
    title = "OneIncarnation: an agent starts again only when its predecessor can do nothing any more"
    kinds = frozenset({
        "token-opened", "process-started", "process-reaped", "evidence-sent", "fence-durable", "lease-requested", "lease-granted",
        "effect-admitted", "effect-applied", "promise-sent", "start-readied", "node-started", "token-promised", "replica-joined",
        "start-proposed", "fork-proven", "node-cloned", "promised-away",
    })  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._applied: dict[tuple[str, str], tuple[Token, int]] = {}
        self._opened: dict[str, tuple[Token, int]] = {}
        self._started: dict[str, tuple[Token, int]] = {}
        self._stopped: dict[tuple[str, Token], int] = {}  # and the fact that says so
        self._fences: dict[tuple[str, str], Token] = {}
        self._promised: dict[tuple[str, str], tuple[Token, int]] = {}
        self._durable: dict[str, dict[str, list[tuple[Token, int]]]] = {}  # replica -> agent -> its promises: (token, when they were durable)
        self._readied: dict[tuple[str, Token], set[str]] = {}  # who said so of a start
        self._caught: set[tuple[str, str]] = set()  # (sidecar, replica that it knows to keep two logs)
        self._began: dict[str, int] = {}  # replica -> when it last started
        self._rounds: dict[str, dict[str, _Round]] = {}
        self._leased: dict[tuple[str, Token], _Round] = {}
        self._ran: set[tuple[str, Token]] = set()  # on whichever host
        self._proposed: dict[str, Token] = {}
        self._promised_away: dict[str, set[str]] = {}  # agent -> who told of a greater token than that which it opened last
        self._given_up: dict[str, tuple[int, int]] = {}  # agent -> (own clock, index) when too many had, and a process ran under it
        self._copied_unrun: set[tuple[str, Token]] = set()  # perhaps on the log when the host was copied, and nothing had run under it yet
        self._granted: dict[str, dict[tuple[str, Token], tuple[int, int]]] = {}  # replica -> latest grants since it started: (own clock, index)
        self._superseded: dict[str, list[tuple[Token, int, int]]] = {}  # agent -> tokens that another host of its name opened: (token, when, index)
        self._by_kind: dict[str, Callable[[int, Fact, str], None]] = {
            "node-started": self._node_started,
            "node-cloned": self._node_cloned,
            "replica-joined": self._joined,
            "token-promised": self._token_promised,
            "promise-sent": self._promise_sent,
            "fork-proven": self._fork_proven,
            "promised-away": self._promise_away,
            "start-proposed": self._propose,
            "start-readied": self._start_readied,
            "token-opened": self._open,
            "process-started": self._start,
            "process-reaped": self._process_reaped,
            "evidence-sent": self._evidence_sent,
            "fence-durable": self._fence_durable,
            "lease-requested": self._lease,
            "lease-granted": self._lease_granted,
            "effect-admitted": self._effect_admitted,
            "effect-applied": self._effect_applied,
        }

    def see(self, index: int, fact: Fact) -> None:
        self._by_kind[fact.kind](index, fact, fact.body.get("agent", ""))

    def see_twin(self, index: int, fact: Fact) -> None:
        if fact.kind == "token-opened":
            self._superseded.setdefault(fact.body["agent"], []).append((token_of(fact.body["token"]), fact.at_ns, index))
        elif fact.kind == "process-started":
            self._started.pop(fact.body["agent"], None)
            self._ran.add((fact.body["agent"], token_of(fact.body["token"])))
        elif fact.kind == "process-reaped":
            self._stopped.setdefault((fact.body["agent"], token_of(fact.body["token"])), index)

    # -- what happened

    def _node_started(self, index: int, fact: Fact, _agent: str) -> None:
        self._granted.pop(fact.node, None)
        self._began[fact.node] = index
        self._given_up.pop(fact.node.removeprefix("sidecar/"), None)
        if not fact.body["records"]:
            self._durable.pop(fact.node, None)

    def _node_cloned(self, _index: int, fact: Fact, _agent: str) -> None:
        """The copy knows that nothing ran under the token on its log, and says so as it would of one that it reaped: of its own host (protocol 6)."""
        agent = fact.node.removeprefix("sidecar/")
        on_log = {self._proposed.get(agent, NO_TOKEN), self._opened.get(agent, (NO_TOKEN, 0))[0]}
        self._copied_unrun |= {(agent, token) for token in on_log} - self._ran

    def _token_promised(self, index: int, fact: Fact, agent: str) -> None:
        self._durable.setdefault(fact.node, {}).setdefault(agent, []).append((token_of(fact.body["token"]), index))

    def _promise_sent(self, index: int, fact: Fact, agent: str) -> None:
        self._judge_memory(index, fact.node, agent, "promised")
        self._judge_promise(index, fact.node, agent, token_of(fact.body["token"]), "promised")

    def _fork_proven(self, _index: int, fact: Fact, _agent: str) -> None:
        self._caught.add((fact.node, fact.body["origin"]))

    def _start_readied(self, index: int, fact: Fact, agent: str) -> None:
        token = token_of(fact.body["token"])
        self._readied.setdefault((agent, token), set()).add(fact.node)
        self._judge_memory(index, fact.node, agent, "called the predecessor over to")
        self._judge_readied(index, fact, agent, token)

    def _process_reaped(self, index: int, fact: Fact, agent: str) -> None:
        self._stopped.setdefault((agent, token_of(fact.body["token"])), index)

    def _evidence_sent(self, index: int, fact: Fact, agent: str) -> None:
        if fact.body["stage"] in STOPPED:
            self._stopped.setdefault((agent, token_of(fact.body["token"])), index)

    def _fence_durable(self, _index: int, fact: Fact, agent: str) -> None:
        key = (fact.body["sink"], agent)
        self._fences[key] = max(token_of(fact.body["min_token"]), self._fences.get(key, NO_TOKEN))

    def _lease_granted(self, index: int, fact: Fact, agent: str) -> None:
        token = token_of(fact.body["token"])
        self._judge_memory(index, fact.node, agent, "granted a lease to")
        self._judge_promise(index, fact.node, agent, token, "granted a lease to")
        self._granted.setdefault(fact.node, {})[agent, token] = (fact.clock_ns, index)
        self._lease(index, fact, agent)

    def _effect_admitted(self, index: int, fact: Fact, agent: str) -> None:
        token = token_of(fact.body["token"])
        self._admitted(index, agent, token)
        self._outlived(index, fact, agent, token)

    def _effect_applied(self, index: int, fact: Fact, agent: str) -> None:
        sink = fact.body["sink"]
        if self.run.sinks[sink] == "F" and not fact.body["again"] and sink not in self.run.custody:
            self._apply(index, sink, agent, token_of(fact.body["token"]))

    # -- what follows

    def _outlived(self, index: int, fact: Fact, agent: str, token: Token) -> None:
        bounds = self.run.bounds
        if f"sidecar/{agent}" in self.run.clock_suspects or self.run.quorums_forget:
            return
        for greater, opened_ns, opened_index in self._superseded.get(agent, ()):
            if token < greater:
                self.examined += 1
                late_ns = fact.at_ns - opened_ns - bounds.hard_ns
                if late_ns > 0:
                    why = f"{agent} admitted an effect under token {token} {late_ns} ns after every lease from before {greater} was out"
                    self.blame(why, opened_index, index)

    def _apply(self, index: int, sink: str, agent: str, token: Token) -> None:
        self.examined += 1
        highest, highest_index = self._applied.get((sink, agent), (NO_TOKEN, index))
        if token < highest:
            self.blame(f"{sink} applied an effect of {agent} under token {token} after one under {highest}", highest_index, index)
        else:
            self._applied[sink, agent] = (token, index)

    def _admitted(self, index: int, agent: str, token: Token) -> None:
        if self._doubled(agent):
            self.skipped += 1
            return
        self.examined += 1
        opened, opened_index = self._opened.get(agent, (NO_TOKEN, index))
        if token < opened:
            self.blame(f"{agent} admitted an effect under token {token} after {opened} was opened", opened_index, index)

    def _promise_away(self, index: int, fact: Fact, agent: str) -> None:
        token, home = token_of(fact.body["token"]), self.run.cell_of(agent)
        away = self._promised_away.setdefault(agent, set())
        away.discard(fact.body["replica"])
        if token_of(fact.body["promised"]) > token and fact.body["replica"] in home.replicas:
            away.add(fact.body["replica"])
        process = self.run.processes.get(agent)
        runs = process is not None and process.alive and process.token == token
        fenced_out = any(self._fences.get((sink, agent), NO_TOKEN) > token for sink in self.run.sinks_of(agent, "F"))
        if len(away) > len(home.replicas) - home.quorum and runs and not fenced_out:
            self._given_up.setdefault(agent, (fact.clock_ns, index))

    def _propose(self, index: int, fact: Fact, agent: str) -> None:
        token, told, by = token_of(fact.body["token"]), token_of(fact.body["told"]), fact.body["by"]
        self._proposed[agent] = token
        self._judge_turns(index, fact, agent, token)
        if (fact.node, by) in self._caught:
            self.skipped += 1
            return
        self.examined += 1
        if token <= told:
            self.blame(f"{fact.node} asked for token {token} of {agent} when {by} had told it of {told}", index)
        self._judge_over(index, fact, agent, token)

    def _judge_over(self, index: int, fact: Fact, agent: str, token: Token) -> None:
        """Of a start that is on its own log, whether it ran or not."""
        opened, opened_index = self._opened.get(agent, (NO_TOKEN, index))
        over = token_of(fact.body.get("over", opened))  # histories of earlier versions do not tell
        if over < opened and fact.node not in self.run.custody:
            self.blame(f"{fact.node} asked for token {token} of {agent}, and did not say that {opened} is over", opened_index, index)

    def _judge_turns(self, index: int, fact: Fact, agent: str, token: Token) -> None:
        given_up = self._given_up.pop(agent, None)
        if given_up is None:
            return
        self.examined += 1
        waited_ns = fact.clock_ns - given_up[0]
        if waited_ns < self.run.bounds.lease_ns:
            why = f"{fact.node} asked for token {token} of {agent} {waited_ns} ns after its own was promised away; two that do take no turns"
            self.blame(why, given_up[1], index)

    def _open(self, index: int, fact: Fact, agent: str) -> None:
        node, token = fact.node, token_of(fact.body["token"])
        self.examined += 1
        self._promised_away.pop(agent, None)
        opened, opened_index = self._opened.get(agent, (NO_TOKEN, index))
        if token < opened and self.run.quorums_forget:
            self.skipped += 1
        elif token < opened:
            self.blame(f"{node} opened token {token} after {opened} had been opened", opened_index, index)
        else:
            self._opened[agent] = (token, index)
        home = self.run.cell_of(agent)
        ready = sum(replica in home.replicas for replica in self._readied.get((agent, token), ()))
        if ready < home.quorum:
            self.blame(f"{node} opened token {token} when {ready} replicas had called its predecessor over", index)

    def _judge_memory(self, index: int, replica: str, agent: str, did: str) -> None:
        if replica in self.run.forgetful:
            why = f"{replica} {did} {agent} before it had been taught again what it may have forgotten"
            self.blame(why, self.run.forgetful[replica], index)

    def _judge_promise(self, index: int, replica: str, agent: str, token: Token, did: str) -> None:
        if replica in self.run.custody:
            self.skipped += 1  # a promise that nobody else heard is gone with the disk; one that a quorum heard is learned again
            return
        self.examined += 1
        promised, promised_index = self._promised.get((replica, agent), (NO_TOKEN, index))
        if token < promised:
            self.blame(f"{replica} {did} token {token} of {agent} after it had promised {promised}", promised_index, index)
        elif did == "promised":
            self._promised[replica, agent] = (token, index)

    def _joined(self, index: int, fact: Fact, _agent: str) -> None:
        """It asked after it had started, so whatever was durable at a teacher by then was told. What a teacher lost itself it could not tell."""
        own = self._durable.get(fact.node, {})
        for teacher in fact.body["teachers"]:
            if teacher in self.run.custody:
                self.skipped += 1
                continue
            for agent, promises in self._durable.get(teacher, {}).items():
                told = [each for each in promises if each[1] < self._began.get(fact.node, index)]
                if not told:
                    continue
                self.examined += 1
                token, promised_index = max(told)
                if max(own.get(agent, ()), default=(NO_TOKEN, 0))[0] < token:
                    why = f"{fact.node} vouches again, and does not hold what {teacher} had promised {agent} before it asked, {token}"
                    self.blame(why, promised_index, index)

    def _lease(self, index: int, fact: Fact, agent: str) -> None:
        """Keep, for each token, the latest round that got its quorum."""
        token, rounds = token_of(fact.body["token"]), self._rounds.setdefault(agent, {})
        nonce = fact.body["nonce"]
        if fact.kind == "lease-requested":
            rounds.setdefault(nonce, _Round(token, fact.at_ns, index))
        elif nonce in rounds:
            round_ = rounds[nonce]
            if fact.node in self.run.cell_of(agent).replicas:
                round_.granters.add(fact.node)
            latest = self._leased.get((agent, token))
            if len(round_.granters) >= self.run.cell_of(agent).quorum and (latest is None or latest.at_ns < round_.at_ns):
                self._leased[agent, token] = round_

    def _judge_readied(self, index: int, fact: Fact, agent: str, token: Token) -> None:
        """All on the replica's own clock, of what it granted itself: no drift, and nobody else's wait, hides it."""
        if not any(self.run.sinks.get(sink) != "F" for sink in self.run.agents[agent]["sinks"]):
            return
        wait_ns = self.run.bounds.residue_ns(challenged=bool(self.run.sinks_of(agent, "C")))
        for (owner, earlier), (granted_ns, granted_index) in self._granted.get(fact.node, {}).items():
            if owner != agent or earlier >= token or (agent, earlier) not in self._ran - self._stopped.keys() - self._copied_unrun:
                continue
            self.examined += 1
            measures_from, since_ns = self.run.node(fact.node).measures_from
            waited_ns = fact.clock_ns - (granted_ns if granted_index > measures_from else max(granted_ns, since_ns))
            if waited_ns < wait_ns:
                why = (
                    f"{fact.node} called {agent} over {waited_ns} ns after it had granted token {earlier} a lease; by its clock T4 needs {wait_ns} ns"
                )
                self.blame(why, granted_index, index)

    def _start(self, index: int, fact: Fact, agent: str) -> None:
        self.examined += 1
        token = token_of(fact.body["token"])
        predecessor, predecessor_index = self._started.get(agent, (NO_TOKEN, index))
        self._started[agent] = (token, index)
        if (agent, token) in self._stopped and not self._doubled(agent):
            self.blame(f"{fact.node} started {agent} under token {token}, of which it had proven that it is over", self._stopped[agent, token], index)
        self._ran.add((agent, token))
        open_ = [sink for sink in self.run.sinks_of(agent, "F") if self._fences.get((sink, agent), NO_TOKEN) < token]
        if open_ and not any(sink in self.run.custody for sink in open_):
            self.blame(f"{fact.node} started {agent} under token {token}, and {open_[0]} held no fence at it", index)
        leased = self._leased.get((agent, predecessor))
        if predecessor == NO_TOKEN or leased is None or (agent, predecessor) in self._stopped or self._fenced(agent, predecessor):
            return
        if self._doubled(agent) or any(node in self.run.clock_suspects for node in (f"sidecar/{agent}", *self.run.cell_of(agent).replicas)):
            self.skipped += 1
            return
        waited_ns, wait_ns = fact.at_ns - leased.at_ns, self.run.bounds.declare_ns(challenged=bool(self.run.sinks_of(agent, "C")))
        if waited_ns < wait_ns:
            why = f"{fact.node} started {agent} anew {waited_ns} ns after its predecessor last asked for a lease that it got; that was neither "
            self.blame(why + f"proven stopped nor fenced everywhere, and T4 needs {wait_ns} ns", predecessor_index, leased.index, index)

    def _doubled(self, agent: str) -> bool:
        """Whether two hosts may hold the agent's identity, or quorums forget what they promised (A2): then only fences tell starts apart."""
        return f"sidecar/{agent}" in self.run.custody or self.run.quorums_forget

    def _fenced(self, agent: str, predecessor: Token) -> bool:
        sinks = self.run.agents[agent]["sinks"]
        return all(self.run.sinks.get(sink) == "F" and self._fences.get((sink, agent), NO_TOKEN) > predecessor for sink in sinks)
