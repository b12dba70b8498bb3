"""S14, as far as a single run shows it: nothing of one tenant reaches another."""

from __future__ import annotations

from harness.checkers.checker import InvariantChecker
from harness.checkers.handed import Handed
from harness.checkers.run import Run
from harness.checkers.words import agent_of
from harness.shared.history import Fact


class TenantNI(InvariantChecker):
    """S14 (protocol 3.2, 3.5, 3.7). An order of one tenant enters no sidecar of another, is proven for no agent of another, and no agent has an
    effect at another tenant's sink. Global orders concern everybody. An instance is an order at a sidecar, a proof, or an effect.

    And no sidecar is as much as shown an order or a certificate of another tenant, whether it makes something of it or not: why others were stopped
    is not for it to know. What somebody made up in a replica's name is nobody's secret.

    Tenants are compared whole: ``acme`` is not ``acme2``. Cannot see: one tenant's traffic that merely delays another's; that takes two runs.
    """

    invariant = "S14"
    title = "TenantNI: nothing of one tenant reaches another"
    kinds = frozenset({"order-learned", "evidence-sent", "effect-applied", "foreign-news", *Handed.KINDS})

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._handed = Handed()

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind in Handed.KINDS:
            self._handed.see(fact)
        elif fact.kind == "foreign-news":
            self._judge_news(index, fact)
        elif fact.kind == "effect-applied":
            self._compare(index, tenant_of(fact.body["agent"]), fact.node.split("/")[1], f"an effect of {fact.body['agent']} at {fact.node}")
        elif fact.kind == "evidence-sent":
            order = self.run.orders.get(fact.body["order"])
            if order is not None and order.tenant:
                self._compare(index, order.tenant, tenant_of(fact.body["agent"]), f"order {order.order[:12]} proven for {fact.body['agent']}")
        elif fact.node.startswith("sidecar/") and fact.body["tenant"] and fact.body["scope"][0] != "global":
            self._compare(index, fact.body["tenant"], tenant_of(agent_of(fact.node)), f"order {fact.body['order'][:12]} at {fact.node}")

    def _judge_news(self, index: int, fact: Fact) -> None:
        sender, what = fact.body["sender"], f"{fact.body['what']} {fact.body['id'][:12]}"
        if self._handed.may_have_brought(fact, sender):
            self.skipped += 1
        else:
            self._compare(index, fact.body["tenant"], tenant_of(agent_of(fact.node)), f"{what}, which {sender} showed to {fact.node}")

    def _compare(self, index: int, one: str, other: str, what: str) -> None:
        self.examined += 1
        if one != other:
            self.blame(f"tenant {one} reached tenant {other}: {what}", index)


def tenant_of(agent: str) -> str:
    return agent.partition("/")[0]
