"""A real Toxiproxy server for the live tests, or a skip that says why there is none; and a mark that shows what a test left running."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.live.server import Server, ServerMissing, bring
from killswitch.live.process import processes_with


@pytest.fixture(scope="session")
def toxiproxy_binary() -> Path:
    try:
        return bring()
    except ServerMissing as missing:
        pytest.skip(f"no Toxiproxy server: {missing}")


@pytest.fixture
def server(toxiproxy_binary: Path, tmp_path: Path) -> Iterator[Server]:
    running = Server(toxiproxy_binary, tmp_path / "toxiproxy.log")
    yield running
    running.stop()


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A setting that every process of the test inherits; nothing that carries it may outlive the test. Runs are registered apart from others'."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    setting = ("HALTPROOF_TEST", uuid.uuid4().hex)
    monkeypatch.setenv(*setting)
    yield "=".join(setting)
    assert processes_with("=".join(setting)) == []
