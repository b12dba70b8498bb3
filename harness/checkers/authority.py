"""S13: nobody's intent holds what nobody was entitled to say."""

from __future__ import annotations

from harness.checkers.checker import InvariantChecker
from harness.history import Fact


class AuthZ(InvariantChecker):
    """S13. Every order and certificate that a node takes in is authentic by the world's own keyring: signed for exactly this, by keys that may
    say it, a certificate by M distinct approvers whom the keyset of that node has not revoked, a change of the keyset by enough root keys. An
    instance is an order, certificate or change taken in by a node. That a certificate lifts nothing beyond its tenant and scope is S7's.
    """

    invariant = "S13"
    title = "AuthZ: every order and certificate that a node takes in was signed by those who may"
    kinds = frozenset({"order-learned", "certificate-learned", "keyset-installed"})

    def see(self, index: int, fact: Fact) -> None:
        self.examined += 1
        if not fact.body["authentic"]:
            if fact.kind == "keyset-installed":
                what = f"keyset {fact.body['version']}"
            else:
                kind = fact.kind.removesuffix("-learned")
                what = f"{kind} {fact.body[kind][:12]}"
            self.blame(f"{fact.node} took in {what}, which is not authentic", index)
