"""L1 and L10 on hand-made histories: what every sidecar has to learn, and that all come to agree."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from harness.checkers.bounds import Bounds
from harness.verdict import Verdict
from tests.unit.histories import AGENT, FIRST, PARAMETERS, SECOND, SECOND_START, SIDECAR, Story

BOUNDS = Bounds.of(PARAMETERS)
HEALED_NS = 10 * SECOND
DUE_NS = HEALED_NS + BOUNDS.propagation_ns


def delivered(at_ns: int | None, end_ns: int) -> Story:
    story = Story()
    story.start_all()
    story.effective("o1")
    story.at(HEALED_NS).heal()
    if at_ns is not None:
        story.at(at_ns).learn(SIDECAR, "o1")
    return story.at(end_ns).end()


@pytest.mark.parametrize(
    ("at_ns", "end_ns", "verdict"),
    [
        (DUE_NS, DUE_NS, Verdict.VALID),
        (DUE_NS + 1, DUE_NS + 1, Verdict.INVALID),
        (None, DUE_NS, Verdict.INVALID),
        (None, DUE_NS - 1, Verdict.UNKNOWN),
    ],
)
def test_a_live_sidecar_learns_every_order_in_time(at_ns: int | None, end_ns: int, verdict: Verdict) -> None:
    finding = delivered(at_ns, end_ns).judged("L1")
    assert (finding.verdict, finding.examined) == (verdict, 1)
    if at_ns == DUE_NS:
        assert (finding.observed_ns, finding.bound_ns) == (BOUNDS.propagation_ns, BOUNDS.propagation_ns)


def test_without_a_heal_nothing_is_due() -> None:
    story = Story()
    story.start_all()
    story.effective("o1")
    story.at(600 * SECOND).end()
    assert story.judged("L1").verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("excuse", ["crashed", "paused", "covered", "never started", "source gone"])
def test_nothing_is_owed_to_who_cannot_learn(excuse: str) -> None:
    story = Story()
    story.start("replica/1", "replica/2", "replica/3")
    if excuse != "never started":
        story.start(SIDECAR)
    story.effective("o1")
    if excuse == "crashed":
        story.crash(SIDECAR)
    elif excuse == "paused":
        story.say("node-paused", SIDECAR)
    elif excuse == "covered":
        story.certify("replica/1", "c1", "o1")
    elif excuse == "source gone":
        story.crash("replica/1")
        story.crash("replica/2")
    story.heal()
    story.at(600 * SECOND).end()
    assert (story.judged("L1").verdict, story.judged("L1").examined) == (Verdict.VALID, 0)


# -- L10


def converged(orders: dict[str, list[str]], end_ns: int = DUE_NS) -> Story:
    story = Story()
    story.start_all()
    for node, held in orders.items():
        for order in held:
            story.learn(node, order)
        story.intent(node, held)
    story.at(HEALED_NS).heal()
    return story.at(end_ns).end()


EQUAL = {"replica/1": ["o1"], "replica/2": ["o1"], "replica/3": ["o1"], SIDECAR: ["o1"]}


def test_all_hold_the_same_in_the_end() -> None:
    finding = converged(EQUAL).judged("L10")
    assert (finding.verdict, finding.examined) == (Verdict.VALID, 4)


@pytest.mark.parametrize("behind", ["replica/2", "replica/3", SIDECAR])
@pytest.mark.parametrize(("end_ns", "verdict"), [(DUE_NS, Verdict.INVALID), (DUE_NS - 1, Verdict.UNKNOWN)])
def test_who_stays_behind_is_a_violation_once_it_was_due(behind: str, end_ns: int, verdict: Verdict) -> None:
    assert converged({**EQUAL, behind: []}, end_ns).judged("L10").verdict is verdict


def test_a_dead_node_need_not_agree_and_local_orders_are_nobodys_business() -> None:
    story = converged({**EQUAL, "replica/2": [], SIDECAR: ["o1", "local"]})
    story.facts.insert(-1, structs.replace(story.facts[-1], kind="node-crashed", node="replica/2", body={"lost_records": 0, "power": False}))
    assert (story.judged("L10").verdict, story.judged("L10").examined) == (Verdict.VALID, 3)


def lift(story: Story, what: str) -> None:
    """An order that all know is lifted, and replica 3 may not have heard of that; then a key under the certificate may be revoked."""
    everybody = ("replica/1", "replica/2", "replica/3", SIDECAR)
    for node in everybody:
        story.learn(node, "o1", "ISOLATE")
    for node in everybody if what == "lifted and taken in, then void" else everybody[:2]:
        story.certify(node, "c1", "o1")
    if what != "lifted elsewhere":
        for node in everybody:
            story.say("keyset-installed", node, version=2, authentic=True, revoked=["bob"], rotated=[])
    if what == "lifted twice, once void":
        story.certify("replica/1", "c2", "o1", approvers=("carol", "dave"))


@pytest.mark.parametrize(
    ("what", "verdict"),
    [("never", Verdict.INVALID), ("never says why", Verdict.INVALID), ("in time", Verdict.VALID), ("a greater token", Verdict.VALID),
     ("a lesser token", Verdict.INVALID), ("disk full", Verdict.VALID), ("caught", Verdict.VALID), ("in doubt", Verdict.VALID),
     ("another token", Verdict.VALID), ("ordered", Verdict.VALID), ("forged", Verdict.VALID), ("lifted and void", Verdict.VALID),
     ("lifted elsewhere", Verdict.INVALID), ("lifted twice, once void", Verdict.INVALID), ("lifted and taken in, then void", Verdict.INVALID),
     ("for another reason", Verdict.VALID), ("replica gone", Verdict.VALID), ("never healed", Verdict.VALID)],
)  # fmt: skip
def test_every_replica_that_an_agent_asks_comes_to_promise_its_token(what: str, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    if what == "ordered":
        for node in ("replica/1", "replica/2", "replica/3", SIDECAR):
            story.learn(node, "o1", "ISOLATE")
            story.intent(node, ["o1"])
    if what.startswith("lifted"):
        lift(story, what)
    story.at(HEALED_NS)
    if what != "never healed":
        story.heal()
    if what == "forged":
        story.say("hostile-input", "replica/3", sender="replica/1", what="order by one who may not", read=True)
    elif what in ("for another reason", "a greater token", "a lesser token"):
        promised = {"for another reason": FIRST, "a greater token": SECOND_START, "a lesser token": [1, 0, "a"]}[what]
        story.say("token-promised", "replica/3", agent=AGENT, token=promised)
    elif what == "disk full":
        story.say("disk-full", "replica/3", lsn=9)
    elif what == "caught":
        story.say("fork-proven", "replica/1", origin="replica/3", first=3, second=4)
    elif what == "in doubt":
        story.say("clock-suspected", "replica/3", peers=["replica/1", "replica/2"])
    speaks = what.startswith("lifted") or what in ("never", "another token", "ordered", "forged", "replica gone", "never healed", "in time")
    why = "unpromised" if speaks else "busy"
    denials = []
    for at_ns, token in ((HEALED_NS, FIRST), (DUE_NS, FIRST), (DUE_NS + SECOND, SECOND_START if what == "another token" else FIRST)):
        story.at(at_ns)
        if what == "in time" and at_ns > HEALED_NS:
            story.grant("replica/3")
        else:
            denials.append(story.say("lease-denied", "replica/3", agent=AGENT, nonce=f"n{at_ns}", replica="replica/3", token=token, why=why))
    if what == "replica gone":
        story.crash("replica/3")
    finding = story.at(2 * DUE_NS).end().judged("L10")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (denials[0], denials[-1])


@pytest.mark.parametrize(
    ("what", "verdict"),
    [("all", Verdict.VALID), ("all but the handed", Verdict.INVALID), ("all but a sidecar", Verdict.INVALID), ("nobody", Verdict.INVALID),
     ("never handed over", Verdict.VALID), ("full", Verdict.VALID), ("gone", Verdict.VALID), ("custody", Verdict.VALID),
     ("soon over", Verdict.VALID), ("lost with the power", Verdict.VALID), ("down when it came", Verdict.VALID)],
)  # fmt: skip
def test_what_root_keys_sign_comes_to_all(what: str, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    story.fault("rotate-keys", "replica/1")
    if what == "down when it came":
        story.crash("replica/1")
    if what != "never handed over":
        story.say("fault-fired", "world", fault="f1", what="rotate-keys")
    nodes = {
        "nobody": (),
        "never handed over": (),
        "lost with the power": (),
        "down when it came": (),
        "all but the handed": ("replica/2", "replica/3", SIDECAR),
    }
    for node in nodes.get(what, ("replica/1", "replica/2", "replica/3", SIDECAR) if what == "all" else ("replica/1", "replica/2", "replica/3")):
        story.say("keyset-installed", node, version=2, authentic=True, revoked=[], rotated=[])
    match what:
        case "full":
            story.say("disk-full", SIDECAR, lsn=3)
        case "gone":
            story.crash(SIDECAR)
        case "custody":
            story.fault("disk-lost", SIDECAR, fault="f2")
        case "lost with the power":
            story.crash("replica/1")
            story.start("replica/1", boot="boot-2")
        case "down when it came":
            story.start("replica/1", boot="boot-2")
    story.at(HEALED_NS).heal()
    assert story.at(DUE_NS - (what == "soon over")).end().judged("L10").verdict is verdict


@pytest.mark.parametrize(
    ("what", "verdict"),
    [("untold", Verdict.INVALID), ("told", Verdict.VALID), ("not durable", Verdict.VALID), ("lifted", Verdict.VALID), ("revoked", Verdict.VALID),
     ("another's", Verdict.VALID), ("gone", Verdict.VALID), ("soon over", Verdict.VALID)],
)  # fmt: skip
def test_what_a_sidecar_orders_itself_comes_to_a_replica(what: str, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    common: dict[str, Any] = {"order": "own", "tenant": "acme", "scope": ["agent", AGENT], "gate": 2, "life": 1, "grace_ns": 0, "cleanup": "none"}
    common["reason"] = ""
    signer = "replica/1" if what == "another's" else SIDECAR
    ordered = story.say("order-learned", SIDECAR, **common, issuer=signer, signer=signer, parent="", authentic=True, decided=[0, "", ""])
    story.intent(SIDECAR, ["own"])
    if what != "not durable":
        story.keep(SIDECAR, "own")
    match what:
        case "told":
            for replica in ("replica/1", "replica/2", "replica/3"):
                story.learn(replica, "own", "QUIESCE")
                story.intent(replica, ["own"])
        case "lifted":
            story.certify(SIDECAR, "c1", "own")
        case "revoked":
            story.say("keyset-installed", SIDECAR, version=2, authentic=True, revoked=[SIDECAR], rotated=[])
        case "gone":
            story.crash(SIDECAR)
    story.at(HEALED_NS).heal()
    finding = story.at(DUE_NS - (what == "soon over")).end().judged("L10")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (ordered,)
