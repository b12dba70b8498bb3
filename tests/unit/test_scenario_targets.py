"""Target words stand for the nodes and links that a reader would expect, and for no others."""

from __future__ import annotations

import pytest

from scenarios import derive, targets
from scenarios.load import parse
from scenarios.targets import Roster
from scenarios.units import UnitError

ROSTER = Roster(
    derive.topology(
        parse(
            "scenario: a\nhypothesis: b\ntopology:\n  replicas: 2\n"
            "  tenants: {acme: {workers: 2}, acme2: {workers: 1, sinks: [{name: mail, class: C}]}}\n"
        ).topology
    )
)


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("replicas", ("replica/1", "replica/2")),
        ("replica 2", ("replica/2",)),
        ("replica 9", ()),
        ("sidecars", ("sidecar/acme/1", "sidecar/acme/2", "sidecar/acme2/1")),
        ("sidecars acme", ("sidecar/acme/1", "sidecar/acme/2")),
        ("sidecar acme2/1", ("sidecar/acme2/1",)),
        ("agents acme2", ("agent/acme2/1",)),
        ("sinks", ("sink/acme/ledger", "sink/acme2/mail")),
        ("sink acme/mail", ()),
        ("operator", ("operator",)),
        ("  sidecar   acme/1 ", ("sidecar/acme/1",)),
    ],
)
def test_a_word_stands_for_nodes(text: str, nodes: tuple[str, ...]) -> None:
    assert ROSTER.matching(targets.word(text)) == nodes


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("sidecar", "write tenant and name, for example sidecar acme/1"),
        ("sink ledger", "write tenant and name, for example sink acme/ledger"),
        ("replica", "write its number, for example replica 2"),
        ("replica 0", "write its number, for example replica 2"),
        ("sidecar/acme/1", "write it with a space: sidecar acme/1"),
        ("acme/1", "say which of its nodes: sidecar acme/1, agent acme/1 or sink acme/1"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_one(text: str, remedy: str) -> None:
    with pytest.raises(UnitError) as refused:
        targets.word(text)
    assert refused.value.remedy == remedy


def test_links_are_those_that_the_protocol_speaks_over() -> None:
    assert ("replica/1", "replica/2") in ROSTER.links
    assert ("sidecar/acme/1", "sink/acme/ledger") in ROSTER.links
    assert ("sidecar/acme/1", "sink/acme2/mail") not in ROSTER.links
    assert ("replica/1", "operator") in ROSTER.links
    assert not [link for link in ROSTER.links if "agent/acme/1" in link]
    assert len(ROSTER.links) == len(set(ROSTER.links)) == 2 * (1 + 2 * (3 + 2 + 1) + 3)


def test_between_hits_both_ways_and_never_within_a_side() -> None:
    sides = ROSTER.sides([targets.words(["replica 1", "sidecars acme"]), targets.words("replica 2")])
    assert set(ROSTER.between(sides)) == {
        link
        for one in ("replica/1", "sidecar/acme/1", "sidecar/acme/2")
        for link in ((one, "replica/2"), ("replica/2", one))
    }  # fmt: skip


def test_rest_is_what_the_other_sides_leave() -> None:
    _, rest = ROSTER.sides([targets.words("replica 1"), targets.words("rest")])
    assert set(rest) == set(ROSTER.nodes) - {"replica/1"}
    assert ROSTER.sides([targets.words(["rest", "replica 1"]), targets.words("replicas")])[0][0] == "replica/1"


def test_one_way_is_one_way() -> None:
    links = ROSTER.one_way(ROSTER.replicas, ("sidecar/acme/1",))
    assert links == (("replica/1", "sidecar/acme/1"), ("replica/2", "sidecar/acme/1"))


def test_in_a_ring_each_side_sees_its_neighbours_alone_and_of_majorities_no_two_are_the_same() -> None:
    five = Roster(derive.topology(parse("scenario: a\nhypothesis: b\ntopology: {replicas: 5, tenants: {acme: {workers: 1}}}\n").topology))
    sides = [(replica,) for replica in five.replicas]
    cut = set(five.ring(sides))
    assert {source for source, target in cut if target == "replica/1"} == {"replica/3", "replica/4"}
    assert len(cut) == 10
    assert all((target, source) in cut for source, target in cut)
    cut = set(five.majorities(sides))
    heard = {target: {target} | {source for source in five.replicas if source != target and (source, target) not in cut} for target in five.replicas}
    assert heard["replica/4"] == {"replica/4", "replica/5", "replica/1"}
    assert {len(majority) for majority in heard.values()} == {3}
    assert len({frozenset(majority) for majority in heard.values()}) == 5
    assert ROSTER.ring([("replica/1",), ("replica/2",), ("sidecar/acme/1",)]) == ()
