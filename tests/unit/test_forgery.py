"""Forged certificates are such in every cell, however few approvals a resume takes there."""

from __future__ import annotations

import pytest
from msgspec import structs

from harness.shared.forgery import FORGERIES, aim_at, forged
from harness.shared.judge import Judge
from killswitch.core import trust
from killswitch.core.messages import OrderPush
from tests.unit import pair

CERTIFICATES = [what for what in FORGERIES if what.startswith("certificate")]


@pytest.mark.parametrize("approvals", [1, 2, 3])
@pytest.mark.parametrize("what", CERTIFICATES)
def test_nobody_believes_a_forged_certificate(what: str, approvals: int) -> None:
    config = pair.config(pair.SIDECAR, parameters=structs.replace(pair.PARAMETERS, approvals=approvals))
    believes, judge = pair.TRUST._replace(approvals=approvals), Judge(pair.SIGNER, pair.REPLICAS, approvals)
    aim = aim_at(config, 0, lambda tenant: (f"an order of {tenant}",))
    for number in range(6):
        made, message = forged(pair.SIGNER, aim, number, lambda _: sorted(FORGERIES).index(what), "replica/1")
        assert made == what and isinstance(message, OrderPush)
        (certificate,) = message.certificates
        assert trust.read_certificate(believes, certificate) is None
        assert not judge.certificate(certificate.raw, [(each.approver, each.signature) for each in certificate.approvals])
