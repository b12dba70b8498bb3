"""S2 and S9: what sinks took. A fence holds, a challenge bounds, and a key is applied once.

Judged at the sinks, where effects become real: no clock, lease or word of a sidecar is trusted for class F.
"""

from __future__ import annotations

from harness.checkers.bounds import FENCE_ARRIVES_NS, HOST_LAG_NS, stretch
from harness.checkers.checker import InvariantChecker
from harness.checkers.run import Run
from harness.checkers.subjects import Order
from harness.checkers.words import CLOSED, KILL, LINK_FAULTS, NEW, NO_TOKEN, OPEN, STOP, UNDO, WALL_FAULTS, Token, is_replica, targets_of, token_of
from harness.shared.history import Fact


class SinkBound(InvariantChecker):
    """S2 (T3). Class F: once a sink durably holds min_token for an agent, it applies nothing of a lower token; and that fence comes: nothing
    of a token that an untouched replica had promised before it learned an order of KILL is applied later than T1 + 4 gossip periods + 2 s
    after the order was effective and known there, at a sink that no fault kept from its replicas. Class C: nothing is applied
    later than T1 + P/(1-rho) after an effective, uncovered order that forbids it; nor, with an order or without, later than P after the last
    challenge for its key, by the sink's own clock; and no challenge is issued twice, or an answer to the first would do for the second. Class U
    has no bound that could be broken.

    An answer repeated for a key that was applied before is no application. An application is a fact only once it is durable: class C gets a
    second more for that, and is skipped where a fault touched the sink, or a clock that T1 leans on was broken (T5), or quorums may have forgotten
    (A2). An instance is an application at a class F sink with a fence, or with a fence due, or at class C under an effective order or a challenge.
    """

    invariant = "S2"
    title = "SinkBound: sinks apply nothing below their fence (F), and nothing after the bound of T3 (C)"
    kinds = frozenset(
        {"fence-durable", "effect-applied", "challenge-issued", "token-promised", "fault-on", "node-crashed", "node-paused", "disk-failed"}
    )

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._nonces: dict[tuple[str, str], int] = {}  # (sink, nonce of a challenge) -> the fact
        self._fences: dict[tuple[str, str], tuple[Token, int]] = {}
        self._promised: dict[tuple[str, str], list[tuple[Token, int]]] = {}
        self._disturbed: set[str] = set()
        self._challenges: dict[tuple[str, str], tuple[int, int]] = {}  # (sink, key) -> the sink's clock at its last challenge, and the fact

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind not in ("fence-durable", "effect-applied"):
            self._note(index, fact)
            return
        sink, agent = fact.body["sink"], fact.body["agent"]
        if sink in self.run.custody:
            self.skipped += 1
        elif fact.kind == "fence-durable":
            fence = (token_of(fact.body["min_token"]), index)
            self._fences[sink, agent] = max(fence, self._fences.get((sink, agent), (NO_TOKEN, index)))
        elif not fact.body["again"]:
            if self.run.sinks[sink] == "F":
                self._judge_fence(index, fact, sink, agent)
                for order in self.run.orders_of[agent]:
                    self._judge_fence_due(index, fact, agent, order)
            elif self.run.sinks[sink] == "C":
                self._judge_age(index, fact, sink)
                for order in self.run.orders_of[agent]:
                    self._judge_challenge(index, fact, agent, order)

    def _judge_fence(self, index: int, fact: Fact, sink: str, agent: str) -> None:
        fence = self._fences.get((sink, agent))
        if fence is None:
            return
        self.examined += 1
        token = token_of(fact.body["token"])
        if token < fence[0]:
            self.blame(f"{sink} applied an effect of {agent} under token {token}, below its fence {fence[0]}", fence[1], index)

    def _note(self, index: int, fact: Fact) -> None:
        """Who promised which token; and which sinks replicas may not have reached. A fault on the links from sidecars alone leaves fences alone."""
        if fact.kind == "token-promised":
            self._promised.setdefault((fact.node, fact.body["agent"]), []).append((token_of(fact.body["token"]), index))
        elif fact.kind == "challenge-issued":
            self._challenges[fact.node, fact.body["key"]] = (fact.clock_ns, index)
            first = self._nonces.setdefault((fact.node, fact.body["nonce"]), index)
            if first != index:
                self.blame(f"{fact.node} challenged with a nonce that it had used before", first, index)
        elif fact.kind == "fault-on" and fact.body["what"] in WALL_FAULTS:
            return  # a wall clock is read for stamps of records alone
        elif fact.kind == "fault-on":
            targets = targets_of(fact.body["target"])
            from_sidecars = any(node.startswith("sidecar/") for node in targets) and not any(is_replica(node) for node in targets)
            if fact.body["what"] not in LINK_FAULTS or not from_sidecars:
                self._disturbed.update(targets)
        else:
            self._disturbed.add(fact.node)

    def _judge_fence_due(self, index: int, fact: Fact, agent: str, order: Order) -> None:
        effective_ns = order.effective_in(self.run.home(agent))
        if effective_ns is None or order.life != KILL or self.run.lifted(order, agent) or fact.node in self._disturbed:
            return
        token = token_of(fact.body["token"])
        for replica in self.run.cell_of(agent).replicas:
            learned = self.run.node(replica).known.get(order.order)
            promised = any(held >= token and since < learned.index for held, since in self._promised.get((replica, agent), ())) if learned else False
            if learned is None or not promised or replica in self.run.touched:
                continue
            self.examined += 1
            bounds = self.run.bounds
            limit_ns = bounds.hard_ns + stretch(4 * bounds.gossip_ns, bounds.drift_ppm) + FENCE_ARRIVES_NS
            elapsed_ns = fact.at_ns - max(learned.at_ns, effective_ns)
            if elapsed_ns > limit_ns:
                why = f"{fact.node} applied an effect of {agent} {elapsed_ns} ns after {order.severity} {order.order[:12]}, which {replica} had to "
                self.blame(why + f"fence off there within {limit_ns} ns", *order.proof(), learned.index, index)

    def _judge_age(self, index: int, fact: Fact, sink: str) -> None:
        """All by one clock, so that no drift of it needs an exemption; which challenge was answered is not told, so the last one counts."""
        challenge = self._challenges.get((sink, fact.body["key"]))
        if challenge is None or sink in self._disturbed:
            return
        self.examined += 1
        issued_ns, issued = challenge
        age_ns, limit_ns = fact.clock_ns - issued_ns, self.run.bounds.challenge_ns + HOST_LAG_NS
        if age_ns > limit_ns:
            why = f"{sink} applied key {fact.body['key']} {age_ns} ns after its challenge, which was good for {self.run.bounds.challenge_ns} ns"
            self.blame(why, issued, index)

    def _judge_challenge(self, index: int, fact: Fact, agent: str, order: Order) -> None:
        effective_ns = order.effective_in(self.run.home(agent))
        if effective_ns is None or order.gate == OPEN or self.run.lifted(order, agent):
            return
        bounds = self.run.bounds
        new = fact.body["cls"] == NEW
        if not new and order.gate != CLOSED and order.life < STOP:
            return
        if self.run.clock_suspect(order, agent) or fact.node in self.run.touched:
            self.skipped += 1
            return
        if self.run.quorums_forget:
            self.skipped += 1
            return
        self.examined += 1
        stop_ns = bounds.hard_ns if new or order.gate == CLOSED else bounds.soft_ns(order.grace_ns)
        elapsed_ns, limit_ns = fact.at_ns - effective_ns, stop_ns + bounds.challenge_residue_ns + HOST_LAG_NS
        self.measure(elapsed_ns, limit_ns)
        if elapsed_ns > limit_ns:
            why = f"{fact.body['sink']} applied an effect of {agent} {elapsed_ns} ns after {order.severity} {order.order[:12]} became effective; "
            self.blame(why + f"T3 allows {limit_ns} ns", *order.proof(), index)


