"""A replica as a witness: it keeps the heads of everybody's log, cosigns what only grew, and tells on whoever keeps two (protocol 5).

Owns what this replica has cosigned (durably, record COSIG) and has seen others cosign. Must not know how a head is judged
(``transparency``) or how its writer makes it (``publication``).

Heads that arrive wait for the next round of gossip, the latest of each writer; a round costs one record and one message a peer however
many heads it cosigns, and nothing if there are none.
"""

from __future__ import annotations

from typing import Any

from killswitch.core.heads import Cosignature, Cosigned, ForkProof, HeadNotice, Sth
from killswitch.core import publication, transparency
from killswitch.core.outlet import record, send
from killswitch.core.publication import head_parts
from killswitch.core.replica.state import SEEN_MAX, Replica, sidecar_of
from killswitch.core.transparency import Answer


def on_head_notice(state: Replica, notice: HeadNotice, sender: str, now_ns: int) -> None:
    """A writer shows its own head. It waits for the next round; a later one takes its place."""
    if notice.head.origin == sender and (sender in state.peers or sender.removeprefix("sidecar/") in state.fleet):
        state.witnessed.notices[sender] = notice


def on_cosigned(state: Replica, message: Cosigned, sender: str, now_ns: int) -> None:
    """Answers to this replica's own heads; of the others' one copy each is kept, to compare with what their writers show here."""
    if sender not in state.peers:
        return
    publication.on_cosigned(state, message, sender, now_ns)
    for cosignature in message.cosignatures:
        if cosignature.head.origin != state.node:
            compare(state, cosignature.head, now_ns)


def round_of_witnessing(state: Replica, now_ns: int) -> None:
    """With each round of gossip: publish this replica's own head, and answer those that came."""
    publication.publish(state, state.peers, now_ns)
    if state.witnessed.notices:
        answer(state, now_ns)
    for peer in state.peers:
        publication.tell_forks(state, peer)


def answer(state: Replica, now_ns: int) -> None:
    """Judge every head that waits; put on record what is cosigned, and say so once that is durable."""
    fresh, repeated = [], []
    for origin, notice in sorted(state.witnessed.notices.items()):
        last = followed(state, origin)
        judgement = transparency.judge(state.trust.signer, last, notice)
        if judgement.proof is not None:
            on_fork_proof(state, judgement.proof, state.node, now_ns)
        elif judgement.answer is Answer.REPEAT and last is not None:
            repeated.append(last)
        elif judgement.answer is Answer.COSIGN and not state.disk_failed and not state.disk_full and compare(state, notice.head, now_ns):
            state.witnessed.cosigned[origin] = notice.head
            fresh.append(notice.head)
    state.witnessed.notices.clear()
    if fresh:
        cosignatures = [transparency.cosign(state.trust.signer, state.node, head) for head in fresh]
        body = {"witness": state.node, "heads": [[*head_parts(each.head), each.signature] for each in cosignatures]}
        state.witnessed.lsn = record(state, "COSIG", body, now_ns)
        hand_out(state, cosignatures)
    for head in repeated:
        say_again(state, head)


def say_again(state: Replica, head: Sth) -> None:
    """To a writer that does not know where this replica stands: what it cosigned last, once that is durable."""
    send(state, head.origin, Cosigned((transparency.cosign(state.trust.signer, state.node, head),)), after_lsn=state.witnessed.lsn)


def followed(state: Replica, origin: str) -> Sth | None:
    """The last head of a writer's that this replica cosigned, in whichever of its lives: what comes next has to add to that."""
    return state.witnessed.cosigned.get(origin)


def hand_out(state: Replica, cosignatures: list[Cosignature]) -> None:
    """All of them to every peer, and to each sidecar its own."""
    for peer in state.peers:
        send(state, peer, Cosigned(tuple(cosignatures)), after_lsn=state.witnessed.lsn)
    for cosignature in cosignatures:
        if cosignature.head.origin not in state.peers:
            send(state, cosignature.head.origin, Cosigned((cosignature,)), after_lsn=state.witnessed.lsn)


def compare(state: Replica, head: Sth, now_ns: int) -> bool:
    """Hold a head against those of the same size that were seen before, and keep it. False if its writer is caught, now or before."""
    if head.origin in state.forks:
        return False
    seen = state.witnessed.seen.setdefault(head.origin, {})
    known = seen.setdefault(head.size, head)
    if known.root != head.root:
        proof = transparency.differ(state.trust.signer, known, head)
        if proof is not None:
            on_fork_proof(state, proof, state.node, now_ns)
            return False
        if transparency.believes_head(state.trust.signer, head):
            seen[head.size] = head  # what was kept there was not its writer's word
    if len(seen) > SEEN_MAX:
        del seen[min(seen)]
    return True


def on_fork_proof(state: Replica, proof: ForkProof, sender: str, now_ns: int) -> None:
    """A writer is caught: whoever can be reached is told at once, and again with every heartbeat and round of gossip."""
    if publication.learn_fork(state, proof, now_ns):
        tell(state, proof)


def tell(state: Replica, proof: ForkProof) -> None:
    for node in (*state.peers, *(sidecar_of(agent) for agent in sorted(state.fleet))):
        send(state, node, proof)


def fold(state: Replica, body: dict[str, Any]) -> None:
    """What an earlier life of this replica cosigned."""
    for *head, _signature in body["heads"]:
        state.witnessed.cosigned[head[0]] = Sth(*head)


def digest_words(state: Replica) -> list[str]:
    """What of it a fold of the log gives back (S15)."""
    cosigned = [f"{origin}={head.size}:{head.root.hex()}" for origin, head in sorted(state.witnessed.cosigned.items())]
    return ["/", *cosigned, "/", *sorted(state.forks)]
