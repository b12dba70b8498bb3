"""S13: nobody's intent holds what nobody was entitled to say."""

from __future__ import annotations

from harness.checkers.bounds import MS_NS
from harness.checkers.checker import InvariantChecker
from harness.checkers.handed import Handed
from harness.checkers.run import Run
from harness.checkers.words import Token, is_replica, token_of
from harness.shared.history import Fact

ALIVE = 0
GUARD = "guard"  # who asked for a rollout back, when nobody did
FIRST_KEYSET = 1
Proof = tuple[str, str, str, Token]  # order, agent, stage, start


def _proof(fact: Fact) -> Proof:
    return fact.body["order"], fact.body["agent"], fact.body["stage"], token_of(fact.body["token"])


class AuthZ(InvariantChecker):
    """S13. Nobody's intent holds what nobody was entitled to say.

    - Every order and certificate that a node takes in is authentic by the world's own keyring: signed for exactly this, by keys that may say it, a
      certificate by M distinct approvers whom the keyset of that node has not revoked, a change of the keyset by enough root keys, a policy and
      its rollout by a replica's key that this keyset has not revoked either; and no change of the keyset is left out. Nor does a replica take in
      a proof of a sidecar whose key it knows to be revoked.
    - A certificate is let in by the first replica no later than ``approval_ns`` of real time after a replica first showed its draft; what was let in
      in time may spread for ever. Skipped where that replica's clock was broken (T5), and where it came with what somebody made up in a peer's name.
      By whatever clock, none is let in by a replica that has said that it doubts its own, until that is over: it cannot tell any age. Nor is one let
      in that no replica drafted: it has no end that is still to come. And no sidecar takes one in that no replica let in: nobody else vouches for
      its age.
    - Where a policy demands several keys of a stop, a decision counts no more of them than there are distinct people who may ask for it and signed
      exactly that; and what is stopped, and not merely isolated, has as many.

    - A stop, the draft of a resume or a step of a rollout that a replica allows was asked for at the operator's client, and a stop or draft by
      somebody who may ask for it.
    - What a sink applies for an agent that agent's own sidecar let out. Skipped where that sidecar died, which may take what it had not yet told of
      along, or where two hosts have its name. Likewise a proof that a replica takes in was given by that agent's sidecar, of that start.

    An instance is an order, certificate, change, policy, rollout or proof taken in by a node, a decision on what people ask for, or an
    application. That a certificate lifts nothing beyond its tenant and scope is S7's, that as many are demanded as policy says S21's.
    """

    invariant = "S13"
    title = "AuthZ: every order and certificate that a node takes in was signed by those who may"
    kinds = frozenset({"order-learned", "certificate-learned", "keyset-installed", "decision", "draft-sent",
                       "order-requested", "resume-requested", "rollout-requested", "rollout-durable", "policy-installed", "evidence-taken",
                       "evidence-sent",
                       "effect-admitted", "effect-applied", "node-crashed", *Handed.KINDS})  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._drafted: dict[str, tuple[int, int]] = {}  # certificate -> when its draft was first shown, index of that fact
        self._let_in: dict[str, int] = {}  # certificate -> index of the fact by which the first replica let it in
        self._unvouched: dict[str, int] = {}  # certificate -> index of the fact by which a sidecar first took it in
        self._handed = Handed()
        self._let_out: set[tuple[str, str]] = set()  # agent and key of what its sidecar let out
        self._applied: dict[tuple[str, str], int] = {}  # of what a sink applied, and it had not let out by then
        self._proven: set[Proof] = set()  # what sidecars gave
        self._taken: dict[Proof, int] = {}  # and replicas took in, at the first such fact
        self._died: set[str] = set()
        self._asked = {GUARD}  # requests of people
        self._granted: dict[str, int] = {}  # request -> index of the first fact by which a replica went along with it
        self._keysets: dict[str, tuple[int, int]] = {}  # node -> its latest keyset, and since which fact
        self._revoked: dict[tuple[str, str], int] = {}  # node and key that is revoked in its keyset -> since which fact

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind == "effect-admitted":
            self._let_out.add((fact.body["agent"], fact.body["key"]))
        elif fact.kind == "effect-applied":
            self.examined += 1
            effect = (fact.body["agent"], fact.body["key"])
            if effect not in self._let_out:
                self._applied.setdefault(effect, index)
        elif fact.kind in Handed.KINDS:
            self._handed.see(fact)
            if fact.kind == "node-crashed":
                self._died.add(fact.node)
        elif fact.kind == "decision":
            self._decision(index, fact)
            self._several_keys(index, fact)
        elif fact.kind in ("order-requested", "resume-requested", "rollout-requested"):
            self._asked |= {fact.body["request"], f"{fact.body['principal']}/{fact.body['request']}"}
        elif fact.kind == "rollout-durable":
            self._granted.setdefault(fact.body["request"], index)
            self._authentic(f"rollout {fact.body['seq']} to {fact.body['stage']}", index, fact)
        elif fact.kind == "policy-installed":
            self._authentic(f"policy {fact.body['policy'][:12]}", index, fact)
        elif fact.kind == "evidence-sent":
            self._proven.add(_proof(fact))
        elif fact.kind == "evidence-taken":
            self.examined += 1
            self._taken.setdefault(_proof(fact), index)
            since = self._revoked.get((fact.node, f"sidecar/{fact.body['agent']}"))
            if since is not None:
                self.blame(f"{fact.node} took in a proof of {fact.body['agent']} under a key that was revoked there", since, index)
        elif fact.kind == "draft-sent":
            self._drafted.setdefault(fact.body["certificate"], (fact.at_ns, index))
        else:
            self._taken_in(index, fact)

    def see_twin(self, _index: int, fact: Fact) -> None:
        if fact.kind == "evidence-sent":
            self._proven.add(_proof(fact))

    def settle(self) -> None:
        """Facts of several nodes may be told in another order than they came in, so this is asked at the end."""
        for request, index in self._granted.items():
            if request not in self._asked:
                self.blame(f"a replica went along with {request}, for which nobody had asked", index)
        for proof, index in self._taken.items():
            sidecar = f"sidecar/{proof[1]}"
            if proof not in self._proven and (sidecar in self._died or sidecar in self.run.doubled):
                self.skipped += 1
            elif proof not in self._proven:
                self.blame(f"a replica took in a proof of {proof[2]} of {proof[1]}, whose sidecar never gave it", index)
        for certificate, index in self._let_in.items():
            if certificate not in self._drafted:
                self.blame(f"certificate {certificate[:12]} was let in, and no replica had drafted it", index)
        for certificate, index in self._unvouched.items():
            if certificate not in self._let_in:
                self.blame(f"a sidecar took in certificate {certificate[:12]}, which no replica had let in", index)
        for (agent, key), index in self._applied.items():
            sidecar = f"sidecar/{agent}"
            if sidecar in self._died or sidecar in self.run.doubled:
                self.skipped += 1
            elif (agent, key) not in self._let_out:
                self.blame(f"a sink applied {key} for {agent}, whose sidecar never let it out", index)

    def _taken_in(self, index: int, fact: Fact) -> None:
        kind = fact.kind.removesuffix("-learned")
        if fact.kind == "keyset-installed":
            self._follows(index, fact)
            self._authentic(f"keyset {fact.body['version']}", index, fact)
        elif self._authentic(f"{kind} {fact.body[kind][:12]}", index, fact) and fact.kind == "certificate-learned":
            self._age(index, fact)

    def _authentic(self, what: str, index: int, fact: Fact) -> bool:
        """Whether what was taken in is; blamed if not."""
        self.examined += 1
        authentic: bool = fact.body["authentic"]
        if not authentic:
            self.blame(f"{fact.node} took in {what}, which is not authentic", index)
        return authentic

    def _follows(self, index: int, fact: Fact) -> None:
        """What a change in between revoked would go on counting."""
        version = fact.body["version"]
        before, installed = self._keysets.get(fact.node, (FIRST_KEYSET, index))
        if version > before + 1:
            self.blame(f"{fact.node} took in keyset {version} upon {before}, without what lies between", installed, index)
        self._keysets[fact.node] = max((version, index), (before, installed))
        for key in fact.body["revoked"]:
            self._revoked.setdefault((fact.node, key), index)

    def _age(self, index: int, fact: Fact) -> None:
        """One that came in a peer's name was let in by that peer, as far as anybody can tell: then nobody vouched for its age."""
        certificate = fact.body["certificate"]
        handed = self._handed.may_have_brought(fact, *self.run.replicas)
        if not is_replica(fact.node):
            if not handed:
                self._unvouched.setdefault(certificate, index)
            return
        if certificate in self._let_in:
            return
        self._let_in[certificate] = index
        if handed:
            self.skipped += 1
            self._drafted.setdefault(certificate, (fact.at_ns, index))
            return
        drafted_ns, drafted = self._drafted.get(certificate, (fact.at_ns, index))
        replica = self.run.node(fact.node)
        if replica.doubts:
            self.blame(f"{fact.node} let certificate {certificate[:12]} in by a clock that it doubted", replica.measures_from[0], index)
        elif fact.node in self.run.clock_suspects:
            self.skipped += 1
        elif fact.at_ns - drafted_ns > self.run.bounds.approval_ns:
            late_ms = (fact.at_ns - drafted_ns - self.run.bounds.approval_ns) // MS_NS
            self.blame(f"{fact.node} let certificate {certificate[:12]} in {late_ms} ms after its end", drafted, index)

    def _decision(self, index: int, fact: Fact) -> None:
        """A certificate that is let in was asked for when it was drafted; it carries its approvals."""
        body = fact.body
        self.examined += 1
        allowed, *_ = body["ruling"]
        if allowed and not (body["action"] == "resume" and body["order"]):
            self._granted.setdefault(body["request"], index)
            if not body["may"]:
                self.blame(f"{fact.node} allowed {body['action']} {body['request']}, which is not for that person to ask for", index)

    def _several_keys(self, index: int, fact: Fact) -> None:
        body = fact.body
        *_, life, _, demanded = body["ruling"]
        if body["action"] != "order" or max(body["asking"], demanded) == 1:
            return
        asked = max(1, len(body["askers"]))
        what = f"{fact.node} decided on {body['action']} {body['request']}"
        if body["asking"] > asked:
            self.blame(f"{what} as asked for by {body['asking']} people, of whom {asked} may and did", index)
        elif life > ALIVE and not body["canary"] and asked < demanded:
            self.blame(f"{what}, which stops, for {asked} of {demanded} people that its policy demands", index)
