"""Planted bugs of the audit trail: logs cut in silence, heads that say too much, witnesses that do not look, forks without consequences, stamps
that do not follow causes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from harness.planted.bug import PlantedBug
from killswitch.core import audit, publication, transparency
from killswitch.core.audit import Body, Chain, Recovery
from killswitch.core.events import Boot, Record
from killswitch.core.heads import Cosignature, Cosigned, ForkProof, HeadNotice, Sth
from killswitch.core.hlc import COUNTER_BITS
from killswitch.core.keys import Signer
from killswitch.core.outlet import record, send
from killswitch.core.publication import Writer
from killswitch.core.replica import grants, witness
from killswitch.core.replica.state import SEEN_MAX, Replica
from killswitch.core.sidecar import step as sidecar_step
from killswitch.core.sidecar.state import Sidecar

_compare = witness.compare
_heed_fork_proof = sidecar_step.on_fork_proof
_on_fork_proof = witness.on_fork_proof
_recover = audit.recover
_proves_fork = transparency.proves_fork
_show = publication.show
_sign = publication.sign
_unfit = grants.unfit


def drop_the_last_in_silence(records: Sequence[Record], boot: str) -> Recovery:
    """As if whatever came last had to be torn; and nobody is told."""
    intact = _recover(records, boot).records[:-1]
    return Recovery(Chain(boot, intact[-1] if intact else None), intact, None)


def as_it_comes(body: Body) -> bytes:
    return msgspec.msgpack.encode(body)


def all_that_is_written(chain: Chain) -> int:
    return chain.seq


def looks_fine(last: Sth, notice: HeadNotice) -> bool:
    return True


def show_once(state: publication.Writer) -> None:
    _show(state)
    state.publication.lagging = ()


def keep_own_stamp(last: int, heard: int, wall_ms: int) -> int:
    return last


def stamp_by_the_wall(last: int, wall_ms: int) -> int:
    return wall_ms << COUNTER_BITS


def hand_out_at_once(state: Replica, cosignatures: list[Cosignature]) -> None:
    """It is signed, and what is signed counts."""
    for cosignature in cosignatures:
        for node in {*state.peers, cosignature.head.origin}:
            send(state, node, Cosigned((cosignature,)))


def forked_but_it_works(state: Replica, agent: str) -> str:
    """Auditors have the proof, and see to it."""
    why = _unfit(state, agent)
    return ("joining" if state.joining else "") if why == "forked" else why


def heard_and_counted(state: Sidecar, proof: ForkProof, now_ns: int) -> None:
    """The proof is on record here, too."""
    publication.learn_fork(state, proof, now_ns)


def followed_since_the_restart(state: Replica, origin: str) -> Sth | None:
    """Whoever shows a head after a restart shows a first one."""
    last = state.witnessed.cosigned.get(origin)
    return last if last is not None and last.size in state.witnessed.seen.get(origin, {}) else None


def own_eyes(state: Replica, head: Sth, now_ns: int) -> bool:
    """Every witness judges what it is shown itself."""
    return head.origin not in state.forks


def fork_believed(state: Writer, proof: ForkProof, now_ns: int) -> bool:
    """Whoever hands it on has looked at it."""
    origin = proof.first.origin
    if origin in state.forks:
        return False
    state.forks[origin] = proof
    first, second = publication.head_parts(proof.first), publication.head_parts(proof.second)
    record(state, "FORK_PROOF", {"first": first, "second": second, "path": list(proof.path), "signature": proof.signature}, now_ns)
    return True


def the_first_ones_are_kept(state: Replica, head: Sth, now_ns: int) -> bool:
    """There is room for so many."""
    kept = dict(state.witnessed.seen.get(head.origin, {}))
    answer = _compare(state, head, now_ns)
    if len(kept) == SEEN_MAX and head.size not in kept:
        kept[head.size] = head
        del kept[max(kept)]
        state.witnessed.seen[head.origin] = kept
    return answer


def two_heads_of_one_size(signer: Signer, proof: ForkProof) -> bool:
    """Both are its word, and there is one log of a size: why look at what they say."""
    first, second = proof.first, proof.second
    believed = first.origin == second.origin and all(transparency.believes_head(signer, head) for head in (first, second))
    return (believed and first.size == second.size) or _proves_fork(signer, proof)


def told_once(state: Writer, to: str) -> None:
    """Everybody was told when it was proven."""


def what_it_saw_itself(state: Replica, proof: ForkProof, sender: str, now_ns: int) -> None:
    """Every witness looks for itself, and proves what it finds."""
    if sender == state.node:
        _on_fork_proof(state, proof, sender, now_ns)


def who_may_grant(state: Sidecar, proof: ForkProof, now_ns: int) -> None:
    """Only replicas' grants are counted here, so only of replicas does it matter."""
    if proof.first.origin in state.config.replicas:
        _heed_fork_proof(state, proof, now_ns)


