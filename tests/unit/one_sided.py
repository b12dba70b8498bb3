"""One core under test, everybody else played: short words for what is said to it, and for what it said.

Owns the vocabulary that the tests of sidecars and of replicas share. Asserts nothing.
"""

from __future__ import annotations

from killswitch.core import leases, trust
from killswitch.core.certificates import ResumeCertificate, ResumeDraft, ResumeDraftRequest
from killswitch.core.events import Effect, Signal, SignalKind
from killswitch.core.intent import HARD, Severity
from killswitch.core.messages import (
    NO_TOKEN,
    AgentStatus,
    EffectRequest,
    EffectResult,
    Evidence,
    Gossip,
    LeaseReply,
    LeaseRequest,
    Order,
    OrderPush,
    OrderRequest,
    OrderStatus,
    StartRequest,
    Token,
)
from killswitch.core.scopes import Scope
from tests.unit import pair
from tests.unit.pair import AGENT, AGENT_NODE, LEDGER, REPLICAS, SECOND, SIDECAR, TRUST, Link, id_of

ONE, TWO, THREE = REPLICAS
FIRST = Token(1, 1, "a")
GREATER = Token(1, 2, "b")
LEASE = pair.PARAMETERS.lease_ns
RESIDUE = leases.residue_ns(pair.PARAMETERS) + pair.PARAMETERS.challenge_ns
SLACK = pair.PARAMETERS.slack_ns


# -- to and from a sidecar -----------------------------------------------------------------------------------------------------------------


def push(link: Link, *orders: Order, certificates: tuple[ResumeCertificate, ...] = ()) -> list[Effect]:
    return link.tell(SIDECAR, OrderPush(orders, certificates))


def ask(link: Link, key: str = "k", cls: str = "new", sink: str = LEDGER) -> None:
    """The agent asks for an effect."""
    link.tell(SIDECAR, EffectRequest("task", 0, key, cls, sink), AGENT_NODE)


def answers(link: Link) -> list[str]:
    return [result.status for result in link[SIDECAR].sent(EffectResult)]


def signals(link: Link) -> list[SignalKind]:
    return [effect.kind for effect in link[SIDECAR].effects if isinstance(effect, Signal)]


def stages(link: Link) -> list[str]:
    """Evidence, one for each proof (it goes to all replicas alike)."""
    return [evidence.stage for evidence in link[SIDECAR].sent(Evidence, "replica/1")]


def grant(link: Link) -> None:
    """Two replicas answer the latest round."""
    asked = link[SIDECAR].sent(LeaseRequest)[-1]
    for replica in REPLICAS[:2]:
        link.tell(SIDECAR, LeaseReply(AGENT, asked.nonce, asked.token, replica, LEASE, "", "", asked.token, 0), replica)


# -- to and from a replica -----------------------------------------------------------------------------------------------------------------


def control_plane(*nodes: str) -> Link:
    link = Link(*REPLICAS, *nodes)
    link.boot()
    return link


def alone(node: str = ONE) -> Link:
    """One replica whose peers are played by the test."""
    link = Link(node)
    link.boot()
    return link


def request(
    severity: Severity = HARD, *, name: str = "req", scope: Scope = pair.WHOLE_TENANT, grace_ns: int = 30 * SECOND, by: str = "alice"
) -> OrderRequest:
    asked = OrderRequest(name, by, "acme", scope, int(severity.gate), int(severity.life), grace_ns, "because")
    return trust.sign_request(TRUST, asked)


def statuses(link: Link, node: str = ONE) -> list[tuple[str, int]]:
    return [(status.stage, status.copies) for status in link[node].sent(OrderStatus)]


def told(link: Link, node: str = ONE) -> list[tuple[str, str]]:
    return [(status.agent, status.stage) for status in link[node].sent(AgentStatus)]


def ask_lease(link: Link, node: str = ONE, token: Token = FIRST, *, agent: str = AGENT, sender: str = "") -> LeaseReply:
    link.tell(node, LeaseRequest(agent, token, "nonce", "no such view", link.now, "RUNNING"), sender or f"sidecar/{agent}")
    reply = link[node].sent(LeaseReply)[-1]
    assert isinstance(reply, LeaseReply)
    return reply


def promise(link: Link, token: Token = FIRST, *, stopped: Token = NO_TOKEN, nodes: tuple[str, ...] = (ONE,)) -> None:
    for node in nodes:
        link.tell(node, StartRequest(AGENT, token, "", stopped), SIDECAR)


def accept(link: Link, order: Order, *nodes: str) -> None:
    for node in nodes or (ONE,):
        peer = next(replica for replica in REPLICAS if replica != node)
        link.tell(node, Gossip("", orders=(order,)), peer)


def proof(order: Order, stage: str, token: Token = FIRST, *, agent: str = AGENT, by: str = SIDECAR) -> Evidence:
    return trust.sign_evidence(TRUST, by, Evidence(agent, token, id_of(order), stage, 0, ()))


def draft(scope: Scope = pair.WHOLE_TENANT, *, by: str = "alice") -> ResumeDraftRequest:
    return trust.sign_request(TRUST, ResumeDraftRequest("d", by, "acme", scope, "all clear"))


def drafts(link: Link, node: str = ONE) -> list[ResumeDraft]:
    return link[node].sent(ResumeDraft)
