"""What hostile signals look like: the recipes of forged, borrowed and broken ones.

Owns their making, from everybody's keys and the orders that are known, for both drivers. Must not know when they are sent, nor what becomes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from killswitch.core import codec, keys, keysets, merkle, rollout, transparency, trust
from killswitch.core.bundles import BundleBody, PolicyBundle, PolicyNews, RolloutBody, RolloutRecord, RolloutRequest, Stage
from killswitch.core.certificates import Approval, ResumeBody, ResumeCertificate, ResumeDraftRequest
from killswitch.core.heads import ForkProof, Sth
from killswitch.core.keychanges import KeyChange, KeysetNews
from killswitch.core.keys import Signer
from killswitch.core.machine import NodeConfig
from killswitch.core.messages import (
    Apply,
    EffectClass,
    Evidence,
    FenceAck,
    IntentReply,
    LeaseReply,
    Message,
    Order,
    OrderBody,
    OrderPush,
    OrderRequest,
    StartReply,
    Token,
)
from killswitch.core.scopes import Scope

Choose = Callable[[int], int]


class Aim(NamedTuple):
    """Whom a signal is for: the node, an agent that it answers for, that agent's tenant and another one, orders that are known of the agent, and how
    many approvals a resume takes there."""

    node: str
    agent: str
    tenant: str
    other: str
    orders: tuple[str, ...]
    approvals: int

    @property
    def takes_two(self) -> int:
        """What a certificate has to say that it takes, so that one approver is too few: nothing, where that goes without saying."""
        return 0 if self.approvals > 1 else 2

    def carried(self, orders: tuple[Order, ...] = (), certificates: tuple[ResumeCertificate, ...] = ()) -> Message:
        """As a node of this kind would take it in from whoever hands it on."""
        if self.node.startswith("replica/"):
            return IntentReply("", orders, certificates)
        return OrderPush(orders, certificates)


def aim_at(config: NodeConfig, draw: int, known: Callable[[str], Iterable[str]]) -> Aim:
    """What signals for the node of ``config`` are about. ``known``: the orders of a tenant, by its name; ``draw``: a choice among its agents."""
    agents = sorted(config.fleet)
    agent = config.agent or agents[draw % len(agents)]
    tenant = agent.partition("/")[0]
    others = sorted({each.partition("/")[0] for each in agents} - {tenant}) or ["elsewhere"]
    return Aim(config.node, agent, tenant, others[draw % len(others)], tuple(sorted(set(known(tenant)))), config.parameters.approvals)


def order_body(aim: Aim, number: int) -> bytes:
    return codec.pack(OrderBody(aim.tenant, Scope("agent", aim.agent), 2, 2, 0, "mallory", f"forged {number}", "forged"))


def resume_body(aim: Aim, tenant: str, number: int, requester: str = "mallory", approvals: int = 0) -> bytes:
    return codec.pack(ResumeBody(tenant, Scope("tenant", tenant), aim.orders, 1, "forged", requester, f"forged {number}", approvals=approvals))


def unsigned_order(ring: Signer, aim: Aim, number: int) -> Message:
    return aim.carried((Order(order_body(aim, number), "replica/1", bytes(32)),))


def order_of_nobody(ring: Signer, aim: Aim, number: int) -> Message:
    """Signed well, by somebody who may order nothing."""
    signer = ("mallory", "alice", "bob", f"sidecar/{aim.agent}")[number % 4]
    raw = order_body(aim, number)
    return aim.carried((Order(raw, signer, ring.sign(signer, keys.ORDER, raw)),))


def order_by_another_signature(ring: Signer, aim: Aim, number: int) -> Message:
    """A replica did sign these bytes: as something else."""
    raw = order_body(aim, number)
    domain = (keys.EVIDENCE, keys.STH, keys.RESUME)[number % 3]
    return aim.carried((Order(raw, "replica/1", ring.sign("replica/1", domain, raw)),))


def certificate_of_one(ring: Signer, aim: Aim, number: int) -> Message:
    """One approver, twice."""
    return _approved(ring, aim, resume_body(aim, aim.tenant, number, approvals=aim.takes_two), by=("bob", "bob"))


def certificate_with_borrowed_approvals(ring: Signer, aim: Aim, number: int) -> Message:
    """Two approvers, of another certificate; or of this, but signed as something else."""
    raw, other = resume_body(aim, aim.tenant, number), resume_body(aim, aim.tenant, -1)
    signed, domain = ((other, keys.RESUME), (raw, keys.RESUME_REQUEST))[number % 2]
    borrowed = (Approval(who, ring.sign(who, domain, signed)) for who in ("bob", "carol"))
    return aim.carried(certificates=(ResumeCertificate(raw, (_asked(ring, "mallory", raw), *borrowed)),))


def certificate_of_too_few(ring: Signer, aim: Aim, number: int) -> Message:
    """Two approvers, of what itself says that it takes three."""
    return _approved(ring, aim, resume_body(aim, aim.tenant, number, approvals=3))


def certificate_of_its_requester(ring: Signer, aim: Aim, number: int) -> Message:
    """Two approvers, of whom one asked for it himself, and signs with the same key or with a later one of his."""
    raw = resume_body(aim, aim.tenant, number, "bob", aim.takes_two)
    return _approved(ring, aim, raw, requester="bob", by=(("bob", "bob#2")[number % 2], "carol"))


def certificate_past_its_end(ring: Signer, aim: Aim, number: int) -> Message:
    """All in order, but that no replica drafted it: so it has no end that is still to come (protocol 3.8)."""
    return _approved(ring, aim, resume_body(aim, aim.tenant, number, "alice"), requester="alice")


def certificate_in_her_name(ring: Signer, aim: Aim, number: int) -> Message:
    """Two approvers, of what is asked for in the name of somebody who did not sign it; or who signed another, or this as something else."""
    raw, other = resume_body(aim, aim.tenant, number, "alice"), resume_body(aim, aim.tenant, -1, "alice")
    asked = (_asked(ring, "mallory", raw), _asked(ring, "alice", other), Approval("alice", ring.sign("alice", keys.RESUME, raw)))[number % 3]
    return _approved(ring, aim, raw, asked=asked)


def _asked(ring: Signer, requester: str, raw: bytes) -> Approval:
    return Approval(requester, ring.sign(requester, keys.RESUME_ASKED, raw))


def _approved(ring: Signer, aim: Aim, raw: bytes, *, requester: str = "mallory", by: tuple[str, ...] = ("bob", "carol"),
              asked: Approval | None = None) -> Message:  # fmt: skip
    approved = (Approval(who, ring.sign(who, keys.RESUME, raw)) for who in by)
    return aim.carried(certificates=(ResumeCertificate(raw, (asked or _asked(ring, requester, raw), *approved)),))


def keyset_of_one_root(ring: Signer, aim: Aim, number: int) -> Message:
    """One root key, twice."""
    change = KeyChange(2, "", revokes=("bob", "carol"), rotates={"replica/1": "mallory"})
    return KeysetNews((keysets.sign_change(ring, change, ("root/1", "root/1")),))


def keyset_of_roots_unheard(ring: Signer, aim: Aim, number: int) -> Message:
    """Enough of the root keys, for others to come after them that did not sign, or of whom too few did."""
    roots, signed = ((("mallory",), ()), (("root/1", "mallory"), ("root/1",)))[number % 2]
    change = KeyChange(2, "", revokes=("bob", "carol"), roots=roots, threshold=len(roots))
    return KeysetNews((keysets.sign_change(ring, change, tuple(dict.fromkeys(("root/1", "root/2", *signed)))),))


def proof_by_another(ring: Signer, aim: Aim, number: int) -> Message:
    """Somebody else's sidecar proves that an agent has stopped."""
    evidence = Evidence(aim.agent, Token(1, 1 + number, "x"), (*aim.orders, "0" * 64)[0], "STOPPED_CLEAN", 1, ())
    signer = f"sidecar/{aim.other}/1"
    return msgspec.structs.replace(evidence, signature=ring.sign(signer, keys.EVIDENCE, codec.unsigned(evidence)))


