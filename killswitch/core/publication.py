"""How a writer has its own log witnessed, and what it knows of writers that were caught keeping two (protocol 5): shared by replicas and sidecars.

Owns the writer's side of a head: when one is signed, to whom it is shown again, what a cosignature tells. Owns the forks that a node knows.
Must not know how a witness decides (``transparency``, ``replica.witness``).

Nothing of it is on the way of a stop or a start: records are only noted as they are sealed, and hashed into the tree when a head is due.
A head is signed when the log has grown by more than notes of witnessing, which would have two replicas witness each other's notes for ever.
"""

from __future__ import annotations

from typing import Any, Protocol

from killswitch.core.heads import Cosignature, Cosigned, ForkProof, Sth
from killswitch.core import merkle, transparency
from killswitch.core.audit import Chain
from killswitch.core.events import Effect
from killswitch.core.machine import NodeConfig, Parameters
from killswitch.core.outlet import record, send
from killswitch.core.trust import Trust


class Publication:
    """``shown``: {witness: size that it last said it had cosigned}, of this process only: a witness says again what the writer forgot.
    ``lagging``: those that are not known to have cosigned ``head``."""

    __slots__ = ("head", "lagging", "next_ns", "shown", "tree")

    def __init__(self) -> None:
        self.tree = merkle.Tree()
        self.head: Sth | None = None
        self.shown: dict[str, int] = {}
        self.lagging: tuple[str, ...] = ()
        self.next_ns: int | None = None  # while something is to be signed or shown


class Writer(Protocol):
    """A state whose log is witnessed."""

    config: NodeConfig
    trust: Trust
    effects: list[Effect]
    chain: Chain
    publication: Publication
    forks: dict[str, ForkProof]


def period_ns(parameters: Parameters) -> int:
    """How long growth is collected into one head, and how long a witness may take before it is shown the head again: one lease."""
    return parameters.lease_ns


def publish(state: Writer, witnesses: tuple[str, ...], now_ns: int) -> None:
    """Called with every heartbeat: sign a head if one is due, and show the latest to every witness that is not known to have cosigned it."""
    own = state.publication
    signed = own.head.size if own.head else 0
    grown = state.chain.news > signed < published_size(state.chain)
    if not grown and not own.lagging:
        own.next_ns = None
    elif own.next_ns is None:
        own.next_ns = now_ns + period_ns(state.config.parameters)
    elif now_ns >= own.next_ns:
        own.next_ns = now_ns + period_ns(state.config.parameters)
        if grown:
            own.head = sign(state, published_size(state.chain), signed)
            own.lagging = tuple(sorted(witnesses))
        show(state)


def show(state: Writer) -> None:
    """The head, to each witness with the proof from where that one stands."""
    own = state.publication
    if own.head is None:
        return
    for witness in own.lagging:
        since = own.shown.get(witness, 0)
        path = own.tree.consistency(since, own.head.size)
        send(state, witness, transparency.sign_notice(state.trust.signer, own.head, since, path))


def published_size(chain: Chain) -> int:
    """How much of the log a head may speak for: what no crash can take back."""
    return chain.durable


def sign(state: Writer, size: int, previous: int) -> Sth:
    """A head over the first ``size`` records."""
    grow(state, size)
    return transparency.sign_head(state.trust.signer, state.config.node, size, state.publication.tree.root(size), previous)


def grow(state: Writer, size: int) -> None:
    """Hash records into the tree, up to ``size`` of them."""
    tree = state.publication.tree
    for digest in state.chain.hand_over(size - tree.size):
        tree.append(merkle.leaf_hash(digest))


def on_cosigned(state: Writer, message: Cosigned, sender: str, now_ns: int) -> None:
    """A witness says what it cosigned last: the next proof starts there. A head that is not of this log means that there are two."""
    for cosignature in message.cosignatures:
        mine = cosignature.head.origin == state.config.node and cosignature.witness == sender
        if mine and transparency.believes_cosignature(state.trust.signer, cosignature):
            note_cosigned(state, cosignature, now_ns)


def note_cosigned(state: Writer, cosignature: Cosignature, now_ns: int) -> None:
    """What the witness cosigned last, by its own word: of this log, or the proof that there are two."""
    head, own = cosignature.head, state.publication
    durable = state.chain.durable
    grow(state, durable)
    if head.size <= durable and own.tree.root(head.size) == head.root:
        others = tuple(witness for witness in own.lagging if witness != cosignature.witness)
        own.shown[cosignature.witness] = head.size  # less than it was, if the witness has forgotten: the next proof starts where it stands
        if own.head is not None and head.size >= own.head.size:
            own.lagging = others
        else:
            own.lagging = tuple(sorted((*others, cosignature.witness)))
    elif durable:
        proof = state.forks.get(state.config.node) or confess(state, head)
        learn_fork(state, proof, now_ns)
        send(state, cosignature.witness, proof)


def confess(state: Writer, head: Sth) -> ForkProof:
    """The proof that this writer, restored or doubled, has signed ``head`` over a log that is not the one it keeps.

    At the same size, its own root is enough. Where its log is shorter by now it signs that it has no proof of consistency.
    """
    size = min(head.size, state.chain.durable)
    mine = sign(state, size, 0)
    if size == head.size:
        return ForkProof(mine, head)
    claim = transparency.sign_notice(state.trust.signer, head, size, ())
    return ForkProof(mine, head, claim.path, claim.signature)


# -- forks -------------------------------------------------------------------------------------------------------------------------------


def learn_fork(state: Writer, proof: ForkProof, now_ns: int) -> bool:
    """Put a proven fork on record, once for each writer; whether it was new and holds. Its grants count no more from this step on."""
    origin = proof.first.origin
    if origin in state.forks or not transparency.proves_fork(state.trust.signer, proof):
        return False
    state.forks[origin] = proof
    body = {"first": head_parts(proof.first), "second": head_parts(proof.second), "path": list(proof.path), "signature": proof.signature}
    record(state, "FORK_PROOF", body, now_ns)
    return True


def tell_forks(state: Writer, to: str) -> None:
    """Every proof that is on record here, again: what was told once may have been lost."""
    for proof in state.forks.values():
        send(state, to, proof)


def fold_fork(state: Writer, body: dict[str, Any]) -> None:
    proof = ForkProof(Sth(*body["first"]), Sth(*body["second"]), tuple(body["path"]), body["signature"])
    state.forks[proof.first.origin] = proof


def head_parts(head: Sth) -> tuple[str, int, bytes, int, bytes]:
    """A head as records hold it."""
    return (head.origin, head.size, head.root, head.previous, head.signature)
