"""What a replica knows, and the small ways in which the rest of the replica changes it.

Owns the state, learning, and what a replica can say about an agent. Must not know why an order came to be (``orders``), who is asking
(``grants``, ``resumes``) or how news travels (``dispatch``).
"""

from __future__ import annotations

from collections.abc import Iterable

from killswitch.core.certificates import ResumeCertificate, ResumeDraftRequest
from killswitch.core.heads import ForkProof, HeadNotice, Sth
from killswitch.core import attempts, audit, drift, federation, intent, leases, policy, rollout, trust
from killswitch.core.attempts import Attempts
from killswitch.core.events import Effect
from killswitch.core.intent import Identity, Intent, KnownCertificate, KnownOrder, View
from killswitch.core.machine import NodeConfig
from killswitch.core.messages import NO_TOKEN, AgentStatus, Evidence, Life, Order, SinkClass, Token
from killswitch.core.outlet import observe, record
from killswitch.core.publication import Publication
from killswitch.core.stamps import Reading, Stamps
from killswitch.core.traffic import MESSAGES_A_RENEWAL, Shares, Tries
from killswitch.core.trust import Trust

DRAFTS_MAX = 16
REQUESTS_MAX = 1024
WITHHELD_MAX = 64
SEEN_MAX = 8  # heads of one log that are kept to be compared


class Draft:
    """A resume being drafted: who asked, which peers have told all they know, when by their own clocks, the greatest number of a policy among
    them, and which orders they told of that were not read here at once (protocol 3.8)."""

    __slots__ = ("heard", "operator", "policy_seq", "read", "request", "unread")

    def __init__(self, operator: str, request: ResumeDraftRequest, itself: str) -> None:
        self.operator = operator
        self.request = request
        self.heard = {itself}
        self.policy_seq = 0
        self.read: dict[str, Reading] = {}
        self.unread: set[str] = set()


class Lessons:
    """What a replica that may have forgotten something has learned so far (`joining`). ``taught``: {agent: the greatest token promised}.

    ``told_intent`` and ``told_promises``: peers that have told all they know to be in force, and all they have promised, since this start.
    """

    __slots__ = ("finishing", "joined", "policy_seq", "taught", "told_intent", "told_promises")

    def __init__(self) -> None:
        self.told_intent: set[str] = set()
        self.told_promises: set[str] = set()
        self.taught: dict[str, Token] = {}
        self.policy_seq = 0  # the greatest number of a rollout among them
        self.finishing = False
        self.joined = False  # some life of this log has learned enough

    @property
    def teachers(self) -> set[str]:
        return self.told_intent & self.told_promises


class Witnessed:
    """What a replica keeps of the logs that it is a witness of (`witness`).

    ``cosigned``: {writer: the last head of its log that this replica cosigned}, durable with record ``lsn``. ``notices``: {writer: the latest head
    that it showed, until it is answered}. ``seen``: {writer: {size: head}}, whoever showed it.
    """

    __slots__ = ("cosigned", "lsn", "notices", "seen")

    def __init__(self) -> None:
        self.cosigned: dict[str, Sth] = {}
        self.lsn = 0
        self.notices: dict[str, HeadNotice] = {}
        self.seen: dict[str, dict[int, Sth]] = {}