def foreign_certificate(ring: Signer, aim: Aim, number: int) -> Message:
    """All in order, but for another tenant than that of the orders it lists."""
    return _approved(ring, aim, resume_body(aim, aim.other, number))


def fork_of_nobody(ring: Signer, aim: Aim, number: int) -> Message:
    """Two heads for one size of a replica's log, and it signed neither; or one that it did sign, twice."""
    if number % 3 == 2:
        head = _head(ring, "replica/1", 1 + number % 9, bytes(merkle.HASH_SIZE), signer="replica/1")
        return ForkProof(head, head)
    first, second = (_head(ring, f"replica/{1 + number % 3}", 1 + number % 9, bytes([root]) * merkle.HASH_SIZE, signer="mallory") for root in (1, 2))
    return ForkProof(first, second)


def _head(ring: Signer, origin: str, size: int, root: bytes, *, signer: str) -> Sth:
    head = Sth(origin, size, root, 0)
    return msgspec.structs.replace(head, signature=ring.sign(signer, keys.STH, transparency.note(head).encode()))


# -- what replicas alone take in -----------------------------------------------------------------------------------------------------------


def _in_her_name(ring: Signer, request: trust.AnyRequest, domain: str, number: int) -> trust.AnyRequest:
    """Not signed at all, signed by somebody else, or signed by her as something else."""
    signer, signed_as = ((None, ""), ("mallory", domain), ("alice", keys.EVIDENCE))[number % 3]
    signature = bytes(32) if signer is None else ring.sign(signer, signed_as, codec.unsigned(request))
    return msgspec.structs.replace(request, signature=signature)


