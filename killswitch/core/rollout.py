"""How policies come into force in stages, and how they decide meanwhile (protocol 3.9).

Owns the order of rollouts, the snapshot that is in force, and the joint answer of a stable policy and one on trial. Must not know how requests for
a rollout are authorised or how rollouts travel (``replica.rollouts``), nor how one policy answers (``policy``).

Rollouts are a set that grows, like intent: in force is the greatest that is durable here, so replicas that hold the same set agree, whatever they
heard first. Going back is a step forward: a higher number over an older policy. Every decision is made on one snapshot, from start to end.

|stage|a kill|a resume|
|---|---|---|
|SHADOW|as stable; what the candidate says is only noted|as stable|
|CANARY, in a percentage of scopes|the join of both: a bad canary stops too much, never too little|what both allow, with the approvals of either|
|STABLE, ROLLED_BACK|as stable|as stable|
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NamedTuple

from msgspec import Struct, structs

from killswitch.core import audit, codec, policy
from killswitch.core.bundles import TEXT_MAX, BundleBody, PolicyBundle, RolloutBody, RolloutRecord, RolloutRequest, Stage
from killswitch.core.messages import COUNTER_MAX
from killswitch.core.policy import Bundle, Request, Ruling

FIRST_SEQ: Final = 1  # the policy of the deployment, which no rollout brought
KEPT_MAX: Final = 16  # rollouts that are remembered: the newest, with their policies


class Snapshot(Struct, frozen=True):
    """What is in force at one replica. ``record`` is the id of the rollout, empty for the deployment's own policy."""

    seq: int
    stage: str
    stable: Bundle
    canary: Bundle | None = None
    former: str = ""
    percent: int = 0
    salt: str = ""
    guard: int = 0
    record: str = ""


class KnownRollout(Struct, frozen=True):
    """A verified rollout with its id and parsed body."""

    id: str
    record: RolloutRecord
    body: RolloutBody


class Answer(NamedTuple):
    """A decision: ``ruling`` is what counts, ``stable`` what the stable policy said, ``candidate`` what the one on trial did, if there is one."""

    ruling: Ruling
    stable: Ruling
    candidate: Ruling | None


class Asker(NamedTuple):
    """Who asked for a rollout, in which request, and whether he was told that it is effective."""

    request: str
    operator: str
    told_effective: bool = False


class Policies:
    """Every policy and rollout that a replica knows. ``durable`` rollouts may be in force; a policy is named by the hash of its text.

    ``asked``: {rollout: who asked for it}, until he has the last word of it. ``heard``: {replica: digest} of the rollouts that it
    held durably when it was last heard.
    """

    def __init__(self, deployed: Bundle) -> None:
        self.texts: dict[str, str] = {deployed.digest: deployed.text}
        self.bundles: dict[str, PolicyBundle] = {}
        self.rollouts: dict[str, KnownRollout] = {}
        self.durable: set[str] = set()
        self.asked: dict[str, Asker] = {}
        self.heard: dict[str, str] = {}
        self.deployed = structs.replace(deployed, seq=FIRST_SEQ)
        self.in_force = Snapshot(FIRST_SEQ, Stage.STABLE, self.deployed)


# -- deciding ----------------------------------------------------------------------------------------------------------------------------


def decide(snapshot: Snapshot, request: Request) -> Answer:
    """The answer to ``request`` under one snapshot. Pure and total, like `policy.decide`."""
    stable = policy.decide(snapshot.stable, request)
    if snapshot.canary is None:
        return Answer(stable, stable, None)
    candidate = policy.decide(snapshot.canary, request)
    if snapshot.stage != Stage.CANARY or not is_chosen(snapshot, request):
        return Answer(stable, stable, candidate)
    both = join(stable, candidate) if request.action == policy.STOP else meet(stable, candidate)
    return Answer(structs.replace(both, canary_hash=candidate.policy_hash), stable, candidate)


