"""The bounds that the protocol promises, in whole nanoseconds of real time.

Owns the arithmetic of protocol 2 (theorems T1 to T4) and the finite bounds that stand for "soon" in the liveness invariants. Must not
know facts or checkers. Integers only: a bound that a float has rounded is no bound.

A clock within the promised drift rho runs at least at rate 1 - rho, so that ``x`` on some node's clock last at most x / (1 - rho) in
real time: that is `stretch`, rounded up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MILLION = 1_000_000
SECOND_NS, MS_NS = 1_000_000_000, 1_000_000

# What one host may take to deliver a signal, to end a process tree and to notice it: far above what is measured, yet finite.
HOST_LAG_NS = SECOND_NS
# The longest pause that a retransmission is allowed to make between two tries.
BACKOFF_CAP_NS = 2 * SECOND_NS
# What a fence may take to a sink and on to its disk.
FENCE_ARRIVES_NS = 2 * SECOND_NS
UNLIMITED_NS = 1 << 62
# The longest that an agent waits before it asks again about what is in doubt (protocol 4), and what it may be at until it can.
DOUBT_RETRY_NS = 4 * SECOND_NS
# The longest that an operator's client waits for the answer of one replica before it asks the next.
ASK_AGAIN_NS = 5 * SECOND_NS


def stretch(local_ns: int, drift_ppm: int) -> int:
    """The longest real time that ``local_ns`` can last on a clock within the drift bound: ceil(local / (1 - rho))."""
    return -(-local_ns * MILLION // (MILLION - drift_ppm))


@dataclass(frozen=True, slots=True)
class Bounds:
    """All bounds of one run, from the ``parameters`` of its ``topology`` fact. Every value is in nanoseconds of real time."""

    lease_ns: int
    renew_ns: int
    challenge_ns: int
    drift_ppm: int
    slack_ns: int
    kill_retry_ns: int
    gossip_ns: int
    stop_timeout_ns: int
    standby_max_ns: int
    approval_ns: int
    longest_step_ns: int
    loss_ppm: int
    latency_ns: int

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Bounds:
        """Raises `KeyError` for a missing parameter, `ValueError` for a drift or loss of 100 % or more, under which nothing is bounded.

        A history that does not tell how often replicas gossip, or how long a stop, a standby, an approval or a step of work may take, is judged by
        the slowest that is allowed; one that tells of no loss or latency that the network always has, had none.
        """
        slowest = {"gossip_ns": parameters["renew_ns"], "stop_timeout_ns": parameters["grace_max_ns"]}
        unlimited = dict.fromkeys(("standby_max_ns", "approval_ns", "longest_step_ns"), UNLIMITED_NS)
        told = {**slowest, **unlimited, "loss_ppm": 0, "latency_ns": 0, **parameters}
        bounds = cls(**{name: int(told[name]) for name in cls.__slots__})
        if not 0 <= bounds.drift_ppm < MILLION:
            raise ValueError(f"drift_ppm must lie in 0..999999 (got {bounds.drift_ppm})")
        if not 0 <= bounds.loss_ppm < MILLION:
            raise ValueError(f"loss_ppm must lie in 0..999999 (got {bounds.loss_ppm})")
        return bounds

    def tries(self, messages: int) -> int:
        """How often something has to be tried so that, with the loss that the network always has, every try fails in one case of a million at most.

        A try fails if one of its ``messages`` is lost: with chance f = 1 - (1 - p)^messages. The least k with f^k <= 10^-6; 1 where nothing is lost.
        """
        whole, through = MILLION**messages, (MILLION - self.loss_ppm) ** messages
        tries, failing, all_ways = 1, whole - through, whole
        while failing * MILLION > all_ways:
            tries, failing, all_ways = tries + 1, failing * (whole - through), all_ways * whole
        return tries

    @property
    def hard_ns(self) -> int:
        """T1, gate CLOSED; and gate DRAIN for new tasks: L / (1 - rho)."""
        return stretch(self.lease_ns, self.drift_ppm)

    def soft_ns(self, grace_ns: int) -> int:
        """T1, gate DRAIN, everything: max(L, G) / (1 - rho)."""
        return stretch(max(self.lease_ns, grace_ns), self.drift_ppm)

    @property
    def challenge_residue_ns(self) -> int:
        """T3, class C: what an answered challenge adds to T1, P / (1 - rho)."""
        return stretch(self.challenge_ns, self.drift_ppm)

    def declare_ns(self, challenged: bool) -> int:
        """T4: the least real time in which a replica's clock can pass W = L (1 + rho) / (1 - rho), plus P for class C.

        The fastest honest clock passes W in W / (1 + rho) = L / (1 - rho) and P in P / (1 + rho): a shorter wait is no wait at all.
        """
        residue = self.challenge_ns * MILLION // (MILLION + self.drift_ppm) if challenged else 0
        return self.lease_ns * MILLION // (MILLION - self.drift_ppm) + residue

    def residue_ns(self, challenged: bool) -> int:
        """T4: W = L (1 + rho) / (1 - rho), plus P for class C, on a replica's own clock."""
        wait_ns = -(-self.lease_ns * (MILLION + self.drift_ppm) // (MILLION - self.drift_ppm))
        return wait_ns + (self.challenge_ns if challenged else 0)

    @property
    def doubted_ns(self) -> int:
        """L12: what a clock beyond the promise may run before a sidecar doubts it: two leases on that clock or on another, however it is off."""
        return 4 * self.hard_ns

    @property
    def propagation_ns(self) -> int:
        """L1, L10: after the heal every signal has come everywhere by (L + 4 R + 4 gossip) / (1 - rho) + the backoff cap + the slack.

        A renewal carries orders every R and gossip carries them between replicas; four periods leave room for hops over n = 5
        replicas and for the transport to reconnect, a lease for the round that was under way.
        """
        return stretch(self.lease_ns + 4 * self.renew_ns + 4 * self.gossip_ns, self.drift_ppm) + BACKOFF_CAP_NS + self.slack_ns

    def asking_ns(self, replicas: int, working: int, in_all: int, *, sent_on: bool = False) -> int:
        """L1: when a client that asks one replica after the other has come to one of ``replicas`` that work, out of fewer than twice as many: the try
        that is under way, those that it makes in vain, and one that is lost.

        Where the network always loses something, more are lost: a question takes four messages, the client's, the replica's to its peers, theirs back
        and the answer; and with each round of the ``working`` it asks the others ``in_all`` in vain once more. Where what was approved was sent on,
        there is another round, in which it turns out that nobody is left to let it in.
        """
        lost = self.tries(4) - 1
        tries = replicas + 1 + lost + -(-lost // max(working, 1)) * max(in_all - working, 0) + (in_all if sent_on else 0)
        return stretch(tries * ASK_AGAIN_NS, self.drift_ppm) + self.slack_ns

    @property
    def kill_under_load_ns(self) -> int:
        """L8: what a kill may take from a person's request to a sidecar, however loud others are: two renewals, a round of gossip, the slack, and
        what the network always takes over three hops: to a replica, to its peer, to the sidecar.
        """
        return stretch(2 * self.renew_ns + self.gossip_ns, self.drift_ppm) + self.slack_ns + 3 * self.latency_ns

    @property
    def fencing_ns(self) -> int:
        """L2: from a proof that a process lives on to the word to its sinks, a round of gossip, on the replica's clock."""
        return stretch(self.gossip_ns, self.drift_ppm)

    @property
    def death_ns(self) -> int:
        """L2, kappa: two rounds of the kill retry and one second of host lag, on the sidecar's clock."""
        return stretch(2 * self.kill_retry_ns + HOST_LAG_NS, self.drift_ppm)

    @property
    def doubt_ns(self) -> int:
        """L9: the longest pause between two questions, two of them, four renewals in which the sidecar asks the sink, and propagation; and what the
        network takes to and fro with each of the two.
        """
        return 2 * stretch(DOUBT_RETRY_NS, self.drift_ppm) + self.propagation_ns + 4 * self.latency_ns

    @property
    def answering_ns(self) -> int:
        """L9: what an agent waits at most to hear that a sink says nothing: three questions a renewal apart, or, on the sidecar's clock, two round
        trips and a renewal, whichever takes longer; one renewal more, a second of lag.
        """
        trips_ns = -(-4 * self.latency_ns * (MILLION + self.drift_ppm) // MILLION)
        return stretch(max(4 * self.renew_ns, trips_ns + 2 * self.renew_ns), self.drift_ppm) + HOST_LAG_NS

    @property
    def cleanup_ns(self) -> int:
        """S10: from a sidecar's learning what a stop wants of work that is begun to its agent's knowing: two heartbeats and a second of host lag."""
        return stretch(2 * self.renew_ns, self.drift_ppm) + HOST_LAG_NS

    @property
    def kill_again_ns(self) -> int:
        """L2: the longest pause between two kills of one process tree, on the sidecar's clock."""
        return stretch(self.kill_retry_ns + HOST_LAG_NS, self.drift_ppm)

    def progress_ns(self, in_doubt: bool) -> int:
        """L14: the longest step of work, and what it takes to try an effect again that was lost, or to find out about one that is in doubt."""
        return stretch(self.longest_step_ns, self.drift_ppm) + (self.doubt_ns if in_doubt else self.propagation_ns)

    def escalation_ns(self, grace_ns: int) -> int:
        """L3 at a replica: (G + slack) / (1 - rho) and one second of lag."""
        return stretch(grace_ns + self.slack_ns, self.drift_ppm) + HOST_LAG_NS

    @property
    def restart_ns(self) -> int:
        """L6: propagation, twice the wait of T4 for the predecessor (promises may have to be asked for again), and one more lease."""
        return self.propagation_ns + 2 * stretch(self.hard_ns + self.challenge_ns, self.drift_ppm) + self.hard_ns