def order_request_of_another(ring: Signer, aim: Aim, number: int) -> Message:
    request = OrderRequest(f"forged {number}", "alice", aim.tenant, Scope("agent", aim.agent), 2, 2, 0, "forged")
    return _in_her_name(ring, request, keys.ORDER_REQUEST, number)


def draft_request_of_another(ring: Signer, aim: Aim, number: int) -> Message:
    request = ResumeDraftRequest(f"forged {number}", "alice", aim.tenant, Scope("tenant", aim.tenant), "forged")
    return _in_her_name(ring, request, keys.RESUME_REQUEST, number)


def rollout_request_of_another(ring: Signer, aim: Aim, number: int) -> Message:
    return _in_her_name(ring, RolloutRequest(f"forged {number}", "alice", "SHADOW", FORGED_POLICY), keys.ROLLOUT_REQUEST, number)


def policies_of_nobody(ring: Signer, aim: Aim, number: int) -> Message:
    """A policy that permits everything, and a rollout above any other: not signed at all, by no replica, or as something else."""

    def sealed(raw: bytes, domain: str) -> tuple[bytes, str, bytes]:
        signer, signed_as = (("replica/1", ""), ("mallory", domain), ("replica/1", keys.EVIDENCE))[number % 3]
        return raw, signer, ring.sign(signer, signed_as, raw) if signed_as else bytes(32)

    bundle = codec.pack(BundleBody(2, "", FORGED_POLICY, "", "mallory"))
    body = RolloutBody(1000 + number, Stage.STABLE, rollout.text_hash(FORGED_POLICY), "", "", 0, "", 0, f"alice/forged {number}", "")
    return PolicyNews("forged", (PolicyBundle(*sealed(bundle, keys.POLICY)),), (RolloutRecord(*sealed(codec.pack(body), keys.ROLLOUT)),))


FORGED_POLICY: Final = "permit(principal, action, resource);"
FORGERIES: dict[str, Callable[[Signer, Aim, int], Message]] = {
    "order without a signature": unsigned_order,
    "order by one who may not": order_of_nobody,
    "order by a signature of something else": order_by_another_signature,
    "certificate of one approver, twice": certificate_of_one,
    "certificate with borrowed approvals": certificate_with_borrowed_approvals,
    "certificate of fewer than it takes": certificate_of_too_few,
    "certificate of its requester": certificate_of_its_requester,
    "certificate in another's name": certificate_in_her_name,
    "keyset of one root, twice": keyset_of_one_root,
    "keyset of roots that never signed": keyset_of_roots_unheard,
    "proof by another's sidecar": proof_by_another,
    "proof of a fork that was none": fork_of_nobody,
}
TO_REPLICAS: dict[str, Callable[[Signer, Aim, int], Message]] = {
    "policy and rollout of no replica": policies_of_nobody,
    "order request in another's name": order_request_of_another,
    "draft request in another's name": draft_request_of_another,
    "rollout request in another's name": rollout_request_of_another,
}


FROM_STRANGERS: dict[str, Callable[[Signer, Aim, int], Message]] = {"certificate past its end": certificate_past_its_end}


def forged(ring: Signer, aim: Aim, number: int, choose: Choose, source: str) -> tuple[str, Message]:
    """What it is, and the signal: one of those that a node of this kind takes in at all. A ``source`` that is a replica vouches for the age of the
    certificates that it hands on, and so hands on none that has ended."""
    recipes = FORGERIES | (TO_REPLICAS if aim.node.startswith("replica/") else {}) | ({} if source.startswith("replica/") else FROM_STRANGERS)
    what = sorted(recipes)[choose(len(recipes))]
    return what, recipes[what](ring, aim, number)


