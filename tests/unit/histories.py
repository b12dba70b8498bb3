"""Hand-made histories: a story told fact by fact, for trying checkers on what no driver would ever record.

Owns a topology of three replicas and one agent, and short words for the facts that most stories need. Must not know any checker.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from harness.checkers import CHECKERS, Checker, check
from harness.shared.history import VOCABULARY, Fact, History
from harness.verdict import Finding

SECOND = 1_000_000_000
AGENT = "acme/1"
SIDECAR = f"sidecar/{AGENT}"
LEDGER = "sink/acme/ledger"
BANK = "sink/acme/bank"
FIRST = [1, 1, "a"]
SECOND_START = [1, 2, "b"]
SEVERITY = {"ISOLATE": (2, 0), "SOFT": (1, 1), "QUIESCE": (2, 1), "HARD": (2, 2)}
PARAMETERS = {
    "lease_ns": 5 * SECOND, "renew_ns": SECOND, "grace_ns": 30 * SECOND, "grace_max_ns": 300 * SECOND, "challenge_ns": SECOND // 2,
    "drift_ppm": 200_000, "slack_ns": 2 * SECOND, "kill_retry_ns": SECOND // 2, "gossip_ns": SECOND // 2, "stop_timeout_ns": 10 * SECOND,
}  # fmt: skip
# L / (1 - rho) with the lease of 5 s and the drift of 20 %.
HARD_NS = 6_250_000_000
ALLOWED = [True, 1, 1, SECOND, 1]


class Story:
    """A history under construction, of one cell; or of two, the second being home to ``homes``.

    Every word returns the index of the (last) fact that it added; ``at_ns`` is the time of the next one.
    """

    def __init__(
        self, agents: Iterable[str] = (AGENT,), sinks: dict[str, str] | None = None, *, homes: tuple[str, ...] = (), **parameters: int
    ) -> None:
        self.sinks = {LEDGER: "F", BANK: "C"} if sinks is None else sinks
        self.at_ns = 0
        self.facts: list[Fact] = []
        self.say("run-started", "world", scenario="hand-made", seed=0, driver="sim")
        deployed = {agent: {"tenant": agent.partition("/")[0], "labels": ["tier=gold"], "sinks": list(self.sinks)} for agent in agents}
        replicas, abroad = [f"replica/{number}" for number in (1, 2, 3)], [f"replica/{number}" for number in (4, 5, 6)]
        cells = (
            [
                {"replicas": replicas, "quorum": 2, "kill_quorum": 2, "agents": [agent for agent in agents if agent not in homes]},
                {"replicas": abroad, "quorum": 2, "kill_quorum": 2, "agents": list(homes)},
            ]
            if homes
            else []
        )
        self.say(
            "topology", "world", replicas=replicas + abroad if homes else replicas, quorum=2, kill_quorum=2, core=[], cells=cells,
            agents=deployed, sinks=self.sinks, parameters={**PARAMETERS, **parameters},
        )  # fmt: skip

    # -- the teller's own words

    def say(self, kind: str, node: str, *, clock_ns: int | None = None, **body: Any) -> int:
        """Add a fact; its node's clock shows the real time unless told otherwise. Refuses what the vocabulary does not have."""
        assert set(body) == set(VOCABULARY[kind][0]), (kind, sorted(body))
        self.facts.append(Fact(self.at_ns, kind, node, self.at_ns if clock_ns is None else clock_ns, body))
        return len(self.facts) - 1

    def at(self, at_ns: int) -> Self:
        assert at_ns >= self.at_ns
        self.at_ns = at_ns
        return self

    def judged(self, invariant: str, checkers: dict[str, type[Checker]] = CHECKERS) -> Finding:
        return check(History(self.facts), (invariant,), checkers)[0]

    def decide(self, node: str = "replica/1", **fields: Any) -> int:
        """A replica's decision to allow a SOFT order under the deployed policy ``p``, unless it says otherwise."""
        usual = {
            "request": "req", "action": "order", "tenant": "acme", "order": "", "seq": 1, "policy": "p", "canary": "", "input": "i",
            "requested": [1, 1, SECOND], "stable": ALLOWED, "ruling": ALLOWED, "raised": False, "differs": False, "replayed": True, "why": "",
            "asking": 1, "askers": [], "may": True,
        }  # fmt: skip
        return self.say("decision", node, **{**usual, **fields})

    def ask_stop(self, request: str = "req", principal: str = "alice") -> int:
        """A person asks for a hard stop of the agent."""
        gate, life = SEVERITY["HARD"]
        asked: dict[str, Any] = {
            "request": request,
            "principal": principal,
            "tenant": "acme",
            "scope": ["agent", AGENT],
            "gate": gate,
            "life": life,
            "grace_ns": 0,
            "reason": "drill",
            "cleanup": "none",
        }
        return self.say("order-requested", "operator", **asked)

    # -- nodes

    def start(self, *nodes: str, boot: str = "boot-1", instance: str = "a") -> int:
        return [self.say("node-started", node, boot=boot, instance=instance, records=0) for node in nodes][-1]

    def start_all(self) -> int:
        return self.start("replica/1", "replica/2", "replica/3", SIDECAR, LEDGER, BANK)

    def crash(self, node: str, *, power: bool = False) -> int:
        return self.say("node-crashed", node, lost_records=0, power=power)

    def fault(self, what: str, *targets: str, fault: str = "f1") -> int:
        return self.say("fault-on", "world", fault=fault, what=what, target=list(targets))

    def recover(self, node: str, orders: Iterable[str] = (), certificates: Iterable[str] = ()) -> int:
        return self.say("intent-recovered", node, orders=sorted(orders), certificates=sorted(certificates))

    # -- orders and certificates

    def learn(
        self, node: str, order: str, severity: str = "HARD", *, scope: tuple[str, str] = ("agent", AGENT), tenant: str = "acme",
        grace_ns: int = 0, reason: str = "drill", cleanup: str = "none", clock_ns: int | None = None, authentic: bool = True, issuer: str = "alice",
        signer: str = "replica/1", decided: Iterable[Any] = (1, "p", "i"), parent: str = "",
    ) -> int:  # fmt: skip
        gate, life = SEVERITY[severity]
        return self.say(
            "order-learned", node, clock_ns=clock_ns, order=order, tenant=tenant, scope=list(scope), gate=gate, life=life, grace_ns=grace_ns,
            reason=reason, cleanup=cleanup, issuer=issuer, signer=signer, parent=parent, authentic=authentic,
            decided=list(decided),
        )  # fmt: skip

    def keep(self, node: str, order: str) -> int:
        return self.say("order-durable", node, order=order)

    def effective(self, order: str, severity: str = "HARD", **details: Any) -> tuple[int, int]:
        """Learned and made durable by replicas 1 and 2, at one instant; the indices of the two durable copies."""
        copies = []
        for node in ("replica/1", "replica/2"):
            self.learn(node, order, severity, **details)
            copies.append(self.keep(node, order))
        return copies[0], copies[1]

    def certify(self, node: str, certificate: str, *covers: str, authentic: bool = True, approvers: Iterable[str] = ("bob", "carol")) -> int:
        self.say(
            "certificate-learned",
            node,
            certificate=certificate,
            covers=list(covers),
            approvers=list(approvers),
            authentic=authentic,
            tenant="acme",
            scope=["tenant", "acme"],
            policy_seq=1,
        )
        return self.say("certificate-durable", node, certificate=certificate, covers=list(covers))

    def intent(self, node: str, orders: Iterable[str], certificates: Iterable[str] = (), severity: tuple[str, str] = ("OPEN", "ALIVE"),
               digest: str | None = None) -> int:  # fmt: skip
        held, lifting = sorted(orders), sorted(certificates)
        shown = " ".join([*held, "/", *lifting]) if digest is None else digest
        return self.say("intent", node, digest=shown, orders=held, certificates=lifting, gate=severity[0], life=severity[1])

    # -- leases and effects

    def ask(self, nonce: str = "n1", token: list[Any] | None = None, clock_ns: int | None = None) -> int:
        token = token or FIRST
        return self.say("lease-requested", SIDECAR, clock_ns=clock_ns, agent=AGENT, nonce=nonce, token=token, instance=token[2])

    def grant(self, replica: str, nonce: str = "n1", len_ns: int = 5 * SECOND, token: list[Any] | None = None, clock_ns: int | None = None) -> int:
        token = token or FIRST
        return self.say(
            "lease-granted", replica, clock_ns=clock_ns, agent=AGENT, nonce=nonce, replica=replica, token=token, len_ns=len_ns,
        )  # fmt: skip

    def lease(self, nonce: str = "n1", len_ns: int = 5 * SECOND, token: list[Any] | None = None) -> tuple[int, int, int]:
        """A round that replicas 1 and 2 grant at once; the indices of the request and the grants."""
        return (self.ask(nonce, token), self.grant("replica/1", nonce, len_ns, token), self.grant("replica/2", nonce, len_ns, token))

    def admit(self, cls: str = "inflight", key: str = "k1", token: list[Any] | None = None, *, task: str = "t1", sink: str = LEDGER,
              clock_ns: int | None = None) -> int:  # fmt: skip
        token = token or FIRST
        return self.say(
            "effect-admitted", SIDECAR, clock_ns=clock_ns, agent=AGENT, token=token, instance=token[2], task=task, step=1, key=key, cls=cls,
            sink=sink,
        )  # fmt: skip

    def apply(self, sink: str = LEDGER, key: str = "k1", token: list[Any] | None = None, *, cls: str = "inflight", result: str = "r1",
              again: bool = False) -> int:  # fmt: skip
        return self.say("effect-applied", sink, sink=sink, agent=AGENT, token=token or FIRST, key=key, cls=cls, result=result, again=again)

    def fence(self, min_token: list[Any], sink: str = LEDGER) -> int:
        return self.say("fence-durable", sink, sink=sink, agent=AGENT, min_token=min_token, order="")

    # -- enforcement and processes

    def gate(self, gate: str, mode: str = "RUNNING", token: list[Any] | None = None) -> int:
        return self.say("gate-changed", SIDECAR, agent=AGENT, token=token or FIRST, gate=gate, mode=mode)

    def prove(self, order: str, stage: str, token: list[Any] | None = None) -> int:
        return self.say("evidence-sent", SIDECAR, agent=AGENT, token=token or FIRST, order=order, stage=stage)

    def spawn(self, token: list[Any] | None = None) -> int:
        return self.say("process-started", SIDECAR, agent=AGENT, token=token or FIRST)

    def kill(self) -> int:
        return self.say("process-killed", SIDECAR, agent=AGENT, token=FIRST)

    def reap(self, token: list[Any] | None = None) -> int:
        return self.say("process-reaped", SIDECAR, agent=AGENT, token=token or FIRST, code=0, signalled=False)

    # -- tasks

    def work(self, kind: str, task: str = "t1", **fields: Any) -> int:
        """A fact of the agent's journal: ``task-intent``, ``task-result``, ``task-done`` and their like."""
        return self.say(kind, f"agent/{AGENT}", agent=AGENT, task=task, **fields)

    def intend(self, key: str = "k1", task: str = "t1", *, durable: bool = True) -> int:
        index = self.work("task-intent", task, step=1, key=key)
        return self.work("task-intent-durable", task, step=1, key=key) if durable else index

    def save(self, generation: int = 1, lsn: int = 1) -> int:
        return self.say("checkpoint-durable", f"agent/{AGENT}", agent=AGENT, generation=generation, lsn=lsn)

    # -- the end

    def heal(self) -> int:
        return self.say("healed", "world")

    def end(self) -> Story:
        self.say("run-ended", "world", reason="complete")
        return self