class Replica:
    """The state of one replica process. Times are on the replica's own clock, in nanoseconds."""

    __slots__ = (
        "__weakref__",  # whoever watches or replaces parts from outside keeps what it adds beside the state, not on it
        "asked", "attempts", "awaiting", "boot", "booted", "booted_ns", "chain", "challenged", "clock", "config", "declared", "disk_failed",
        "disk_full", "drafts", "durable", "effective", "effects", "fences", "fleet", "forks", "heard_clocks", "heard_token", "instance", "intent",
        "joining", "lessons", "node", "others", "over_share", "parameters", "peers", "policies", "promised", "promised_ns", "promises_durable",
        "proofs", "publication", "refusals", "seen", "seen_version", "shares", "stopped", "superseded", "telling", "told", "tries", "trust", "waited",
        "waiting_timer_ns", "withheld", "witnessed",
    )  # fmt: skip

    def __init__(self, config: NodeConfig, trust: Trust) -> None:
        self.config = config
        self.node = config.node
        self.parameters = config.parameters
        self.trust = trust
        self.peers = tuple(replica for replica in config.replicas if replica != config.node)
        self.others = tuple(replica for replica in federation.everyone(config) if replica != config.node)  # peers, and the replicas of other cells
        self.fleet = {
            agent: Identity(agent, agent.partition("/")[0], labels) for agent, labels in config.fleet.items() if federation.at_home(config, agent)
        }
        self.challenged = {sink.split("/")[1] for sink, kind in config.sinks.items() if kind == SinkClass.CHALLENGED}  # tenants with class C sinks
        self.effects: list[Effect] = []
        # -- durable (folded from the log at Boot)
        self.chain = audit.Chain("")
        self.intent = Intent()
        self.policies = rollout.Policies(policy.Bundle(config.policy) if config.policy else policy.Bundle())
        self.promised: dict[str, Token] = {}
        self.superseded: dict[str, Token] = {}  # agent -> the token promised before the latest
        self.stopped: dict[str, Token] = {}  # agent -> greatest token proven reaped
        self.proofs: dict[tuple[str, str], Evidence] = {}  # (order, agent) -> latest evidence
        self.effective: set[str] = set()
        self.declared: set[tuple[str, str]] = set()
        self.forks: dict[str, ForkProof] = {}  # writer -> the proof that it keeps two logs
        self.joining = False  # its log was cut, or it takes another's place: it vouches for nobody before it has learned (`joining`)
        # -- of this boot only
        self.boot = self.instance = ""
        self.lessons = Lessons()
        self.booted = self.disk_failed = self.disk_full = False
        self.booted_ns = 0
        self.awaiting: dict[int, tuple[str, object]] = {}
        self.seen: dict[str, int] = {}  # order -> when first learned; unknown after a restart
        self.durable: dict[str, set[str]] = {}  # order -> replicas known to hold it durably
        self.waited: dict[str, set[str]] = {}  # order -> replicas that have outwaited every lease since their accept
        self.promises_durable: dict[str, Token] = {}
        self.promised_ns: dict[str, int] = {}
        self.heard_token: dict[str, Token] = {}
        self.fences: dict[tuple[str, str], tuple[Token, str]] = {}  # (sink, agent) -> what to hold, for which order
        self.tries: dict[str | tuple[str, str], Tries] = {}  # peer, or (sink, agent) of a fence -> how often it was tried
        self.shares = Shares(min(config.parameters.renew_ns, config.parameters.gossip_ns) // MESSAGES_A_RENEWAL)
        self.over_share: dict[str, int] = {}  # sender -> how much of it was dropped
        self.refusals = Shares(config.parameters.renew_ns // MESSAGES_A_RENEWAL)
        self.asked: dict[str, tuple[str, str, int]] = {}  # order -> (request id, operator, how many more keys he needs)
        self.told: dict[tuple[str, str], str] = {}
        self.telling: dict[tuple[str, str, bool], tuple[AgentStatus, Tries]] = {}  # order, agent, whether it is proven -> what is said again
        self.attempts = Attempts()
        # order (none: more than are kept), the replica that handed it on -> itself, and when it last came: a later keyset will have to verify it
        self.withheld: dict[tuple[str, str], tuple[KnownOrder, int]] = {}
        self.drafts: dict[str, Draft] = {}  # by who asks, and his name for it
        self.waiting_timer_ns: int | None = None
        self.clock = drift.Monitor()  # while this replica's own is suspected, it grants and declares nothing
        self.heard_clocks: dict[str, tuple[str, int]] = {}  # peer -> (its boot, the latest of its clock)
        self.publication = Publication()
        self.witnessed = Witnessed()
        self.seen_version = -1


def sidecar_of(agent: str) -> str:
    return f"sidecar/{agent}"


# -- what follows ------------------------------------------------------------------------------------------------------------------------


def view_of(state: Replica, agent: str) -> View:
    """The intent as it concerns one agent. An agent that is in no deployment record has its name and tenant, and no labels."""
    return intent.view(state.intent, identity_of(state, agent))


def identity_of(state: Replica, agent: str) -> Identity:
    return state.fleet.get(agent) or Identity(agent, agent.partition("/")[0])


def concerned(state: Replica, known: KnownOrder) -> list[str]:
    """The deployed agents that an order matches: found when asked, never written down, so that late joiners are covered (protocol 3.5)."""
    scope = known.body.scope
    near = state.fleet if scope.kind != "agent" else {scope.value: state.fleet[scope.value]} if scope.value in state.fleet else {}
    return [agent for agent, identity in near.items() if intent.matches(known.body.tenant, scope, identity)]


def reaches(state: Replica, certificate: KnownCertificate, identity: Identity) -> bool:
    """Whether a certificate lists an order that may match the agent: one yet unknown may, but nothing beyond what the certificate may speak of."""
    body, known = certificate.body, state.intent.orders
    return intent.matches(body.tenant, body.scope, identity) and any(
        order not in known or intent.matches(known[order].body.tenant, known[order].body.scope, identity) for order in body.covers
    )


def greatest_token(state: Replica, agent: str) -> Token:
    return max(state.promised.get(agent, NO_TOKEN), state.heard_token.get(agent, NO_TOKEN))


def is_stopped(state: Replica, agent: str, order: str) -> bool:
    """Whether the agent's own sidecar has proven, for this order, that no start up to the latest token still runs."""
    proof = state.proofs.get((order, agent))
    return proof is not None and proof.stage.startswith("STOPPED") and proof.token >= greatest_token(state, agent)


def uncovered(state: Replica) -> list[KnownOrder]:
    return [known for order, known in state.intent.orders.items() if order not in state.intent.lifted]


def killing(state: Replica, agent: str) -> list[str]:
    """The orders in force that kill an agent, by id."""
    return [known.id for known in view_of(state, agent).uncovered if known.severity.life is Life.KILL]


def promise(state: Replica, agent: str, token: Token) -> None:
    """The token is the latest that this replica promises. What it promised before is what has to be over before a start under this one."""
    earlier = state.promised.get(agent, NO_TOKEN)
    if token != earlier:
        state.superseded[agent] = earlier
        state.promised[agent] = token


def promise_durable(state: Replica, agent: str, token: Token) -> None:
    """From here on leases are granted to the token, unless a greater one was promised meanwhile."""
    if state.promised.get(agent) == token:
        state.promises_durable[agent] = token


def residue_ns(state: Replica, agent: str) -> int:
    """How long after its last grant a replica waits for an agent's effects to be over: W, and P where sinks are challenged (T4)."""
    challenged = agent.partition("/")[0] in state.challenged
    return leases.residue_ns(state.parameters) + (state.parameters.challenge_ns if challenged else 0)


# -- learning ----------------------------------------------------------------------------------------------------------------------------


def learn(state: Replica, orders: tuple[Order, ...], certificates: tuple[ResumeCertificate, ...], sender: str, now_ns: int) -> list[str]:
    """Take in what arrived; the ids of orders that were new."""
    fresh = [order_id for order in orders if (order_id := learn_order(state, order, sender, now_ns))]
    for certificate in certificates:
        learn_certificate(state, certificate, sender, now_ns)
    return fresh


def learn_order(state: Replica, order: Order, sender: str, now_ns: int) -> str:
    """Its id if it was new and believed; from this step on no lease is granted against it. Empty otherwise."""
    identity = intent.content_id(order.raw)
    if identity in state.intent.orders:
        return ""
    state.attempts.cautious = state.attempts.cautious and now_ns - state.booted_ns < state.parameters.lease_ns
    if sender != state.node and attempts.puts_off(state, order, sender, now_ns):
        return ""
    return read_order(state, order, sender, now_ns)


def read_order(state: Replica, order: Order, sender: str, now_ns: int) -> str:
    """Verify an order and take it in; its id, or empty as `learn_order` has it."""
    known = trust.read_order(state.trust, order)
    if known is not None and known.id in state.intent.orders:  # issued here while its mark was on the way to the disk
        return ""
    attempts.outlived(state, intent.content_id(order.raw), now_ns, on_record=known is not None)
    if known is None:
        withhold(state, order, sender, now_ns)
        observe(state, "order-rejected", why="not authentic", sender=sender)
        return ""
    intent.add_order(state.intent, known)
    state.seen[known.id] = now_ns
    lsn = record(state, "ORDER_ACCEPTED", {"raw": order.raw, "signer": order.signer, "signature": order.signature}, now_ns)
    state.awaiting[lsn] = ("order", known.id)
    return known.id


def withhold(state: Replica, order: Order, sender: str, now_ns: int) -> None:
    """A peer believes an order under a key that this keyset has never heard of: nothing is granted against it until the keyset is here (D7), or
    whoever handed it on turns out not to have that, either."""
    known = intent.read_order(order)
    if known is not None and sender in state.others and trust.is_stranger(state.trust, order.signer):
        kept = (known.id, sender) in state.withheld or len(state.withheld) < WITHHELD_MAX
        state.withheld[(known.id if kept else "", sender)] = (known, now_ns)


def let_go(state: Replica, sender: str, keyset: int, stamps: Stamps | None) -> bool:
    """Whether something was withheld on the word of a replica that cannot have believed it: since then it has said that it has no later keyset than
    this one, and a key is never forgotten. It said so since then if it had heard something that was said here after that."""
    if stamps is None or stamps.heard_boot != state.boot or keyset > state.trust.keyset.version:
        return False
    over = [about for about, (_, since_ns) in state.withheld.items() if about[1] == sender and since_ns < stamps.heard_ns]
    for about in over:
        del state.withheld[about]
    return bool(over)


def withholds_all(state: Replica) -> bool:
    """Whether more orders that cannot be verified came than are kept: any of them may concern anybody."""
    return any(not order for order, _ in state.withheld)


def is_withheld_from(state: Replica, agent: str) -> bool:
    """Whether an order that cannot be verified here yet may concern the agent."""
    if not state.withheld:
        return False
    identity = identity_of(state, agent)
    return withholds_all(state) or any(intent.matches(known.body.tenant, known.body.scope, identity) for known, _ in state.withheld.values())


def unread(state: Replica, orders: Iterable[str]) -> set[str]:
    """Those that arrived and are not part of the intent yet, but may be: their mark or their key is still to come, or they are quarantined."""
    strangers, withheld = withholds_all(state), {order for order, _ in state.withheld}
    return {
        order for order in orders
        if order not in state.intent.orders
        and (strangers or order in withheld or order in state.attempts.waiting or attempts.is_quarantined(state, order))
    }  # fmt: skip


def learn_certificate(state: Replica, certificate: ResumeCertificate, sender: str, now_ns: int) -> int:
    """The lsn of its record if it was new and believed, else 0. It lifts nothing before that is durable. Without room for it it comes again."""
    if state.disk_full or intent.content_id(certificate.raw) in state.intent.certificates:
        return 0
    known = trust.read_certificate(state.trust, certificate)
    if known is None:
        observe(state, "certificate-rejected", why="not enough valid approvals", sender=sender)
        return 0
    intent.add_certificate(state.intent, known)
    approvals = [[approval.approver, approval.signature] for approval in certificate.approvals]
    lsn = record(state, "CERT_ACCEPTED", {"raw": certificate.raw, "approvals": approvals}, now_ns)
    state.awaiting[lsn] = ("certificate", known.id)
    return lsn