def borrowed_effects(sink: str, agents: Iterable[str], number: int) -> list[tuple[str, Message]]:
    """Who sends it, and an effect that is not his: of an agent of the sink's tenant by another's sidecar, and of another tenant's by its own."""
    tenant = sink.split("/")[1]
    fleet = sorted(agents)
    own, others = [each for each in fleet if each.startswith(f"{tenant}/")], [each for each in fleet if not each.startswith(f"{tenant}/")]
    pairs = [(sender, own[0]) for sender in (*own[1:2], *others[:1])] + [(each, each) for each in others[:1]]
    return [
        (f"sidecar/{sender}", Apply(agent, Token(1 << 30, 0, ""), "forged", 0, f"forged {number} {sender}", EffectClass.NEW))
        for sender, agent in pairs
    ]


def answers_for_others(config: NodeConfig, asked: Mapping[tuple[str, str], Mapping[str, Any]], draw: int) -> list[tuple[str, str, Message]]:
    """Who says it, what it is, and what one who was asked answers in the name of others who were: as each of those would, if it went along.

    ``asked``: the kind of fact that shows a question (`ASKED`), and the sink that it was for or nothing -> what the last such fact says; ``draw``: a
    choice among those who may answer.
    """
    found: list[tuple[str, str, Message]] = []
    replicas = sorted(set(config.replicas) - {config.node})
    source, agent = replicas[draw % len(replicas)] if replicas else "", config.agent
    for (kind, sink), body in sorted(asked.items()):
        token = Token(*body["min_token" if sink else "token"])
        if sink:
            others = [each for each in sorted(config.sinks) if each != sink and each.split("/")[1] == sink.split("/")[1]]
            found += [(each, "fence told for another sink", FenceAck(sink, body["agent"], token, body["order"])) for each in others[:1]]
        elif kind == "lease-requested":
            grants = (LeaseReply(agent, body["nonce"], token, each, config.parameters.lease_ns, "", "", token, 0) for each in replicas)
            found += [(source, "grant in another's name", grant) for grant in grants if grant.replica != source]
        else:
            promises = (StartReply(agent, token, each, granted=True, ready=True, why="", promised=token, view="") for each in replicas)
            found += [(source, "promise in another's name", promise) for promise in promises if promise.replica != source]
    return found


ASKED: Final = ("lease-requested", "start-proposed", "fence-sent")


# -- frames that are none ------------------------------------------------------------------------------------------------------------------


def broken_frame(ring: Signer, aim: Aim, source: str, number: int, choose: Choose) -> tuple[str, bytes]:
    """What is wrong with it, and the frame. Even if it can be read, there is nothing in it that anybody signed."""
    whole = codec.encode(aim.carried((Order(order_body(aim, number), "replica/1", bytes(32)),)), source, aim.node, "")
    kind = choose(6)
    if kind == 0:
        return "cut short", whole[: choose(len(whole))]
    if kind == 1:
        return "too large", whole + bytes(codec.FRAME_LIMIT)
    if kind == 2:
        return "just bytes", bytes(choose(256) for _ in range(1 + choose(200)))
    if kind == 3:
        spoiled = bytearray(whole)
        for _ in range(1 + choose(16)):
            spoiled[choose(len(spoiled))] = choose(256)
        return "spoiled", bytes(spoiled)
    return _signed_nonsense(ring, aim, source, choose)


def _signed_nonsense(ring: Signer, aim: Aim, source: str, choose: Choose) -> tuple[str, bytes]:
    """A frame in which all is well but for the bytes that a replica signed."""
    deep = b"\x91" * (codec.DEPTH_LIMIT + choose(2000)) + b"\x00"
    twice = b"\x82\xa6tenant\xa4acme\xa6tenant\xa5other"
    raws: dict[str, Any] = {"too deep": deep, "with a key twice": twice, "with a float": b"\x81\xa4gate\xca\x40\x00\x00\x00", "empty": b""}
    raws["too much"] = b"\xc4" + bytes(codec.SIGNED_LIMIT)
    what = sorted(raws)[choose(len(raws))]
    order = Order(raws[what], "replica/1", ring.sign("replica/1", keys.ORDER, raws[what]))
    return f"an order {what}", codec.encode(aim.carried((order,)), source, aim.node, "")