class ExactlyOnce(InvariantChecker):
    """S9. A class F sink applies each key of an agent at most once, and answers a retry with the first result; and each step of a task at most
    once, under whatever key: a step done again has the key that it had. And no agent writes down that an effect was applied before a
    sink, of any class, durably holds it: what was answered too early may be gone. And nothing is sent to a class U sink twice, unless the sink
    refused it: it keeps no keys, so each time may count. An instance is a key at a class F sink, one sent to class U, or a result.

    A sink whose disk lied, or lost what it held, is skipped (A2). Cannot see: a sink that answers from memory for a key whose first application the
    history does not hold.
    """

    invariant = "S9"
    title = "ExactlyOnce: class F sinks apply each key and each step once and answer retries alike; what is answered as applied is durable"
    kinds = frozenset({"effect-applied", "effect-admitted", "effect-rejected", "task-result", "task-intent"})

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._results: dict[tuple[str, str, str], tuple[object, int]] = {}
        self._applied: set[tuple[str, str]] = set()
        self._meant: dict[tuple[str, str], tuple[str, int]] = {}  # (agent, key) -> (task, step)
        self._sent: dict[tuple[str, str, str], int] = {}  # (sink of class U, agent, key) -> index
        self._steps: dict[tuple[str, str, str, int], int] = {}

    def see(self, index: int, fact: Fact) -> None:
        body = fact.body
        if fact.kind == "task-result":
            self._judge_result(index, fact)
            return
        if fact.kind == "task-intent":
            self._meant[body["agent"], body["key"]] = (body["task"], body["step"])
            return
        if fact.kind != "effect-applied":
            self._judge_sending(index, fact)
            return
        self._applied.add((body["agent"], body["key"]))
        if body["sink"] in self.run.custody:
            self.skipped += 1
            return
        if self.run.sinks[body["sink"]] != "F":
            return
        key = (body["sink"], body["agent"], body["key"])
        first = self._results.get(key)
        if first is None:
            if not body["again"]:
                self.examined += 1
                self._results[key] = (body["result"], index)
                if body["cls"] != UNDO:  # what is undone took place before
                    self._judge_step(index, key)
        elif not body["again"]:
            self.blame(f"{body['sink']} applied key {body['key']} of {body['agent']} twice", first[1], index)
        elif body["result"] != first[0]:
            self.blame(f"{body['sink']} answered a retry of key {body['key']} with another result", first[1], index)

    def _judge_sending(self, index: int, fact: Fact) -> None:
        agent, key = fact.body["agent"], (fact.body["sink"], fact.body["agent"], fact.body["key"])
        if self.run.sinks[key[0]] != "U" or not self.run.custody.keys().isdisjoint((f"sidecar/{agent}", f"agent/{agent}")):
            return
        if fact.kind == "effect-rejected":
            self._sent.pop(key, None)
            return
        self.examined += 1
        if self._sent.setdefault(key, index) != index:
            self.blame(f"{fact.node} sent key {key[2]} to {key[0]} twice, which keeps no keys", self._sent[key], index)

    def _judge_step(self, index: int, key: tuple[str, str, str]) -> None:
        sink, agent, _ = key
        meant = self._meant.get((agent, key[2]))
        if meant is None:
            return
        first = self._steps.setdefault((sink, agent, *meant), index)
        if first != index:
            self.blame(f"{sink} applied step {meant[1]} of task {meant[0]} of {agent} twice, under two keys", first, index)

    def _judge_result(self, index: int, fact: Fact) -> None:
        agent, key = fact.body["agent"], fact.body["key"]
        if fact.body["status"] != "APPLIED":
            return
        self.examined += 1
        if (agent, key) not in self._applied:
            self.blame(f"{agent} was told that key {key} of task {fact.body['task']} took place, and no sink durably holds it", index)
