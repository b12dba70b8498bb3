"""What a message carries, in the words of scenarios."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from harness.shared.signals import carries
from killswitch.core.certificates import ResumeCertificate, ResumeSubmit
from killswitch.core.messages import Gossip, IntentReply, LeaseReply, Message, Order, OrderPush, StartReply, StopAck, Token

ORDERS = (Order(b"raw", "replica/1", b"signature"),)
CERTIFICATES = (ResumeCertificate(b"raw", ()),)
TOKEN = Token(1, 1, "a")
DENIAL = LeaseReply("acme/1", "n", TOKEN, "replica/1", 0, "gate closed", "", TOKEN, 0)
GRANT = replace(DENIAL, len_ns=1)

CARRIED: dict[str, tuple[Message, set[str]]] = {
    "a plain message": (StopAck(1, ()), set()),
    "a denial": (DENIAL, set()),
    "a grant": (GRANT, {"grant"}),
    "a denial that says why": (replace(DENIAL, orders=ORDERS), {"order"}),
    "a grant with news": (replace(GRANT, orders=ORDERS, certificates=CERTIFICATES), {"grant", "order", "certificate"}),
    "a push": (OrderPush(ORDERS, ()), {"order"}),
    "a push of a resume": (OrderPush((), CERTIFICATES), {"certificate"}),
    "idle gossip": (Gossip("digest", durable=("id",), order_ids=("id",)), set()),
    "gossip": (Gossip("digest", orders=ORDERS), {"order"}),
    "what is known": (IntentReply("n", ORDERS, CERTIFICATES), {"order", "certificate"}),
    "a refused start": (StartReply("acme/1", TOKEN, "replica/1", False, False, "killed", TOKEN, "", orders=ORDERS), {"order"}),
    "a resume on its way in": (ResumeSubmit("r", CERTIFICATES[0]), {"certificate"}),
}


@pytest.mark.parametrize("name", CARRIED)
def test_a_message_is_each_signal_that_it_carries_and_no_other(name: str) -> None:
    message, signals = CARRIED[name]
    assert {what for what in ("order", "grant", "certificate") if carries(message, what)} == signals
    assert carries(message, "any")
