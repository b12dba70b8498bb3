"""Why a sidecar stops its agent (L5): an order, also one that reached it unread, or a token that has no future.

Owns the reasons. Must not know whether the stop is done well, nor how soon it is due.
"""

from __future__ import annotations

from harness.checkers.checker import InvariantChecker
from harness.checkers.words import NO_TOKEN, STOP, Token, agent_of, life_of, token_of
from harness.shared.history import Fact


class Reasons:
    """Shown every fact of ``KINDS`` by the checker that it blames through."""

    KINDS = frozenset({
        "node-started", "token-opened", "promised-away", "fence-durable", "prohibition-arrived", "hostile-input", "floor-held", "process-started",
        "process-termed", "process-killed",
    })  # fmt: skip

    def __init__(self, checker: InvariantChecker) -> None:
        self._checker = checker
        self._run = checker.run
        self._running: dict[str, tuple[Token, int]] = {}  # agent -> what its sidecar started since that started, and the fact
        self._away: dict[str, set[str]] = {}  # agent -> replicas that have promised a greater token than that which it opened last
        self._fences: dict[str, Token] = {}  # agent -> the greatest that any sink holds
        self._unread: dict[str, int] = {}  # agent -> the gravest life of what reached its sidecar unread since that started
        self._deceived: set[str] = set()  # agents whose sidecar was since then handed what somebody made up: of that its own view has to do
        self._asked: set[str] = set()

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind in ("node-started", "prohibition-arrived", "hostile-input"):
            if fact.node.startswith("sidecar/"):
                self._befell(fact, agent_of(fact.node))
            return
        agent = fact.body["agent"]
        match fact.kind:
            case "token-opened":
                self._away.pop(agent, None)
            case "promised-away":
                away, replica = self._away.setdefault(agent, set()), fact.body["replica"]
                away.discard(replica)
                if token_of(fact.body["promised"]) > token_of(fact.body["token"]):
                    away.add(replica)
            case "fence-durable":
                self._fences[agent] = max(token_of(fact.body["min_token"]), self._fences.get(agent, NO_TOKEN))
            case "floor-held":
                if agent in self._deceived:
                    self._unread[agent] = max(life_of(fact.body["all"][1]), self._unread.get(agent, 0))
            case "process-started":
                self._running[agent] = (token_of(fact.body["token"]), index)
                self._asked.discard(agent)
            case _:
                self._stops(index, fact, agent)

    def _befell(self, fact: Fact, agent: str) -> None:
        """A sidecar started, which knows of nothing yet; or was handed an order that it may not read, or something made up."""
        if fact.kind == "node-started":
            for of in (self._running, self._away, self._unread):
                of.pop(agent, None)
            self._asked.discard(agent)
            self._deceived.discard(agent)
        elif fact.kind == "hostile-input":
            self._deceived.add(agent)
        elif fact.body["order"] in self._run.orders:
            self._unread[agent] = max(self._run.orders[fact.body["order"]].life, self._unread.get(agent, 0))

    def _stops(self, index: int, fact: Fact, agent: str) -> None:
        """What is killed after it was asked to stop, was asked for a reason; and what an earlier sidecar left has nobody to go on for."""
        token, started = self._running.get(agent, (NO_TOKEN, index))
        if token != token_of(fact.body["token"]) or agent in self._asked:
            return
        self._asked.add(agent)
        self._checker.examined += 1
        if not (self._is_ordered(fact.node, agent) or (fact.kind == "process-termed" and self._is_shut_out(agent, token))):
            what = "asked to stop" if fact.kind == "process-termed" else "killed"
            why = f"{agent} was {what} under token {token}, though nothing known to {fact.node} asks for a stop"
            self._checker.blame(f"{why}, and a quorum and every sink would have gone on with it", started, index)

    def _is_ordered(self, sidecar: str, agent: str) -> bool:
        return self._unread.get(agent, 0) >= STOP or any(order.life >= STOP for order, _ in self._run.in_force(self._run.node(sidecar), agent))

    def _is_shut_out(self, agent: str, token: Token) -> bool:
        home = self._run.cell_of(agent)
        promised_away = len(self._away.get(agent, set()) & set(home.replicas)) > len(home.replicas) - home.quorum
        return promised_away or self._fences.get(agent, NO_TOKEN) > token
