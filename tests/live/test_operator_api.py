"""The operator API under hands that mean no good: no certificate, somebody else's, forged signatures, and whatever a fuzzer thinks of."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from killswitch.core import trust
from killswitch.core.keys import Ed25519
from killswitch.core.messages import OrderRequest
from killswitch.core.scopes import Scope
from killswitch.core.trust import Trust
from killswitch.live import config, pki
from killswitch.live.credentials import Credentials
from tests.live.cells import Cell, cell

pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    with cell(tmp_path_factory.mktemp("api") / "c") as made:
        yield made


def ask(running: Cell, method: str, path: str, body: object = None, node: str = "operator/alice") -> tuple[int, Any]:
    credentials = Credentials(pki.files(running.directory / "pki", "test.example", node))
    host, port = config.split(running.api().removeprefix("https://"))
    connection = http.client.HTTPSConnection(host, port, timeout=10, context=credentials.client())
    try:
        connection.request(method, path, None if body is None else json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        said = response.read()
        return response.status, json.loads(said) if response.headers.get_content_type() == "application/json" else said.decode()
    finally:
        connection.close()


def order_form(running: Cell, signer: str, request: str = "r1", **changes: object) -> dict[str, object]:
    keys = pki.signing_key(running.directory / "pki", f"operator/{signer}")
    asked = OrderRequest(request, signer, "acme", Scope("agent", "acme/a1"), 2, 2, 0, "test")
    signed = trust.sign_request(Trust(Ed25519(keys, {}), config.load(running.file).keyset(), 1), asked)
    form: dict[str, object] = {
        "request": request, "tenant": "acme", "scope": {"kind": "agent", "value": "acme/a1"}, "gate": 2, "life": 2, "grace_ns": 0, "reason": "test",
        "cleanup": "none", "signature": base64.b64encode(signed.signature).decode(),
    }  # fmt: skip
    return form | changes


def test_a_signed_order_is_effective_and_the_same_request_gives_the_same_order(running: Cell) -> None:
    code, first = ask(running, "POST", "/v1/orders", order_form(running, "alice"))
    assert (code, first["stage"]) == (200, "EFFECTIVE")
    assert first["stands"]["bounded"]["nothing_admitted_in_ms"] <= 1011  # 1 s / (1 - 1 %), rounded up
    code, again = ask(running, "POST", "/v1/orders", order_form(running, "alice"))
    assert (code, again["order"]) == (200, first["order"])


def test_without_the_right_certificate_nobody_is_heard(running: Cell) -> None:
    host, port = config.split(running.api().removeprefix("https://"))
    bare = ssl.create_default_context(cafile=running.roots)
    connection = http.client.HTTPSConnection(host, port, timeout=5, context=bare)
    with pytest.raises((OSError, http.client.HTTPException)):  # noqa: PT012  # TLS 1.3 tells of a missing certificate with the first answer
        connection.request("GET", "/v1/status")
        connection.getresponse()
    connection.close()
    for node in ("sidecar/acme/a1", "replica/2", "sink/acme/ledger"):
        code, answer = ask(running, "GET", "/v1/status", node=node)
        assert code == 403 and "only people" in answer["detail"]


@pytest.mark.parametrize(
    ("sender", "signer", "changes"),
    [
        ("operator/alice", "bob", {}),  # another's signature
        ("operator/bob", "alice", {}),  # another's request
        ("operator/alice", "alice", {"life": 0}),  # something else than was signed
        ("operator/alice", "alice", {"scope": {"kind": "tenant", "value": "acme"}}),
        ("operator/alice", "alice", {"signature": ""}),
        ("operator/mallory", "mallory", {}),
    ],
)
def test_what_the_person_did_not_sign_is_refused(running: Cell, sender: str, signer: str, changes: dict[str, object]) -> None:
    code, answer = ask(running, "POST", "/v1/orders", order_form(running, signer, "forged", **changes), node=sender)
    assert code == 403, answer


@pytest.mark.parametrize(
    "body",
    [
        None, [], {}, "x", {"request": "r"}, {"raw": "!", "request": "r", "approvals": []},
        {"request": "r" * 200, "tenant": "acme", "scope": {"kind": "agent"}, "gate": 0, "life": 0, "reason": "", "signature": ""},
        {"request": "r", "tenant": "acme", "scope": {"kind": "agent"}, "gate": 9, "life": 0, "reason": "", "signature": ""},
        {"request": "r", "tenant": "acme", "scope": {"kind": "agent"}, "gate": 1, "life": 1, "reason": "", "signature": "", "sudo": True},
        {"request": "r", "tenant": "acme", "scope": {"kind": "agent"}, "gate": 1, "life": 1, "grace_ns": 1 << 70, "reason": "", "signature": ""},
    ],
)  # fmt: skip
def test_what_is_not_of_the_form_is_told_so(running: Cell, body: object) -> None:
    for path in ("/v1/orders", "/v1/resumes", "/v1/resumes/drafts"):
        assert ask(running, "POST", path, body)[0] == 422


def test_a_countersigned_request_that_is_not_what_it_is_named_as_is_told_so_at_once(running: Cell) -> None:
    form = {"request": "r1", "raw": base64.b64encode(b"no request").decode(), "signature": "", "countersignatures": []}
    assert ask(running, "POST", "/v1/orders/countersigned", form)[0] == 422


def test_a_body_without_end_is_not_taken_in(running: Cell) -> None:
    credentials = Credentials(pki.files(running.directory / "pki", "test.example", "operator/alice"))
    host, port = config.split(running.api().removeprefix("https://"))
    for chunked, expected in ((False, 413), (True, 400)):
        connection = http.client.HTTPSConnection(host, port, timeout=10, context=credentials.client())
        body = iter([b"x" * (1 << 16)] * 40) if chunked else b"x" * (2 << 20)
        # It need not listen to the end; whether the answer arrives before the reset that follows is up to the kernel.
        with contextlib.closing(connection), contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
            connection.request("POST", "/v1/orders", body, {"content-type": "application/json"}, encode_chunked=chunked)
            assert connection.getresponse().status == expected
    assert ask(running, "GET", "/v1/status")[0] == 200


def test_metrics_are_for_people_of_the_cell_too(running: Cell) -> None:
    code, text = ask(running, "GET", "/metrics")
    assert (
        code == 200
        and "killswitch_stops_unconfirmed " in text
        and "killswitch_forks_proven 0" in text
        and "# TYPE killswitch_frames_sent_total counter" in text
    )


def test_a_fuzzer_of_the_openapi_finds_no_server_error(running: Cell, tmp_path: Path) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    transport = {"cert": running.credentials("operator/alice"), "verify": running.roots}
    schema = schemathesis.openapi.from_url(f"{running.api()}/openapi.json", **transport)
    tried = 0
    for operation in schema.get_all_operations():

        @given(case=operation.ok().as_strategy())
        @settings(max_examples=25, deadline=None, derandomize=True, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        def fuzz(case: Any) -> None:
            nonlocal tried
            tried += 1
            response = case.call(**transport)
            assert response.status_code < 500, (response.status_code, response.text)
            case.validate_response(response, checks=[schemathesis.checks.not_a_server_error])

        fuzz()
    assert tried > 100
    assert ask(running, "GET", "/v1/status")[0] == 200
