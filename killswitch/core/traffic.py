"""Who may say how much, what goes first, and how long to wait before saying it again (protocol 3.7).

Owns the classes of messages, the pauses between tries, and the share of a replica's attention that each sender has. Must not know what a
message causes, nor what time it is but for the reading it is given.

Prohibitions have a lane of their own and no limit: a kill that waits behind telemetry is a kill that came too late. Everything else has a
share for each sender, since a sender is one tenant's sidecar: a tenant that floods drowns itself, and nobody beside it.
"""

from __future__ import annotations

from collections.abc import Hashable
from hashlib import blake2b

from killswitch.core.countersigns import CountersignedRequest
from killswitch.core.messages import Gossip, LeaseReply, Message, Order, OrderPush, OrderRequest, StartReply, UnknownProhibition

BACKOFF_CAP_NS = 2_000_000_000
SHARES_KEPT = 65_536  # senders that are remembered; who is forgotten has a full share again
BURST = 64
MESSAGES_A_RENEWAL = 8

URGENT, USUAL = 0, 1


# -- what goes first ---------------------------------------------------------------------------------------------------------------------


def is_prohibition(message: Message) -> bool:
    """Whether ``message`` can tell somebody to stop: such go first, are dropped last, and are never too many."""
    match message:
        case Order() | OrderRequest() | CountersignedRequest() | UnknownProhibition():
            return True
        case OrderPush(orders=orders) | LeaseReply(orders=orders) | StartReply(orders=orders) | Gossip(orders=orders):
            return bool(orders)
        case _:
            return False


def lane(message: Message, peer: str) -> tuple[int, str]:
    """The queue that a message waits in where it has to wait: its class, and the peer that it comes from, or goes to.

    A driver serves every urgent lane before any usual one, and the lanes of one class in turn, so that no peer's backlog is another's.
    """
    return (URGENT if is_prohibition(message) else USUAL), peer


# -- when to say it again ------------------------------------------------------------------------------------------------------------------


class Tries:
    """What was last said to one target, how often without being answered, and when it is due again on the caller's clock."""

    __slots__ = ("due_ns", "news", "tries")

    def __init__(self) -> None:
        self.news: Hashable = None
        self.tries = 0
        self.due_ns = 0


def due(tries: Tries, news: Hashable, now_ns: int) -> bool:
    """Whether to speak now: at once if there is something new to say, else when the pause is over."""
    return news != tries.news or now_ns >= tries.due_ns


def said(tries: Tries, news: Hashable, now_ns: int, base_ns: int, jitter: str) -> None:
    """It was said. The same again only after a pause."""
    tries.tries = tries.tries + 1 if news == tries.news else 0
    tries.news = news
    tries.due_ns = now_ns + pause_ns(tries.tries, base_ns, jitter)


def pause_ns(tries: int, base_ns: int, jitter: str) -> int:
    """Exponential backoff with full jitter: up to twice the pause with each try, `BACKOFF_CAP_NS` or four times the base at the most.

    ``jitter`` is a text that differs between those who might otherwise try in step. A hash of it stands in for chance: the core has none.
    """
    longest = min(base_ns << min(tries, 2), max(BACKOFF_CAP_NS, base_ns))
    draw = int.from_bytes(blake2b(f"{jitter}/{tries}".encode(), digest_size=4).digest())
    return 1 + (draw * longest >> 32)


# -- who may say how much ------------------------------------------------------------------------------------------------------------------


class Shares:
    """A token bucket for each key: ``{key: [credit in ns, when it was last reckoned]}``. A message costs ``cost_ns`` of it.

    ``missed`` counts what was beyond anybody's share.
    """

    __slots__ = ("_buckets", "cost_ns", "missed")

    def __init__(self, cost_ns: int) -> None:
        self.cost_ns = max(1, cost_ns)
        self.missed = 0
        self._buckets: dict[str, list[int]] = {}

    def take(self, key: str, now_ns: int) -> bool:
        """Whether one more is within the key's share: `BURST` at once, and one each ``cost_ns`` in the long run."""
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= SHARES_KEPT:
                del self._buckets[next(iter(self._buckets))]
            bucket = self._buckets[key] = [BURST * self.cost_ns, now_ns]
        credit = min(bucket[0] + max(0, now_ns - bucket[1]), BURST * self.cost_ns)  # a clock that was set back earns nothing
        bucket[1] = now_ns
        within = credit >= self.cost_ns
        bucket[0] = credit - self.cost_ns if within else credit
        self.missed += not within
        return within


def share_of(sender: str) -> str:
    """The key of a sender's share: its own, for every node speaks for one tenant only."""
    return sender
