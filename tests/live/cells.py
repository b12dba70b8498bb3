"""A whole cell on this machine for live tests, as an operator would run it: the ``killswitch`` command and nothing else."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.live.ports import free_port
from killswitch.live.process import processes_with

ROOT = Path(__file__).resolve().parents[2]
COOKIE = "KILLSWITCH_TEST_CELL"
CELL = """\
cell: test
trust-domain: test.example
times: {{lease: 1s, renew: 200ms, grace: 5s, stop-timeout: 2s, slack: 1s, drift: 1%, approvals: 2}}
replicas:
  1: {{listen: "127.0.0.1:{}", api: "127.0.0.1:{}"}}
  2: {{listen: "127.0.0.1:{}", api: "127.0.0.1:{}"}}
  3: {{listen: "127.0.0.1:{}", api: "127.0.0.1:{}"}}
tenants:
  acme:
    sinks:
      ledger: {{class: F, listen: "127.0.0.1:{}"}}
    agents:
      a1: {{sinks: [ledger], labels: [tier=gold]}}
      once: {{sinks: [ledger], restart: never}}
  globex: {{}}
people:
  alice: {{roles: [operator], tenants: [acme]}}
  bob: {{roles: [approver], tenants: [acme]}}
  carol: {{roles: [approver, auditor], tenants: [acme]}}
  root: {{roles: [operator], tenants: ["*"]}}
  mallory: {{roles: [operator, approver, auditor], tenants: [globex]}}
"""


class Cell:
    """Processes of one cell below ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "cell.yaml"
        self.environment = {**os.environ, COOKIE: str(directory), "PYTHONPATH": str(ROOT), "KILLSWITCH_CONFIG": str(self.file)}
        self.processes: list[subprocess.Popen[bytes]] = []
        directory.mkdir(parents=True)
        self.file.write_text(CELL.format(*(free_port() for _ in range(7))))
        assert self.run("pki", str(directory)).returncode == 0

    def start(self, *arguments: str, log: str) -> subprocess.Popen[bytes]:
        with self.log(log).open("ab") as out:
            command = [sys.executable, "-m", "killswitch.live.command", *arguments]
            started = subprocess.Popen(command, env=self.environment, stdout=out, stderr=out, cwd=ROOT, start_new_session=True)
        self.processes.append(started)
        return started

    def run(self, *arguments: str, person: str = "alice") -> subprocess.CompletedProcess[str]:
        """A command of a person, to its end."""
        command = [sys.executable, "-m", "killswitch.live.command", *arguments]
        environment = {**self.environment, "KILLSWITCH_AS": person}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)

    def document(self, *arguments: str, person: str = "alice") -> dict[str, Any]:
        done = self.run(*arguments, "--json", person=person)
        assert done.stdout, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def guard(self, *command: str, agent: str = "acme/a1") -> subprocess.Popen[bytes]:
        return self.start("sidecar", "--agent", agent, "--", *command, log=agent.replace("/", "-"))

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def said(self, name: str, pattern: str, times: int = 1) -> bool:
        return len(re.findall(pattern, self.log(name).read_text())) >= times

    def api(self, replica: int = 1) -> str:
        found = re.findall(r'api: "([^"]+)"', self.file.read_text())
        return f"https://{found[replica - 1]}"

    def credentials(self, node: str) -> tuple[str, str]:
        """(certificate, key) of a node, as HTTP clients take them."""
        place = self.directory / "pki" / node.replace("/", "-")
        return str(place / "certificate.pem"), str(place / "key.pem")

    @property
    def roots(self) -> str:
        return str(self.directory / "pki" / "roots.pem")

    def left(self) -> list[int]:
        return processes_with(f"{COOKIE}={self.directory}")

    def end(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in self.left():
            os.kill(pid, signal.SIGKILL)


@contextmanager
def cell(directory: Path) -> Iterator[Cell]:
    """Replicas and the sink of a cell, up; sidecars are the test's."""
    made = Cell(directory)
    try:
        made.start("control-plane", log="plane")
        made.start("sink", log="sink")
        until(lambda: made.said("plane", "people at", 3) and made.said("sink", "class F"), 30)
        yield made
    finally:
        made.end()


def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)
