"""What a deployed node tells of itself while it runs: a line of JSON for each record of its log, and traces if OpenTelemetry is there.

Owns nothing that anybody relies on: the log is the truth, this is how people notice. A failure here changes nothing, and nothing waits for it.

One order is one trace: its id is the trace's, so that what replicas and sidecars say of it, each by itself, comes together: accepted here and there,
effective, learned, gate closed, stopped. Spans are moments, for nodes do not share a clock. They go where the environment says
(``OTEL_EXPORTER_OTLP_ENDPOINT``), with the extra ``otel`` installed.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, TextIO

from killswitch.core import audit, intent
from killswitch.core.events import Append, Effect, Input, Record
from killswitch.core.machine import Machine

TEXT_MAX: Final = 200
LINES_MAX: Final = 1024
ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"

Teller = Callable[[str, Record], None]


class Told:
    """``machine``, and tellers that hear of every record which it appends."""

    def __init__(self, machine: Machine, node: str, tellers: Iterable[Teller]) -> None:
        self._machine = machine
        self._node = node
        self._tellers = tuple(tellers)

    @property
    def state(self) -> Any:
        return getattr(self._machine, "state", None)

    def step(self, event: Input, now_ns: int) -> list[Effect]:
        effects = self._machine.step(event, now_ns)
        for effect in effects:
            if isinstance(effect, Append):
                self._tell(effect.record)
        return effects

    def digest(self) -> str:
        return self._machine.digest()

    def _tell(self, record: Record) -> None:
        for teller in self._tellers:
            try:
                teller(self._node, record)
            except Exception as error:  # noqa: BLE001  # whatever it is, the step that it came from is not undone by it
                sys.stderr.write(f"telemetry: {type(error).__name__}: {error}\n")


def tellers() -> tuple[Teller, ...]:
    """Lines on standard error, and traces where the environment asks for them."""
    return (Lines(sys.stderr), traces(exporter())) if os.environ.get(ENDPOINT) else (Lines(sys.stderr),)


# -- Lines ---------------------------------------------------------------------------------------------------------------------------


class Lines:
    """A JSON document a line to ``out``: when by the wall clock (for people), who, what, and whatever of the body is short and readable.

    Written from a thread of its own: a pipe that nobody reads must not hold up a step. What does not fit meanwhile is dropped, and counted.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._dropped = 0
        self.waiting: queue.Queue[str] = queue.Queue(LINES_MAX)
        threading.Thread(target=self._write, name="lines", daemon=True).start()

    def __call__(self, node: str, record: Record) -> None:
        if record.kind == audit.COSIG:
            return  # a note of witnessing for every head of every log is no news
        said = {"at": time.time(), "node": node, "record": record.seq, "kind": record.kind, "order": order_of(record), "dropped": self._dropped or ""}
        said |= {key: value for key, value in audit.content(record).items() if _is_short(value)}
        try:
            self.waiting.put_nowait(json.dumps({key: value for key, value in said.items() if value != ""}) + "\n")
        except queue.Full:
            self._dropped += 1

    def _write(self) -> None:
        while True:
            line = self.waiting.get()
            with contextlib.suppress(OSError, ValueError):  # whoever read it has gone
                self._out.write(line)
                self._out.flush()
            self.waiting.task_done()


def _is_short(value: object) -> bool:
    if isinstance(value, list):
        return len(value) <= 8 and all(_is_short(each) for each in value)
    return isinstance(value, bool | int) or (isinstance(value, str) and len(value) <= TEXT_MAX)


def order_of(record: Record) -> str:
    """The order that a record is about; empty if it is about none."""
    body = audit.content(record)
    if record.kind in ("ORDER_ACCEPTED", "ORDER_LEARNED") and isinstance(body.get("raw"), bytes):
        return intent.content_id(body["raw"])
    found = body.get("order") or body.get("parent") or ""
    return found if isinstance(found, str) else ""


# -- Traces --------------------------------------------------------------------------------------------------------------------------


def exporter() -> Any:
    """OTLP over HTTP, as the environment configures it. Raises `OSError` that says what to install."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise OSError(f"{ENDPOINT} is set, and OpenTelemetry is not installed: pip install 'haltproof[otel]', or unset it") from error
    return OTLPSpanExporter()


def traces(to: Any, *, at_once: bool = False) -> Teller:
    """A span for each record that is about an order, to the span exporter ``to``, in batches from a thread of its own if not ``at_once``."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    provider = TracerProvider(resource=Resource({"service.name": "killswitch"}))
    provider.add_span_processor(SimpleSpanProcessor(to) if at_once else BatchSpanProcessor(to))
    tracer = provider.get_tracer("killswitch")

    def tell(node: str, record: Record) -> None:
        order = order_of(record)
        if not order:
            return
        root = SpanContext(int(order[:32], 16), int(order[32:48], 16), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
        stage = audit.content(record).get("stage", "")
        name = f"{record.kind} {stage}".strip()
        span = tracer.start_span(name, context=set_span_in_context(NonRecordingSpan(root)))
        span.set_attributes({"killswitch.node": node, "killswitch.order": order, "killswitch.record": record.seq})
        span.end()

    return tell
