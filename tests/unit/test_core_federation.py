"""Two cells: intent is shared, leases and effectiveness are each cell's own, and status says which cell it speaks of."""

from __future__ import annotations

from msgspec import structs

from killswitch.core import federation, trust
from killswitch.core.cells import CellStatus
from killswitch.core.certificates import ResumeDraft, ResumeDraftRequest
from killswitch.core.events import Command, Observe
from killswitch.core.intent import HARD
from killswitch.core.machine import Cell, NodeConfig
from killswitch.core.messages import NO_TOKEN, Gate, Gossip, LeaseReply, LeaseRequest, Life, OrderStatus, StartReply, StartRequest, Token
from killswitch.core.scopes import Scope
from tests.unit import pair
from tests.unit.pair import AGENT, REPLICAS, SECOND, SIDECAR, TRUST, Link, Seat

SOUTH = ("replica/4", "replica/5", "replica/6")
CELLS = (Cell("cell-1", REPLICAS, 2, 2, (AGENT, "globex/1")), Cell("cell-2", SOUTH, 2, 2, ("acme/2",)))
FAR = "sidecar/acme/2"


def config(node: str) -> NodeConfig:
    usual = pair.config(node)
    home = REPLICAS if node in (*REPLICAS, SIDECAR) else SOUTH if node in (*SOUTH, FAR) else (*REPLICAS, *SOUTH)
    return structs.replace(usual, replicas=home, cells=CELLS)


def both() -> Link:
    """Two cells and a client, without agents."""
    link = Link()
    link.seats = {node: Seat(config(node)) for node in (*REPLICAS, *SOUTH, "operator")}
    link.boot()
    return link


def split(link: Link, *beside: str) -> None:
    """The cells no longer hear each other; ``beside``: who stays with the first."""
    north = {*REPLICAS, *beside}
    link.cut = lambda sender, to, message: (sender in north) != (to in north)


def kill(link: Link, scope: Scope) -> None:
    command = Command("order", "r", "alice", "acme", scope.kind, scope.value, Gate.CLOSED, Life.KILL, 0, "because", (), REPLICAS[0])
    link.give("operator", command)


def told(link: Link) -> dict[str, tuple[str, int]]:
    """What the client was last told of each cell."""
    seats = [link[node] for node in (*REPLICAS, *SOUTH)]
    found: dict[str, tuple[str, int]] = {}
    for status in (status for seat in seats for status in seat.sent(CellStatus, "operator")):
        found[status.cell] = max(found.get(status.cell, ("", -1)), (status.stage, status.copies), key=lambda each: each[1])
    return found


def everywhere(link: Link) -> list[dict[str, object]]:
    return [effect.fields for effect in link["operator"].effects if isinstance(effect, Observe) and effect.kind == "order-status"]


def test_who_is_at_home_where() -> None:
    assert federation.own(config("replica/5")).name == "cell-2"
    assert federation.everyone(config(SIDECAR)) == (*REPLICAS, *SOUTH)
    assert federation.concerned(config("operator"), Scope("agent", "acme/2")) == CELLS[1:]
    assert federation.concerned(config("operator"), Scope("tenant", "acme")) == CELLS
    assert federation.concerned(pair.config("operator"), Scope("agent", AGENT)) == (Cell("", REPLICAS, 2, 2),)
    assert federation.at_home(pair.config("replica/1"), "acme/not-deployed")
    assert not federation.at_home(config("replica/1"), "acme/not-deployed")


def test_an_order_for_all_is_effective_when_it_is_in_every_cell_and_said_of_each() -> None:
    link = both()
    kill(link, Scope("global"))
    assert {cell: stage for cell, (stage, _) in told(link).items()} == {"cell-1": "EFFECTIVE", "cell-2": "EFFECTIVE"}
    assert [fields["stage"] for fields in everywhere(link)] == ["EFFECTIVE"]
    assert not link["operator"].state.errands
    assert not [status for seat in link.seats.values() for status in seat.sent(OrderStatus)]


