"""L10: after the heal all nodes come to hold the same, replicas the policy and promises as well.

Judged within `Bounds.propagation_ns` of the later of: the heal, the last news, and the last start or resumption of the nodes concerned. A run that
ends before that is over is undecided, unless all had come true already.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.checkers.checker import InvariantChecker
from harness.checkers.delivery import propagated_ns
from harness.checkers.run import Run
from harness.checkers.subjects import Node
from harness.checkers.words import NO_TOKEN, Token, agent_of, is_replica, targets_of, token_of
from harness.shared.history import Fact

KEY_FAULTS = frozenset({"rotate-keys", "revoke-key"})
UNPROMISED = "unpromised"  # why a lease is denied: the replica has not promised the token yet, and can be asked to


@dataclass(slots=True)
class _Answer:
    """What a replica answers an agent's requests for a lease under one token: since when, and last."""

    token: Token
    unpromised: bool
    since_ns: int
    since_index: int
    last_ns: int = 0
    last_index: int = 0


class Convergence(InvariantChecker):
    """L10. At the end, due at max(heal, last news, last start or resumption of any of them) + propagation:

    - all working replicas hold equal sets of orders and certificates, and the same rollout;
    - every working sidecar holds the same uncovered orders for its agent as they do; in a core, what it knows to be lifted by a certificate that no
      replica there holds is uncovered;
    - every working replica of its home cell holds a promise of the token under which an agent asks for leases to whom nothing was ordered that is not
      covered, or of a greater one, or grants;
    - every working node holds the latest keyset that any of them was handed or holds;
    - a replica has heard of what a working sidecar ordered itself, while that one's key is good: nobody else could lift it.

    Sets are compared rather than digests, so that a digest that lies cannot help itself (that equal sets have equal digests is S5). Orders
    that no replica ever learned are local to a sidecar and left out; so are certificates under a key that was revoked meanwhile, owed to nobody.

    Of promises: one that keeps denying a lease and has not promised, or says that it has not, promises by the same time, or the first such answer +
    propagation. Left out are replicas that were handed an order that they may not be able to verify, and those that know one of which they did not
    hear that it is lifted before a key under the certificate was revoked: they promise nothing against it. A denial by one whose disk failed, is
    full, or broke its promise (A2), which doubts its clock, may have forgotten or was caught keeping two logs counts only if it says itself that it
    has not promised. Of keysets, those are left out whose disk is full.

    An instance is a working node, and a working replica that answers a working sidecar at the end.
    """

    invariant = "L10"
    title = "Convergence: after the heal all nodes come to hold the same intent and keyset, and all replicas the same policy and promises"
    kinds = frozenset({"intent", "intent-recovered", "order-learned", "order-quarantined", "rollout-changed", "lease-granted", "lease-denied",
                       "token-promised", "fork-proven", "hostile-input", "order-handed-on", "keyset-installed", "fault-on", "fault-fired",
                       "node-crashed"})  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._last: dict[str, tuple[frozenset[str], frozenset[str], int]] = {}
        self._shared: set[str] = set()
        self._own: dict[str, tuple[str, int, int]] = {}  # order -> the sidecar that gave it to itself, when, and the fact
        self._policies: dict[str, tuple[str, int, int]] = {}  # replica -> rollout in force, its fact, and when
        self._unread: dict[str, set[str]] = {}
        self._answers: dict[tuple[str, str], _Answer] = {}  # agent, replica -> what it answers to the token under which it is asked last
        self._promised: dict[tuple[str, str], Token] = {}  # agent, replica -> the greatest token that it has promised durably
        self._forked: set[str] = set()  # who was caught keeping two logs
        self._keysets: dict[str, tuple[int, int, int]] = {}  # node -> the latest keyset that it was handed or took in, since when, and the fact
        self._installed: dict[str, int] = {}  # node -> the latest that it took in
        self._changes: dict[str, tuple[int, tuple[str, ...]]] = {}  # fault of keys -> the keyset that it brings, and to whom
        self._withholds: set[str] = set()  # who may hold back for the sake of an order that it cannot verify

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind in ("lease-granted", "lease-denied"):
            self._answered(index, fact)
        elif fact.kind == "token-promised":
            about, token = (fact.body["agent"], fact.node), token_of(fact.body["token"])
            self._promised[about] = max(token, self._promised.get(about, NO_TOKEN))
        elif fact.kind == "fork-proven":
            self._forked.add(fact.body["origin"])
        elif fact.kind in ("hostile-input", "order-handed-on"):
            self._withholds.add(fact.node)
        elif fact.kind in ("keyset-installed", "fault-on", "fault-fired"):
            self._keys_changed(index, fact)
        elif fact.kind == "node-crashed":
            self._keysets.pop(fact.node, None)  # it may have been on no disk yet
        elif fact.kind == "order-learned":
            if is_replica(fact.node):
                self._shared.add(fact.body["order"])
            elif fact.body["signer"] == fact.node and fact.body["authentic"]:
                self._own[fact.body["order"]] = (fact.node, fact.at_ns, index)
        elif fact.kind == "rollout-changed":
            self._policies[fact.node] = (fact.body["record"], index, fact.at_ns)
        elif fact.kind == "order-quarantined":
            self._unread.setdefault(fact.node, set()).add(fact.body["order"])
        else:
            self._last[fact.node] = (frozenset(fact.body["orders"]), frozenset(fact.body["certificates"]), index)

    def _answered(self, index: int, fact: Fact) -> None:
        about, token = (fact.body["agent"], fact.node), token_of(fact.body["token"])
        unpromised = fact.kind == "lease-denied" and (fact.body["why"] == UNPROMISED or self._lacks(fact.node, about, token))
        answer = self._answers.get(about)
        if answer is None or (answer.token, answer.unpromised) != (token, unpromised):
            answer = self._answers[about] = _Answer(token, unpromised, fact.at_ns, index)
        answer.last_ns, answer.last_index = fact.at_ns, index

    def _lacks(self, replica: str, about: tuple[str, str], token: Token) -> bool:
        """Whether a replica that nothing keeps from promising a token has promised neither it nor a greater one, whatever it says itself."""
        node, run = self.run.node(replica), self.run
        kept = node.disk_failed or node.disk_full or node.doubts or replica in self._forked or replica in run.forgetful or replica in run.custody
        return not kept and self._promised.get(about, NO_TOKEN) < token

    def _keys_changed(self, index: int, fact: Fact) -> None:
        """Each fault of keys signs one more keyset; that it fired says that it was handed over."""
        if fact.kind == "fault-on":
            if fact.body["what"] in KEY_FAULTS:
                self._changes[fact.body["fault"]] = (len(self._changes) + 2, targets_of(fact.body["target"]))
            return
        version, nodes = self._changes.get(fact.body.get("fault", ""), (0, ()))
        if fact.kind == "keyset-installed":
            version, nodes = fact.body["version"], (fact.node,)
            self._installed[fact.node] = max(version, self._installed.get(fact.node, 0))
        for node in nodes:
            if self.run.node(node).up:
                self._keysets[node] = max(self._keysets.get(node, (0, 0, 0)), (version, fact.at_ns, index), key=lambda each: each[0])

    def _judge_keysets(self) -> None:
        run = self.run
        nodes = [run.node(node) for node in (*run.replicas, *(f"sidecar/{agent}" for agent in run.agents))]
        works = [node for node in nodes if node.works and not node.disk_full and node.node not in run.custody]
        held = [self._keysets[node.node] for node in works if is_replica(node.node) and node.node in self._keysets]
        due_ns = propagated_ns(run, *(at_ns for _, at_ns, _ in held), *(node.since_ns for node in works)) if held else None
        if due_ns is None or due_ns > run.end_ns:
            return
        version, _, index = max(held)
        for node in works:
            self.examined += 1
            if self._installed.get(node.node, 1) < version:
                self.blame(f"{node.node} never took in keyset {version}, which root keys signed and a replica was handed", index)

    def settle(self) -> None:
        self._judge_promises()
        self._judge_keysets()
        self._judge_own()
        replicas = [self.run.node(replica) for replica in self.run.replicas if self.run.node(replica).works]
        sidecars = [self.run.sidecar(agent) for agent in self.run.agents if self.run.sidecar(agent).works]
        if not replicas or self.run.quorums_forget:
            self.skipped += bool(replicas)
            return
        self.examined += len(replicas) + len(sidecars)
        apart = self._apart(replicas) or self._astray(replicas[0]) or self._at_odds(replicas)
        if apart is None:
            return
        why, witness = apart
        rolled_ns = max((at_ns for _, _, at_ns in self._policies.values()), default=0)
        due_ns = propagated_ns(self.run, self.run.news_ns, rolled_ns, *(node.since_ns for node in replicas + sidecars))
        if due_ns is None or self.run.end_ns < due_ns:
            self.leave_undecided(f"{why}, but the run ended before they had to agree")
        else:
            self.blame(why, *witness)

    def _judge_own(self) -> None:
        run = self.run
        for order, (sidecar, at_ns, index) in self._own.items():
            node = run.node(sidecar)
            replicas = [run.node(replica) for replica in run.cell_of(agent_of(sidecar)).replicas if run.node(replica).works]
            known = node.works and order in node.durable and order not in run.covered and sidecar not in run.revoked
            due_ns = propagated_ns(run, at_ns, *(each.since_ns for each in (node, *replicas))) if known and replicas else None
            if due_ns is not None and due_ns <= run.end_ns and sidecar not in run.custody:
                self.examined += 1
                if order not in self._shared:
                    self.blame(f"{sidecar} ordered {order[:12]} itself, and no replica ever heard of it", index)

    def _judge_promises(self) -> None:
        run = self.run
        for (agent, replica), answer in self._answers.items():
            nodes = (run.sidecar(agent), run.node(replica))
            held = run.quorums_forget or replica in self._withholds or any(order.order not in run.covered for order in run.orders_of[agent])
            if (
                held
                or self._is_lifted_by_void_only(nodes[1], agent)
                or replica not in run.cell_of(agent).replicas
                or not all(node.works for node in nodes)
            ):
                continue
            due_ns = propagated_ns(run, run.news_ns, answer.since_ns, *(node.since_ns for node in nodes))
            if due_ns is None or answer.last_ns <= due_ns:
                continue
            self.examined += 1
            if answer.unpromised:
                why = f"{replica} still denies {agent} a lease under {answer.token}, which it has not promised"
                self.blame(why, answer.since_index, answer.last_index)

    def _is_lifted_by_void_only(self, node: Node, agent: str) -> bool:
        """Whether a node has to enforce an order still, though it is lifted where its certificate came in time: that is owed to nobody any more."""
        run = self.run
        owed = run.covered_by(each for each in run.covers if each not in run.forged and not run.is_void(each))
        return any(order.order not in owed for order, _ in run.in_force(node, agent))

    def _held(self, node: Node) -> tuple[frozenset[str], frozenset[str], int]:
        orders, certificates, index = self._last.get(node.node, (frozenset(), frozenset(), node.started_index or 0))
        return orders, frozenset(each for each in certificates if not self.run.is_void(each)), index

    def _apart(self, replicas: list[Node]) -> tuple[str, tuple[int, ...]] | None:
        """The first replica that holds another set than the first one."""
        first = self._held(replicas[0])
        for node in replicas[1:]:
            held = self._held(node)
            if held[:2] != first[:2]:
                return f"{replicas[0].node} and {node.node} hold different intent", (first[2], held[2])
        return None

    def _at_odds(self, replicas: list[Node]) -> tuple[str, tuple[int, ...]] | None:
        """The first replica under another policy than the first one; until the first rollout all are under the one that was deployed."""
        first = self._policies.get(replicas[0].node, ("", 0, 0))
        for node in replicas[1:]:
            own = self._policies.get(node.node, ("", 0, 0))
            if own[0] != first[0]:
                return f"{replicas[0].node} and {node.node} decide under different policies", tuple(index for index in (first[1], own[1]) if index)
        return None

    def _astray(self, replica: Node) -> tuple[str, tuple[int, ...]] | None:
        """The first sidecar whose uncovered orders are not those of the replicas."""
        told = self._held(replica)
        in_force = told[0] - self.run.covered_by(told[1])
        for agent in self.run.agents:
            sidecar = self.run.sidecar(agent)
            held = self._held(sidecar)
            lifting = held[1] & told[1] if self.run.goes_on else held[1]  # no sidecar hands certificates in, so a core need not have them
            own = (held[0] - self.run.covered_by(lifting)) & self._shared
            due = {order for order in in_force if agent in self.run.orders[order].agents} - self._unread.get(sidecar.node, set())
            if sidecar.works and own != due:
                return f"{sidecar.node} and the replicas hold different orders in force for {agent}", (told[2], held[2])
        return None
