"""S13: nobody's intent holds what nobody was entitled to say."""

from __future__ import annotations

from harness.checkers.checker import InvariantChecker
from harness.history import Fact


class AuthZ(InvariantChecker):
    """S13. Every order and certificate that a node takes in is authentic by the world's own keyring: signed for exactly this, by keys that may
    say it, a certificate by M distinct approvers. An instance is an order or certificate taken in by a node.
    """

    invariant = "S13"
    title = "AuthZ: every order and certificate that a node takes in was signed by those who may"
    kinds = frozenset({"order-learned", "certificate-learned"})

    def see(self, index: int, fact: Fact) -> None:
        self.examined += 1
        if not fact.body["authentic"]:
            what = "order" if fact.kind == "order-learned" else "certificate"
            self.blame(f"{fact.node} took in {what} {fact.body[what][:12]}, which is not authentic", index)