def grants_of_before(state: Sidecar, proof: ForkProof, now_ns: int) -> None:
    """From now on no more of its word counts."""
    grants = {nonce: dict(round_.grants) for nonce, round_ in state.rounds.items()}
    _heed_fork_proof(state, proof, now_ns)
    for nonce, granted in grants.items():
        state.rounds[nonce].grants.update(granted)


def head_of_nothing_before(state: Writer, size: int, previous: int) -> Sth:
    """The log is one, and its heads are of it."""
    return _sign(state, size, 0)


def what_does_not_verify(event: Boot, recovery: audit.Recovery) -> bool:
    """What is left is whole."""
    return recovery.problem is not None


BUGS = (
    PlantedBug("B34", "recovery cuts off the end of the log and goes on with the chain in silence", {"audit:recover": drop_the_last_in_silence},
               ("S16", "S15", "S11"), ("replica-power-loss", "swarm-storm"), "easy"),
    PlantedBug("B35", "bodies are hashed in whatever order their fields come", {"audit:canonical": as_it_comes}, ("S16", "S15"),
               ("kill-during-partition", "swarm-storm"), "easy"),
    PlantedBug("B51", "a head is signed over records that are not durable yet", {"publication:published_size": all_that_is_written}, ("S16",),
               ("swarm-disks", "swarm-storm"), "medium"),
    PlantedBug("B52", "witnesses cosign without a proof of consistency, and a log that lost its end passes for itself",
               {"transparency:extends": looks_fine, "audit:recover": drop_the_last_in_silence}, ("S16",),
               ("replica-power-loss", "swarm-storm"), "medium"),
    PlantedBug("B53", "a head is shown once: whoever does not get it never cosigns it", {"publication:show": show_once}, ("L7",),
               ("swarm-storm",), "easy"),
    PlantedBug("B54", "the stamp that comes with a message is ignored", {"hlc:merge": keep_own_stamp}, ("S17",),
               ("quiet-fleet", "swarm-storm"), "easy"),
    PlantedBug("B55", "a record is stamped by the wall clock alone", {"hlc:tick": stamp_by_the_wall}, ("S17",),
               ("quiet-fleet", "swarm-storm"), "easy"),
    PlantedBug("B125", "a witness hands out cosignatures that it may yet forget", {"replica.witness:hand_out": hand_out_at_once}, ("S16",),
               ("soft-in-peace",), "easy"),
    PlantedBug("B175", "a proof that a replica keeps two logs has no consequences",
               {"replica.grants:unfit": forked_but_it_works, "sidecar.step:on_fork_proof": heard_and_counted}, ("S19",), ("disk-that-lies",), "easy"),
    PlantedBug("B196", "a witness takes the first head that it is shown after a restart on trust",
               {"replica.witness:followed": followed_since_the_restart}, ("S16",), ("witnesses-restarted-between-two-hosts",), "easy"),
    PlantedBug("B197", "a witness does not hold a head against what other witnesses cosigned", {"replica.witness:compare": own_eyes}, ("S16",),
               ("two-logs-at-two-witnesses",), "easy"),
    PlantedBug("B211", "a proof of a fork is believed of whoever shows it", {"publication:learn_fork": fork_believed}, ("S16",),
               ("forged-and-malformed-storm", "replica-that-forges"), "easy"),
    PlantedBug("B274", "of the heads that a witness keeps to compare the newest is dropped", {"replica.witness:compare": the_first_ones_are_kept},
               ("S16",), ("two-logs-at-two-witnesses",), "easy"),
    PlantedBug("B288", "a head that is shown twice proves a fork", {"transparency:proves_fork": two_heads_of_one_size}, ("S16",),
               ("forged-and-malformed-storm", "replica-that-forges"), "easy"),
    PlantedBug("B295", "a proof of a fork is told once: whoever does not get it never knows", {"publication:tell_forks": told_once}, ("L7",),
               ("fork-proven-while-some-are-away",), "easy"),
    PlantedBug("B296", "a replica takes no proof of a fork that it has not found itself", {"replica.witness:on_fork_proof": what_it_saw_itself},
               ("L7",), ("two-logs-at-two-witnesses",), "easy"),
    PlantedBug("B297", "a sidecar drops proofs of forks that are not of replicas", {"sidecar.step:on_fork_proof": who_may_grant}, ("L7",),
               ("two-logs-at-two-witnesses",), "easy"),
    PlantedBug("B417", "what a replica granted before its two logs were proven goes on counting", {"sidecar.step:on_fork_proof": grants_of_before},
               ("S19",), ("forked-while-a-round-is-under-way",), "easy"),
    PlantedBug("B436", "a head does not say which one came before it", {"publication:sign": head_of_nothing_before}, ("S16",),
               ("quiet-fleet", "swarm-storm"), "easy"),
    PlantedBug("B508", "that the driver cut off the end of a log is not said", {"boot:is_cut": what_does_not_verify}, ("S16",),
               ("bit-rot",), "easy"),
)  # fmt: skip
