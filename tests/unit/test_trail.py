"""What logs that are left say of each other when a run is over."""

from __future__ import annotations

import pytest

from harness.shared import trail
from killswitch.core.heads import Sth
from tests.unit.trails import Log

WRITER = "sidecar/acme/1"


def log(*records: str) -> Log:
    """A writer's log that holds these records."""
    written = Log(WRITER)
    for record in records:
        written.add("SECURITY", {"what": record})
    return written


LEFT, OTHER = log("a", "b", "c", "d"), log("a", "b", "x", "y", "z")


@pytest.mark.parametrize(
    ("heads", "returned"),
    [
        ((LEFT.head(2), LEFT.head(4)), []),
        ((LEFT.head(2), OTHER.head(3)), []),  # as far as it saw, they are one log
        ((OTHER.head(2), LEFT.head(4)), []),
        ((OTHER.head(3), LEFT.head(4)), ["replica/1"]),
        ((OTHER.head(5), LEFT.head(4)), ["replica/1"]),  # of another log, or the end of this one that is gone: it does not come back
        ((LEFT.head(2), OTHER.head(3), OTHER.head(4), LEFT.head(4)), ["replica/1"]),
    ],
)
def test_a_witness_that_comes_back_to_a_log_from_another(heads: tuple[Sth, ...], returned: list[str]) -> None:
    witness, other = Log("replica/1"), Log("replica/2").cosign(OTHER.head(3))
    for head in heads:
        witness.cosign(head)
    cosigned = trail.cosigned({each.writer: each.records for each in (witness, other)})
    body = trail.verified(WRITER, LEFT.records, cosigned, chain_ok=True)
    assert (body["returned"], body["sound"]) == (returned, False)


def test_a_log_that_nobody_cosigned() -> None:
    body = trail.verified(WRITER, LEFT.records, {}, chain_ok=True)
    assert body == {"writer": WRITER, "records": 4, "cosigned": 0, "sound": True, "why": "", "returned": []}
