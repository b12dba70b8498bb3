"""The invariants by name: what each promises, in one sentence for someone who has never read the protocol.

Owns words, not judgement: which history breaks an invariant is the business of its checker. An id that is not listed is shown as it is.
"""

from __future__ import annotations

from typing import NamedTuple


class Promise(NamedTuple):
    name: str
    sentence: str


PROMISES: dict[str, Promise] = {
    "S1": Promise("StopBound", "Nothing that an effective order forbids is let out later than the bound T1."),
    "S2": Promise("SinkBound", "No sink applies a late effect: fenced sinks none below the fence, challenged sinks none past the bound."),
    "S3": Promise("LocalStop", "Once a sidecar has learned an order, it lets out nothing that the order forbids."),
    "S4": Promise("Inflation", "No node ever forgets an order or a certificate that it held durably."),
    "S5": Promise("Confluence", "Nodes that hold the same orders agree on what is in force, in whatever sequence they learned them."),
    "S6": Promise("NoResurrection", "A closed gate opens again only if a valid certificate covers every order that closed it."),
    "S7": Promise("KillWins", "An order that no certificate names stays in force for ever, whatever races it."),
    "S8": Promise("OneIncarnation", "A new start of an agent waits until the old one is proven stopped, fenced off or waited out."),
    "S9": Promise("ExactlyOnce", "A fenced sink applies each effect at most once, and answers a retry with the same result."),
    "S10": Promise("InFlight", "Every task ends in exactly one way, and nothing is called done that could still be lost."),
    "S11": Promise("AckDurable", "What a node has confirmed is still there after any later crash."),
    "S12": Promise("Checkpoint", "An agent recovers from a whole checkpoint no older than the last one it confirmed."),
    "S13": Promise("AuthZ", "Only orders and certificates of those who may give them are ever taken in."),
    "S14": Promise("TenantNI", "What one tenant does changes nothing that another tenant sees."),
    "S15": Promise("AuditComplete", "The log alone gives back the state; no transition is missing from it."),
    "S16": Promise("AuditTamper", "Every change to a log that was made afterwards is found."),
    "S17": Promise("Causality", "Stamps respect causes, and no clock of a boot runs backwards."),
    "S18": Promise("GraceMonotone", "The deadline of a drain never moves to later."),
    "S19": Promise("LeaseSound", "A gate is open only inside a lease that a quorum granted, counted from the sending of the request."),
    "S20": Promise("HonestStatus", "The operator is never told more than has been proven."),
    "S21": Promise("Policy", "Decisions replay to the same answer; a policy only ever makes a stop stronger."),
    "S22": Promise("Version", "A fleet of mixed versions never acts more laxly than its newest node reads the orders."),
    "S23": Promise("BootClosed", "After a start nothing leaves before a new quorum lease."),
    "S24": Promise("WallNI", "No wall clock changes what the protocol does."),
    "S25": Promise("NoExpiry", "No order is dropped for its age, its size or their number."),
    "S26": Promise("FailureIsolation", "A poisonous input harms nothing but its own outcome."),
    "S27": Promise("Determinism", "The same seed gives the same run, and no state machine raises."),
    "S28": Promise("SideEffectIdem", "A signal that comes twice acts once."),
    "L1": Promise("Delivery", "After the faults, every living sidecar learns every order in time, and whoever asked is answered."),
    "L2": Promise("Death", "A process that has to die is dead in time, or its failure to die is known and fenced."),
    "L3": Promise("Escalate", "A soft stop that runs out of its grace becomes a hard one in time."),
    "L4": Promise("CleanSoft", "Undisturbed, a soft stop is clean: no work is cut short that could have finished, nobody killed who could leave."),
    "L5": Promise("NoFalseStop", "Without an order, and with its clocks and links in bounds, no agent stops."),
    "L6": Promise("Resume", "An approved resume has the agents running again in time."),
    "L7": Promise("AuditSync", "After the faults, every record is at every replica and cosigned in time."),
    "L8": Promise("BoundedResources", "Queues, retransmissions and kill latency stay bounded, even under a storm."),
    "L9": Promise("InDoubt", "Every doubt about an effect is settled in time once its sink answers."),
    "L10": Promise("Convergence", "After the faults, all nodes agree on the orders in time."),
    "L11": Promise("StandbyLimit", "An agent that nobody vouches for for too long is stopped, and no agent sooner."),
    "L12": Promise("Doubt", "A node whose clock breaks its promise comes to doubt that clock, for long enough."),
    "L13": Promise("Proof", "What has become of an agent under an order is proven at once, or presumed once every lease is out."),
    "L14": Promise("Progress", "An agent that may work gets on with its tasks."),
    "run": Promise("", "A run that did not finish, or whose faults were not all seen to happen, proves nothing."),
}  # fmt: skip


def promise(invariant: str) -> Promise:
    return PROMISES.get(invariant, Promise("", ""))


def rank(invariant: str) -> tuple[int, str, int]:
    """Sorts S1, S2, ... S28, L1, ... L14; whatever else there is comes after."""
    letter, number = invariant[:1], invariant[1:]
    known = letter in {"S", "L"} and number.isdecimal() and number.isascii()
    return ("SL".index(letter), letter, int(number)) if known else (2, invariant, 0)
