"""What a node tells of itself: a line for each record, one trace for each order, and never at the cost of a step."""

from __future__ import annotations

import gzip
import io
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from killswitch.core import codec, intent
from killswitch.core.audit import Chain
from killswitch.core.events import Append, Boot, Effect, Input
from killswitch.core.messages import OrderBody
from killswitch.core.scopes import Scope
from killswitch.live import telemetry

RAW = codec.pack(OrderBody("acme", Scope("agent", "acme/a1"), 2, 2, 0, "alice", "n", "why"))
ORDER = intent.content_id(RAW)


class Machine:
    """Records an order, its effect, and something that concerns none."""

    def step(self, event: Input, now_ns: int) -> list[Effect]:
        chain = Chain("boot")
        said: list[Append] = [
            chain.append("ORDER_ACCEPTED", {"raw": RAW, "signer": "replica/1", "signature": b"s" * 64}, now_ns),
            chain.append("EVIDENCE", {"order": ORDER, "agent": "acme/a1", "stage": "STOPPED_CLEAN", "token": [1, 2, "i"]}, now_ns),
            chain.append("BOOT", {"instance": "x", "long": "y" * 500}, now_ns),
        ]
        return list(said)

    def digest(self) -> str:
        return "d"


BOOT = Boot((), "boot", "i")


def test_each_record_is_a_line_with_what_is_short_and_readable() -> None:
    out = io.StringIO()
    written = telemetry.Lines(out)
    told = telemetry.Told(Machine(), "replica/1", [written])
    assert told.step(BOOT, 7) == Machine().step(BOOT, 7)
    written.waiting.join()
    accepted, evidence, boot = [json.loads(line) for line in out.getvalue().splitlines()]
    assert (accepted["kind"], accepted["order"], "raw" in accepted) == ("ORDER_ACCEPTED", ORDER, False)
    assert (evidence["stage"], evidence["agent"], evidence["token"], evidence["node"]) == ("STOPPED_CLEAN", "acme/a1", [1, 2, "i"], "replica/1")
    assert (boot["record"], boot["instance"], "long" in boot, "order" in boot) == (3, "x", False, False)


class Stuck(io.StringIO):
    """Nobody reads: whoever writes waits."""

    def write(self, text: str) -> int:
        threading.Event().wait(60)
        return len(text)


def test_a_pipe_that_nobody_reads_holds_up_no_step() -> None:
    stuck = telemetry.Lines(Stuck())
    told = telemetry.Told(Machine(), "replica/1", [stuck])
    began = time.monotonic()
    for _ in range(telemetry.LINES_MAX):
        told.step(BOOT, 0)
    assert time.monotonic() - began < 30  # three times what fits; the rest is dropped, and counted
    assert stuck._dropped >= telemetry.LINES_MAX


def test_a_teller_that_fails_costs_a_line_and_no_step(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(node: str, record: object) -> None:
        raise OSError("no space")

    assert len(telemetry.Told(Machine(), "replica/1", [broken]).step(BOOT, 0)) == 3
    assert capsys.readouterr().err.count("telemetry: OSError: no space") == 3


def test_what_all_nodes_say_of_one_order_is_one_trace() -> None:
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    kept: list[tuple[str, int, str]] = []

    class Kept(SpanExporter):
        def export(self, spans):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  # as the SDK calls it
            kept.extend((span.name, span.context.trace_id, span.attributes["killswitch.node"]) for span in spans)
            return SpanExportResult.SUCCESS

    for node in ("replica/1", "sidecar/acme/a1"):
        telemetry.Told(Machine(), node, [telemetry.traces(Kept(), at_once=True)]).step(BOOT, 0)
    trace = int(ORDER[:32], 16)
    assert kept == [(name, trace, node) for node in ("replica/1", "sidecar/acme/a1") for name in ("ORDER_ACCEPTED", "EVIDENCE STOPPED_CLEAN")]


def test_traces_reach_a_collector_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """The very exporter that a node gets from its environment, and a collector that reads what the protocol says."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    taken: list[tuple[str, ExportTraceServiceRequest]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            taken.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base class calls it
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        monkeypatch.setenv(telemetry.ENDPOINT, f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        telemetry.Told(Machine(), "replica/1", [telemetry.traces(telemetry.exporter(), at_once=True)]).step(BOOT, 0)
        server.shutdown()
        serving.join()
    spans = [span for _, request in taken for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]
    assert {path for path, _ in taken} == {"/v1/traces"}
    assert [(span.name, span.trace_id.hex()) for span in spans] == [(name, ORDER[:32]) for name in ("ORDER_ACCEPTED", "EVIDENCE STOPPED_CLEAN")]
