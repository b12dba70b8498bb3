"""What `killswitch status` says of a state, for whoever is called at night: never less than is so, and nothing sooner than it is promised."""

from __future__ import annotations

import pytest

from killswitch.core import transparency
from killswitch.core.heads import ForkProof
from killswitch.core.keys import EVERY_TENANT
from killswitch.live import operator, view
from tests.unit.pair import REPLICAS, SECOND, SIDECAR, SIGNER, Link, cell


@pytest.mark.parametrize(
    ("left_ms", "said"),
    [
        (5_000, "later than 5.0 s from now"),
        (5_001, "later than 5.1 s from now"),
        (5_049, "later than 5.1 s from now"),
        (1, "later than 0.1 s from now"),
        (0, "no effect can take place any more"),
    ],
)
def test_a_bound_is_never_told_shorter_than_it_is(left_ms: int, said: str) -> None:
    assert operator._bounded({"nothing_applied_in_ms": left_ms, "guaranteed_at_every_sink": True}).endswith(said)


def caught(link: Link, origin: str) -> None:
    """Everybody is shown that ``origin`` has signed two heads of one size."""
    head = link[origin].state.publication.head
    other = transparency.sign_head(SIGNER, origin, head.size, bytes(32), 0)
    for node in REPLICAS:
        link.tell(node, ForkProof(head, other), next(replica for replica in REPLICAS if replica != node))


def test_who_keeps_two_logs_is_named_to_those_whom_it_concerns(capsys: pytest.CaptureFixture[str]) -> None:
    link = cell()
    link.run(15 * SECOND)
    state = link["replica/1"].state
    assert view.forked(state, frozenset({EVERY_TENANT})) == []
    caught(link, "replica/3")
    caught(link, SIDECAR)
    assert view.forked(state, frozenset({EVERY_TENANT})) == ["replica/3", SIDECAR]
    assert view.forked(state, frozenset({SIDECAR.split("/")[1]})) == ["replica/3", SIDECAR]
    assert view.forked(state, frozenset({"somebody-else"})) == ["replica/3"]
    operator._show_forked(view.forked(state, frozenset({EVERY_TENANT})))
    assert capsys.readouterr().out.splitlines() == [
        "  caught keeping two logs: replica/3; its grants count no more (killswitch audit verify says more)",
        f"  caught keeping two logs: {SIDECAR} (killswitch audit verify says more)",
    ]