def is_chosen(snapshot: Snapshot, request: Request) -> bool:
    """Whether the canary decides here as well: the same scope is always in or always out, under one salt, at every replica."""
    words = f"{snapshot.salt}\0{request.tenant}\0{request.scope_kind}\0{request.scope_value}"
    return int.from_bytes(sha256(words.encode("utf-8", "surrogatepass")).digest()[:8]) % 100 < snapshot.percent


def join(stable: Ruling, candidate: Ruling) -> Ruling:
    """A kill under both: never less than the stable policy says. The candidate may raise it, or order what the other would have refused."""
    if not candidate.allowed:
        return stable
    if not stable.allowed:
        return structs.replace(candidate, policy_hash=stable.policy_hash, raised=True)
    gate, life = max(stable.gate, candidate.gate), max(stable.life, candidate.life)
    return structs.replace(
        stable, gate=gate, life=life, grace_ns=min(stable.grace_ns, candidate.grace_ns), approvals=max(stable.approvals, candidate.approvals),
        rules=both_sorted(stable.rules, candidate.rules), errors=both_sorted(stable.errors, candidate.errors),
        raised=(gate, life) != (stable.gate, stable.life),
    )  # fmt: skip


def meet(stable: Ruling, candidate: Ruling) -> Ruling:
    """A resume under both: only what both allow, and as hard as either makes it."""
    return structs.replace(
        stable, allowed=stable.allowed and candidate.allowed, approvals=max(stable.approvals, candidate.approvals),
        rules=both_sorted(stable.rules, candidate.rules), errors=both_sorted(stable.errors, candidate.errors),
    )  # fmt: skip


def both_sorted(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*one, *other}))


# -- what is known -----------------------------------------------------------------------------------------------------------------------


def read_bundle(bundle: PolicyBundle) -> BundleBody | None:
    """Parse a bundle; `None` if it is not one, or longer than anybody should send. Says nothing about who signed it."""
    body = codec.unpack(bundle.raw, BundleBody)
    return None if body is None or len(body.text) > TEXT_MAX else body


def read_rollout(record: RolloutRecord) -> KnownRollout | None:
    """Parse a rollout; `None` if it is not one, or counts beyond what can be counted on. Says nothing about who signed it."""
    body = codec.unpack(record.raw, RolloutBody)
    if body is None or body.stage not in Stage.__members__ or not FIRST_SEQ < body.seq < COUNTER_MAX:
        return None
    return KnownRollout(sha256(record.raw).hexdigest(), record, body)


def text_hash(text: str) -> str:
    return Bundle(text).digest


def add_bundle(policies: Policies, bundle: PolicyBundle, body: BundleBody) -> bool:
    """Take a policy in. False if its text was known: nothing changes then."""
    name = text_hash(body.text)
    if name in policies.texts:
        return False
    policies.texts[name] = body.text
    policies.bundles[name] = bundle
    return True


def add_rollout(policies: Policies, known: KnownRollout) -> bool:
    """Take a rollout in, without putting it in force. False if it is known, too old to matter, or speaks of a policy that is not known here."""
    if known.id in policies.rollouts or not {*policies_of(known.body)} <= policies.texts.keys():
        return False
    if len(policies.rollouts) >= KEPT_MAX and rank(known) < rank(min(policies.rollouts.values(), key=rank)):
        return False
    policies.rollouts[known.id] = known
    return True


def policies_of(body: RolloutBody) -> list[str]:
    """The policies that a rollout speaks of, by hash."""
    return [name for name in (body.stable, body.canary, body.former) if name]


def rank(known: KnownRollout) -> tuple[int, bool, str]:
    """Which of two rollouts is in force: the higher number. Two of one number were made apart; then going back wins over going on."""
    return (known.body.seq, known.body.stage == Stage.ROLLED_BACK, known.id)


def put_in_force(policies: Policies, rollout: str) -> bool:
    """A rollout is durable. Whether that changed what is in force."""
    if rollout not in policies.rollouts:
        return False
    policies.durable.add(rollout)
    latest = newest(policies)
    if latest is None or latest.id == policies.in_force.record:
        return False
    policies.in_force = snapshot_of(policies, latest)
    return True


