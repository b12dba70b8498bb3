"""A real Toxiproxy server for the live tests, or a skip that says why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.live.server import Server, ServerMissing, bring


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