def test_a_cell_that_cannot_be_reached_is_not_said_to_hold_anything() -> None:
    link = both()
    split(link, "operator")
    kill(link, Scope("global"))
    link.run(20 * SECOND)
    assert told(link)["cell-1"][0] == "EFFECTIVE"
    assert told(link)["cell-2"] == ("ACCEPTED", 0)
    assert everywhere(link) == []
    assert link["operator"].state.errands
    link.cut = lambda sender, to, message: False
    link.run(10 * SECOND)
    assert told(link)["cell-2"][0] == "EFFECTIVE"
    assert len(everywhere(link)) == 1
    assert all(len(link[node].state.intent.orders) == 1 for node in (*REPLICAS, *SOUTH))


def test_of_two_orders_that_one_request_became_each_has_to_be_everywhere() -> None:
    """The cells' policies differ: what one of them is said to hold is not what the other is."""
    link = both()
    link.cut = lambda sender, to, message: True
    kill(link, Scope("global"))
    for order, cell in (("hard", "cell-1"), ("soft", "cell-2")):
        link.tell("operator", CellStatus("r", order, cell, "EFFECTIVE", 2), REPLICAS[0])
    assert everywhere(link) == []
    assert link["operator"].state.errands
    link.tell("operator", CellStatus("r", "hard", "cell-2", "EFFECTIVE", 3), SOUTH[0])
    assert [(fields["order"], fields["copies"]) for fields in everywhere(link)] == [("hard", 5)]
    assert not link["operator"].state.errands


def test_an_order_for_one_agent_is_effective_at_its_home_alone() -> None:
    link = both()
    split(link, "operator")
    kill(link, Scope("agent", "acme/2"))
    link.run(5 * SECOND)
    assert set(told(link)) == {"cell-2"}
    assert told(link)["cell-2"][0] == "ACCEPTED"
    assert everywhere(link) == []


def test_no_cell_grants_or_promises_to_another_cells_agent() -> None:
    link = both()
    link.tell(REPLICAS[0], LeaseRequest("acme/2", Token(1, 1, "x"), "n", "", 0, "RUNNING"), FAR)
    assert [(reply.len_ns, reply.why) for reply in link[REPLICAS[0]].sent(LeaseReply)] == [(0, "foreign cell")]
    link.tell(REPLICAS[0], StartRequest("acme/2", Token(1, 1, "x"), ""), FAR)
    assert [(reply.granted, reply.why) for reply in link[REPLICAS[0]].sent(StartReply)] == [(False, "foreign cell")]
    link.tell(SOUTH[0], StartRequest("acme/2", Token(1, 1, "x"), ""), FAR)
    assert [reply.granted for reply in link[SOUTH[0]].sent(StartReply)] == [True]


def test_a_grant_from_another_cell_is_not_counted() -> None:
    link = Link()
    link.seats = {node: Seat(config(node)) for node in (*REPLICAS, SIDECAR)}
    link.boot()
    link.run(3 * SECOND)  # it has a token
    link.cut = lambda sender, to, message: True
    link.run(3 * SECOND)  # and asks without being heard
    asked = link[SIDECAR].sent(LeaseRequest)[-1]
    grants = link[SIDECAR].state.rounds[asked.nonce].grants
    for replicas, counted in ((SOUTH, []), (REPLICAS[:1], [REPLICAS[0]])):
        for replica in replicas:
            link.tell(SIDECAR, LeaseReply(AGENT, asked.nonce, asked.token, replica, SECOND, "", asked.view, NO_TOKEN, 0), replica)
        assert list(grants) == counted


def test_a_draft_waits_for_every_cell_that_it_concerns() -> None:
    link = both()
    link.tell(SOUTH[0], Gossip("", orders=(pair.order(HARD),)), SOUTH[1])
    split(link, "operator")
    request = trust.sign_request(TRUST, ResumeDraftRequest("d", "alice", "acme", Scope("tenant", "acme"), "all clear"))
    link.tell(REPLICAS[0], request, "operator")
    assert not link[REPLICAS[0]].sent(ResumeDraft)
    link.cut = lambda sender, to, message: False
    link.tell(REPLICAS[0], request, "operator")
    drafts = link[REPLICAS[0]].sent(ResumeDraft)
    assert [draft.stage for draft in drafts] == ["DRAFTED"]
