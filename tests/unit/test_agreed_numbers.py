"""Numbers of the protocol that a checker knows by itself, for it must not ask whom it judges: they are those that the core goes by."""

from __future__ import annotations

import pytest

from harness.checkers import audit, bounds, policies, room
from killswitch.core import agent, operator, rollout, traffic
from killswitch.core import audit as core_audit
from killswitch.core.sidecar import state


def test_the_reserve_of_a_full_disk_is_for_the_same_records() -> None:
    assert room.PROHIBITIONS == core_audit.RESERVED


@pytest.mark.parametrize(
    ("known", "gone_by"),
    [
        (policies.KEPT_MAX, rollout.KEPT_MAX),
        (policies.FIRST_SEQ, rollout.FIRST_SEQ),
        (audit.PERMITS_A_RECORD, state.PERMITS_A_RECORD),
        (bounds.BACKOFF_CAP_NS, traffic.BACKOFF_CAP_NS),
        (bounds.DOUBT_RETRY_NS, agent.DOUBT_RETRY_MAX_NS),
        (bounds.ASK_AGAIN_NS, operator.RETRY_MAX_NS),
    ],
    ids=["rollouts kept", "first policy", "permits a record", "backoff", "in doubt", "asked again"],
)
def test_a_checker_and_the_core_go_by_the_same_number(known: int, gone_by: int) -> None:
    assert known == gone_by
