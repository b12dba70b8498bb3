"""Lease rounds, worked out again from requests and grants as they went over the wire.

Owns the lease rule of protocol 2: a lease holds until s_r + the least of q grants of one round, of one token and one instance, where
s_r is the sidecar's own clock when it *sent* the first request of the round. Knows nothing of what a sidecar believes about its lease.

Of several choices of q grants the one that gives the longest lease counts, since each is sound by T1: so the q-th largest grant.
A grant whose reply was lost on the way still counts here, for nobody but the sidecar can tell: that may hide a violation, never make one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from harness.checkers.words import Token

# A grant that comes more than so many rounds late is not counted; leases won before are remembered for good.
ROUNDS_KEPT = 1024


@dataclass(slots=True)
class Grant:
    """One replica's longest grant in a round. ``known``: uncovered orders matching the agent that the replica knew when it granted."""

    len_ns: int
    index: int
    known: tuple[str, ...]


@dataclass(slots=True)
class Round:
    """One round: its request and the grants it got, by replica, so that duplicates cannot add up."""

    nonce: str
    token: Token
    instance: str
    sent_ns: int
    index: int
    grants: dict[str, Grant] = field(default_factory=dict)

    def until_ns(self, quorum: int) -> int | None:
        """The end of the lease on the sidecar's clock, or None without a quorum of grants."""
        if len(self.grants) < quorum:
            return None
        return self.sent_ns + sorted([grant.len_ns for grant in self.grants.values()])[-quorum]

    def proof(self) -> tuple[int, ...]:
        return (self.index, *(grant.index for grant in self.grants.values()))


class Rounds:
    """All rounds of all agents since their sidecars last started: no lease survives a restart."""

    def __init__(self, quorum: Callable[[str], int]) -> None:
        self.quorum = quorum  # of an agent's home cell
        self._rounds: dict[str, dict[str, Round]] = {}
        self._best: dict[str, dict[tuple[Token, str], tuple[int, Round]]] = {}

    def forget(self, agent: str) -> None:
        """The agent's sidecar started anew."""
        self._rounds.pop(agent, None)
        self._best.pop(agent, None)

    def requested(self, agent: str, nonce: str, token: Token, instance: str, sent_ns: int, index: int) -> None:
        """A round begins. Only its first request counts, so that sending again does not lengthen the lease."""
        rounds = self._rounds.setdefault(agent, {})
        if nonce not in rounds:
            rounds[nonce] = Round(nonce, token, instance, sent_ns, index)
            if len(rounds) > ROUNDS_KEPT:
                del rounds[next(iter(rounds))]

    def granted(self, agent: str, nonce: str, replica: str, token: Token, len_ns: int, known: tuple[str, ...], index: int) -> None:
        """A replica granted. A grant for another token than the round's, or for a round of an earlier start, is none."""
        round_ = self._rounds.get(agent, {}).get(nonce)
        if round_ is None or round_.token != token or len_ns <= 0:
            return
        earlier = round_.grants.get(replica)
        if earlier is None or earlier.len_ns < len_ns:
            round_.grants[replica] = Grant(len_ns, index, known)
        until_ns = round_.until_ns(self.quorum(agent))
        if until_ns is not None:
            best = self._best.setdefault(agent, {})
            key = (token, round_.instance)
            if key not in best or best[key][0] < until_ns:
                best[key] = (until_ns, round_)

    def of(self, agent: str, nonce: str) -> Round | None:
        """A round of this start of the agent's sidecar."""
        return self._rounds.get(agent, {}).get(nonce)

    def best(self, agent: str, token: Token, instance: str) -> tuple[int, Round] | None:
        """The latest end of a lease that the token and instance held since their sidecar started, with its round."""
        return self._best.get(agent, {}).get((token, instance))

    def latest(self, agent: str, token: Token) -> tuple[int, Round] | None:
        """The same for whichever instance used the token."""
        found = [best for (owner, _), best in self._best.get(agent, {}).items() if owner == token]
        return max(found, key=lambda best: best[0], default=None)

    def any_quorum(self, agent: str, instance: str) -> Round | None:
        """A round of the instance that got its quorum, under whichever token."""
        return next((round_ for (_, owner), (_, round_) in self._best.get(agent, {}).items() if owner == instance), None)

    def live(self, agent: str, token: Token, clock_ns: int) -> list[Round]:
        """Rounds of the token with a quorum whose lease is not out at ``clock_ns``."""
        rounds, quorum = self._rounds.get(agent, {}).values(), self.quorum(agent)
        return [r for r in rounds if r.token == token and (until := r.until_ns(quorum)) is not None and until >= clock_ns]
