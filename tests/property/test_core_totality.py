"""Whatever comes in, in whatever order: a step never raises, does only what drivers know how to carry out, and does the same again (S27).

Messages hold hostile values wherever their type lets them: numbers to the end of what the wire can carry, strangers for agents and sinks,
words that mean nothing. Among them are enough true names, tokens and signatures that the inputs get past the first check.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct, inspect

from killswitch.core import audit, build, checkpoints, codec, journal, trust
from killswitch.core.bundles import Decision
from killswitch.core.certificates import Approval, ResumeBody, ResumeCertificate, ResumeDraftRequest
from killswitch.core.events import (
    Append,
    Boot,
    CheckpointDurable,
    Command,
    DiskFailed,
    DiskFreed,
    DiskFull,
    Durable,
    Effect,
    Input,
    ProcessExited,
    Receive,
    Record,
    Send,
    SetTimer,
    Submit,
    Timer,
    WriteCheckpoint,
)
from killswitch.core.intent import HARD, ISOLATE, SOFT
from killswitch.core.messages import NO_TOKEN, Evidence, Gossip, Message, Order, OrderBody, OrderRequest, Task, Token, UnknownProhibition
from killswitch.core.scopes import Scope
from tests.property import structures
from tests.unit import pair
from tests.unit.pair import AGENT, AGENT_NODE, BANK, LEDGER, POST, REPLICAS, SECOND, SIDECAR, TRUST, Link, cell

NODES = ("replica/1", SIDECAR, AGENT_NODE, LEDGER, BANK, POST, "operator")
FIRST = Token(1, 1, "boot-1.1.1")
LARGE = st.sampled_from([-(2**63), -(2**62), -1, 0, 1, 2, 2**31, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
NUMBERS = st.integers(-3, 9) | LARGE | st.integers(-(2**63), 2**64 - 1)
KEYS = (journal.key_of("t", 0), journal.key_of("t", 1), "k")
WORDS = st.sampled_from(
    ["", "new", "inflight", "undo", "APPLIED", "DENIED", "ABSENT", "IN_DOUBT", "UNKNOWN", "REJECTED_FENCED", "REJECTED_CHALLENGE", "unpromised",
     "EFFECTIVE", "ACCEPTED", "DRAFTED", "NEEDS_CONTEXT", "STOPPED_CLEAN", "GATE_CLOSED", "agent", "label", "tenant", "global", "acme", "alice",
     "bob", "t", "req", "none", "order", "resume", *KEYS]
) | st.text(st.characters(codec="utf-8"), max_size=6)  # fmt: skip
NAMES: dict[str, st.SearchStrategy[str]] = {
    "agent": st.sampled_from([AGENT, "acme/2", "globex/1", "acme", "", "/", "acme/1/x", "x" * 40]),
    "sink": st.sampled_from([LEDGER, BANK, POST, "sink/globex/x", "sink", ""]),
    "replica": st.sampled_from([*REPLICAS, "replica/9", ""]),
    "sender": st.sampled_from([*NODES, *REPLICAS, "sidecar/globex/1", "stranger", ""]),
    "principal": st.sampled_from(["alice", "bob", "mallory", SIDECAR, ""]),
    "request": st.sampled_from(["req", "other", ""]),
    "key": st.sampled_from([*KEYS, ""]),
    "nonce": st.sampled_from(["boot-1.1/1", "boot-1.1/2", "boot-1.1/9", "req", ""]),
}
TOKENS = st.sampled_from([NO_TOKEN, FIRST, Token(1, 2, ""), Token(1, 2, "x"), Token(1, 2**64 - 1, "x"), Token(-1, -5, ""), Token(2**64 - 1, 0, "")])
SCOPES = st.builds(Scope, st.sampled_from(["agent", "label", "tenant", "global", "odd"]), st.sampled_from([AGENT, "tier=gold", "acme", ""]))


def signed_order(tenant: str, scope: Scope, gate: int, life: int, grace_ns: int, signer: str) -> Order:
    return trust.sign_order(TRUST, signer, OrderBody(tenant, scope, gate, life, grace_ns, "alice", "n", "r"))


GOOD_ORDERS = tuple(
    pair.order(severity, scope=scope, grace_ns=grace)
    for severity in (SOFT, ISOLATE, HARD)
    for scope in (pair.WHOLE_TENANT, pair.EVERYBODY)
    for grace in (0, SECOND)
)
ORDERS = st.sampled_from(GOOD_ORDERS) | st.builds(
    signed_order, st.sampled_from(["acme", "globex", ""]), SCOPES, NUMBERS, NUMBERS, NUMBERS, st.sampled_from(["replica/1", "alice"])
)
ORDERS |= st.builds(Order, st.binary(max_size=9), WORDS, st.binary(max_size=4))


def signed_certificate(scope: Scope, covers: list[Order], words: list[str], epoch: int) -> ResumeCertificate:
    ids = (*(pair.id_of(order) for order in covers), *words)
    raw = codec.pack(ResumeBody("acme", scope, ids, epoch, "r", "alice", "n", Decision(epoch, "", "")))
    return pair.signed(raw, "bob", "carol")


CERTIFICATES = st.builds(signed_certificate, SCOPES, st.lists(ORDERS, max_size=3), st.lists(WORDS, max_size=1), NUMBERS)
CERTIFICATES |= st.builds(
    ResumeCertificate, st.binary(max_size=9), st.lists(st.builds(Approval, WORDS, st.binary(max_size=4)), max_size=2).map(tuple)
)


SPECIAL = {Token: TOKENS, Order: ORDERS, ResumeCertificate: CERTIFICATES, Scope: SCOPES}


def leaves(kind: inspect.Type, name: str) -> st.SearchStrategy[Any] | None:
    """By its name where that has a meaning."""
    match kind:
        case inspect.IntType() | inspect.EnumType():
            return NUMBERS
        case inspect.StrType():
            return NAMES[name] | WORDS if name in NAMES else WORDS
        case inspect.BytesType():
            return st.binary(max_size=8)
        case inspect.StructType():
            return SPECIAL[kind.cls] if kind.cls in SPECIAL else structs_of(kind.cls)
    return None


@lru_cache
def structs_of(kind: type[Struct]) -> st.SearchStrategy[Any]:
    built = structures.built(kind, leaves)
    if kind in (OrderRequest, ResumeDraftRequest):
        return built | built.map(lambda request: trust.sign_request(TRUST, request))
    if kind is Evidence:
        return built | built.map(lambda evidence: trust.sign_evidence(TRUST, SIDECAR, evidence))
    return built


ANY_MESSAGE: st.SearchStrategy[Message] = st.sampled_from(sorted(codec.WIRE_TYPES)).flatmap(lambda name: structs_of(codec.WIRE_TYPES[name]))
ANY_MESSAGE |= structs_of(Evidence) | st.builds(UnknownProhibition, NUMBERS, NUMBERS, WORDS, WORDS)
TASKS = st.builds(Task, st.sampled_from(["t", "u", ""]), st.sampled_from([LEDGER, BANK, POST, "nowhere"]), NUMBERS, NUMBERS)
TIMERS = st.sampled_from(["renew", "lease", "permits", "grace", "kill", "gossip", "waiting", "think", "retry", "req", "no such"])
ANY_INPUT: st.SearchStrategy[Input] = st.one_of(
    st.builds(Receive, NAMES["sender"], ANY_MESSAGE),
    st.builds(Receive, NAMES["sender"], ANY_MESSAGE),
    st.builds(Receive, st.sampled_from([*REPLICAS, SIDECAR, AGENT_NODE, LEDGER]), ANY_MESSAGE),
    st.builds(Timer, TIMERS),
    st.builds(Durable, st.integers(-1, 40) | LARGE),
    st.builds(DiskFailed, NUMBERS),
    st.builds(DiskFull, NUMBERS),
    st.builds(DiskFreed),
    st.builds(ProcessExited, NUMBERS, st.booleans()),
    st.builds(CheckpointDurable, st.integers(0, 9)),
    st.builds(Submit, TASKS),
    structs_of(Command),
)
EXAMPLES = 100
STORY = st.lists(st.tuples(ANY_INPUT, st.integers(0, 8 * SECOND)), max_size=25)


@lru_cache
def lived(node: str) -> tuple[tuple[Input, int], ...]:
    """All that a node took in, from Boot on, in a cell that worked, was stopped and was resumed."""
    link: Link = cell("operator")
    link.hand_over(Task("t", LEDGER, 2, 1), Task("u", BANK, 2, 1), Task("v", POST, 2, 1))
    link.run(SECOND)
    soft = pair.order(SOFT)
    for replica in REPLICAS:
        link.tell(replica, Gossip("", orders=(soft,)), REPLICAS[REPLICAS.index(replica) - 1])
    link.run(4 * SECOND)
    link.give("operator", Command("resume", "r", "alice", "acme", "tenant", "acme", approvers=("bob", "carol")))
    link.run(9 * SECOND)
    return tuple(link[node].inputs)


def survived(node: str) -> tuple[Record, ...]:
    """What the last start of a node found on its disk."""
    boot = lived(node)[0][0]
    assert isinstance(boot, Boot)
    return boot.records


def play(node: str, prelude: int, story: list[tuple[Input, int]]) -> list[list[Effect]]:
    """The effects of each step of a fresh machine that lived through the beginning of a sound life before it met with the story."""
    machine = build.machine(pair.config(node), pair.SIGNER)
    life = lived(node)[: 1 + prelude]
    steps = [machine.step(event, at) for event, at in life]
    now = life[-1][1]
    for event, pause in story:
        now += pause
        steps.append(machine.step(event, now))
        assert isinstance(machine.digest(), str)
    return steps


def assert_can_be_carried_out(effects: list[Effect], seq: int) -> int:
    """Every effect is one that drivers know, records follow each other, and messages fit on the wire."""
    for effect in effects:
        assert isinstance(effect, Effect)
        if isinstance(effect, Append):
            seq += 1
            assert effect.record.seq == seq
            assert audit.is_canonical(effect.record.body)
        elif isinstance(effect, Send):
            assert effect.after_lsn <= seq
            codec.encode(effect.message, "a", effect.to, "acme")
        elif isinstance(effect, SetTimer):
            assert effect.at_ns is None or isinstance(effect.at_ns, int)
        elif isinstance(effect, WriteCheckpoint):
            assert checkpoints.unseal(effect.body) is not None
    return seq


@pytest.mark.parametrize("node", NODES)
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(story=STORY, prelude=st.integers(0, 90))
def test_a_step_never_raises_and_does_the_same_again(node: str, story: list[tuple[Input, int]], prelude: int) -> None:
    steps = play(node, prelude, story)
    seq = len(survived(node))
    for effects in steps:
        seq = assert_can_be_carried_out(effects, seq)
    assert play(node, prelude, story) == steps


@pytest.mark.parametrize("node", [node for node in NODES if node != "operator"])
@settings(max_examples=40)
@given(cut=st.integers(0, 60), slots=st.lists(st.binary(max_size=50), max_size=2).map(tuple), boot=st.sampled_from(["boot-1", "boot-2"]))
def test_whatever_survives_of_a_log_boots(node: str, cut: int, slots: tuple[bytes, ...], boot: str) -> None:
    records = list(survived(node))
    machine = build.machine(pair.config(node), pair.SIGNER)
    for event, at in lived(node):
        records += [effect.record for effect in machine.step(event, at) if isinstance(effect, Append)]
    steps = [
        build.machine(pair.config(node), pair.SIGNER).step(Boot(tuple(records[:cut]), boot, "i", cut % 2, slots, FIRST), SECOND) for _ in range(2)
    ]
    assert_can_be_carried_out(steps[0], len(records[:cut]))
    assert steps[0] == steps[1]


@pytest.mark.parametrize("node", NODES)
@given(story=STORY)
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
def test_before_boot_nothing_happens_but_to_the_operator(node: str, story: list[tuple[Input, int]]) -> None:
    machine = build.machine(pair.config(node), pair.SIGNER)
    for event, _ in story:
        effects = machine.step(event, SECOND)
        assert effects == [] or node == "operator"
