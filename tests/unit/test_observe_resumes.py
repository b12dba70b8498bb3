"""What an observer makes of resumes on their way in."""

from __future__ import annotations

import hashlib

from msgspec.structs import replace

from killswitch.core import codec
from killswitch.core.bundles import Decision
from killswitch.core.certificates import Approval, ResumeBody, ResumeCertificate, ResumeDraftRequest, ResumeStatus, ResumeSubmit
from killswitch.core.events import Durable, Receive, Send
from killswitch.core.scopes import Scope
from killswitch.core.stamps import Reading
from tests.unit.pair import SIGNER
from tests.unit.test_observe import KILL_ID, Bench, boot


def test_a_client_is_seen_to_ask_for_drafts() -> None:
    bench = Bench("operator")
    asked = ResumeDraftRequest("r", "alice", "acme", Scope("tenant", "acme"), "")
    assert bench.tick(Send("replica/2", asked)) == ["draft-asked"]
    assert bench.last.body == {"request": "r", "replica": "replica/2"}


def test_what_a_replica_is_handed_and_answers_is_told_each_time() -> None:
    bench, sidecar = Bench("replica/1"), Bench()
    bench.step(boot())
    ends = (Reading("replica/1", "b", 7), Reading("replica/2", "c", 8))
    body = ResumeBody("acme", Scope("tenant", "acme"), (KILL_ID,), 1, "", "alice", "r", Decision(3, "", ""), 2, ends)
    raw = codec.pack(body)
    signed = [("alice", "resume-asked"), ("bob", "resume"), ("carol", "resume")]
    approvals = tuple(Approval(person, SIGNER.sign(person, domain, raw)) for person, domain in signed)
    handed_in = Receive("operator", ResumeSubmit("r", ResumeCertificate(raw, approvals)))
    assert bench.step(handed_in) == ["resume-handed-in"]
    certificate = hashlib.sha256(raw).hexdigest()
    assert bench.last.body == {
        "request": "r", "certificate": certificate, "tenant": "acme", "scope": ["tenant", "acme"], "covers": [KILL_ID],
        "approvers": ["bob", "carol"], "authentic": True, "policy_seq": 3, "ends": [["replica/1", "b", 7], ["replica/2", "c", 8]],
    }  # fmt: skip
    assert sidecar.step(handed_in) == []
    again = tuple(Approval(person, SIGNER.sign(person, "resume", raw)) for person in ("bob", "frank"))
    bench.step(Receive("operator", ResumeSubmit("r", ResumeCertificate(raw, (*approvals[:2], *again)))))
    assert bench.last.body["approvers"] == ["bob"]  # frank signed, and may not
    assert bench.step(Receive("operator", ResumeSubmit("r", ResumeCertificate(b"\xc1", ())))) == []
    told = ResumeStatus("r", certificate, "EXPIRED")
    assert bench.tick(Send("operator", told)) == bench.tick(Send("operator", told)) == ["resume-told"]
    assert bench.tick(Send("operator", replace(told, stage="ACCEPTED"), 9)) == []
    assert sorted(bench.step(Durable(9))) == ["resume-told", "vouched"]
