"""What makes a request the same, as facts tell it."""

from __future__ import annotations

from typing import Any

import pytest

from harness.checkers.requests import Request, asked_for, ruled_on
from harness.checkers.subjects import Order
from harness.shared.history import Fact

ASKED = Request("r", "alice", "acme", ("tenant", "acme"), 1, 1, 9, "drill", "compensate")
BODY: dict[str, Any] = {"request": "r", "principal": "alice", "tenant": "acme", "scope": ["tenant", "acme"], "gate": 1, "life": 1, "grace_ns": 9,
                        "reason": "drill", "cleanup": "compensate"}  # fmt: skip
ORDER = Order("o1", "acme", ("tenant", "acme"), 2, 2, 3, frozenset(), 0, 0, issuer="alice", reason="drill", cleanup="compensate")


def asked(**body: Any) -> Request:
    return asked_for(Fact(0, "order-requested", "operator", 0, {**BODY, **body}))


def ruled(requested: list[int], order: Order | None) -> Request:
    return ruled_on(Fact(0, "decision", "replica/1", 0, {"request": "r", "tenant": "acme", "order": "o1", "requested": requested}), order)


def test_a_request_and_the_ruling_on_it_tell_the_same_whatever_came_of_it() -> None:
    assert asked() == ruled([1, 1, 9], ORDER) == ASKED


@pytest.mark.parametrize(
    "other",
    [{"request": "s"}, {"principal": "bob"}, {"tenant": "globex"}, {"scope": ["agent", "acme/1"]}, {"gate": 2}, {"life": 2}, {"grace_ns": 8},
     {"reason": "other"}, {"cleanup": "none"}],
)  # fmt: skip
def test_each_part_of_its_content_makes_it_another(other: dict[str, Any]) -> None:
    assert asked(**other) != ASKED


def test_numbers_that_make_no_sense_are_the_nearest_that_do() -> None:
    assert asked(gate=9, life="KILL", grace_ns=-1) == asked(gate="CLOSED", life=7, grace_ns=0) == ruled([2, 2, -5], ORDER)


def test_what_earlier_versions_do_not_tell_is_empty() -> None:
    body = {name: value for name, value in BODY.items() if name not in ("reason", "cleanup")}
    assert asked_for(Fact(0, "order-requested", "operator", 0, body)) == ASKED._replace(reason="", cleanup="")
    assert ruled([1, 1], None) == Request("r", "", "acme", ("", ""), 1, 1, 0)