def newest(policies: Policies) -> KnownRollout | None:
    """The greatest of the durable rollouts."""
    return max((policies.rollouts[id_] for id_ in policies.durable if id_ in policies.rollouts), key=rank, default=None)


def follows(policies: Policies, known: KnownRollout) -> bool:
    """Whether what is in force is this rollout, or came of it step by step; also where a step between is too old to be remembered."""
    latest = policies.rollouts.get(policies.in_force.record)
    while latest is not None and latest.body.seq > known.body.seq:
        latest = policies.rollouts.get(latest.body.parent)
    return latest is None or latest.id == known.id


def snapshot_of(policies: Policies, known: KnownRollout) -> Snapshot:
    body = known.body
    canary = Bundle(policies.texts[body.canary], body.seq) if body.canary else None
    stable = Bundle(policies.texts[body.stable], body.seq)
    return Snapshot(body.seq, body.stage, stable, canary, body.former, body.percent, body.salt, body.guard, known.id)


def forget_old(policies: Policies) -> None:
    """Keep the newest rollouts, and the policies that they and the one in force speak of."""
    for known in sorted(policies.rollouts.values(), key=rank)[:-KEPT_MAX]:
        del policies.rollouts[known.id]
        policies.durable.discard(known.id)
    wanted = {policies.deployed.digest, *(name for known in policies.rollouts.values() for name in policies_of(known.body))}
    for name in [name for name in policies.texts if name not in wanted]:
        del policies.texts[name]
        policies.bundles.pop(name, None)


def digest(policies: Policies) -> str:
    """Equal for equal sets of rollouts; empty as long as nobody has rolled anything out."""
    return audit.digest_of(sorted(policies.rollouts)) if policies.rollouts else ""


# -- the next step -----------------------------------------------------------------------------------------------------------------------


def base(policies: Policies) -> Snapshot:
    """What the next rollout follows: the greatest that is known, durable or not, so that no number is given twice here."""
    latest = max(policies.rollouts.values(), key=rank, default=None)
    return policies.in_force if latest is None else snapshot_of(policies, latest)


def next_step(now: Snapshot, stage: str, candidate: str, percent: int, guard: int, request: str) -> RolloutBody | str:
    """The rollout that ``request`` asks for, or why there is none. ``candidate``: the hash of the policy to try; empty: the one on trial."""
    on_trial = candidate or (now.canary.digest if now.canary else "")
    if stage == Stage.ROLLED_BACK:
        return rolled_back(now, request)
    if not on_trial:
        return "no policy is on trial, and the request names none"
    if stage == Stage.STABLE:
        return RolloutBody(now.seq + 1, stage, on_trial, "", now.stable.digest, 0, "", 0, request, now.record)
    return RolloutBody(
        now.seq + 1, stage, now.stable.digest, on_trial, now.former, _clamped(percent), request, max(guard, 0), request, now.record
    )  # fmt: skip


def is_asked_by(body: RolloutBody, request: RolloutRequest) -> bool:
    """Whether a request under the name of the one that made a rollout asks for the same."""
    tried = body.stable if body.stage == Stage.STABLE else body.canary
    same = request.stage == body.stage and (not request.text or text_hash(request.text) == tried or body.stage == Stage.ROLLED_BACK)
    return same and (body.stage != Stage.CANARY or (_clamped(request.percent), max(request.guard, 0)) == (body.percent, body.guard))


def _clamped(percent: int) -> int:
    return min(max(percent, 0), 100)


def rolled_back(now: Snapshot, request: str) -> RolloutBody | str:
    """Back, by a step forward: from a trial to the policy that is stable, else from a promotion to the one before it.

    A function of what is undone and of ``request`` alone, so that replicas whose guards trip at once make the same rollout.
    """
    stable = now.stable.digest if now.canary else now.former
    if not stable:
        return "nothing is on trial, and nothing was promoted"
    former = now.former if now.canary else ""
    return RolloutBody(now.seq + 1, Stage.ROLLED_BACK, stable, "", former, 0, "", 0, request, now.record)
