"""A real run whose fault was really not seen: it is played again, and both plays are kept and told."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import live_campaign
from harness.live.probe import Measured, Outcome, probe
from harness.verdict import Verdict
from killswitch.live.credentials import Credentials
from scenarios import load

pytestmark = [pytest.mark.live, pytest.mark.slow]

SCENARIO = """
scenario: unseen
hypothesis: A partition that nobody saw proves nothing.
topology:
  replicas: 3
  tenants:
    acme: {workers: 1, sinks: [ledger]}
parameters: {lease: 1s, renew: 250ms, grace: 1s, slack: 500ms, stop-timeout: 1s, gossip: 250ms}
workload: {tasks: 2/s, steps: 1..2}
timeline:
  - at: 500ms
    partition: {between: [replica 1, sidecar acme/1], shape: blackhole, for: 1s}
duration: 2s
seeds: 1
"""


@pytest.mark.parametrize("blind_plays", [1, 2])
def test_a_run_whose_fault_was_not_seen_is_played_once_more(
    tmp_path: Path, toxiproxy_binary: Path, monkeypatch: pytest.MonkeyPatch, blind_plays: int
) -> None:
    monkeypatch.setenv("HALTPROOF_TOXIPROXY", str(toxiproxy_binary))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    file, out = tmp_path / "unseen.yaml", tmp_path / "out"
    file.write_text(SCENARIO)
    scenario = load.load(file)

    async def blind(port: int, deadline_s: float, load_bytes: int = 8, credentials: Credentials | None = None) -> Measured:
        """Sees an echo where there is none, in the first plays."""
        seen = await probe(port, deadline_s, load_bytes, credentials)
        is_blind = len(list((out / "live").glob("unseen-*"))) <= blind_plays
        return Measured(Outcome.ECHOED, 1) if is_blind and seen.outcome is Outcome.SILENT else seen

    monkeypatch.setattr("harness.live.paths.probe", blind)
    played = live_campaign.play_all([(file, scenario)], lambda _: (1,), "killswitch", out, retries=1)
    assert (played.outcome.broken, played.left) == ("", [])
    (run,) = played.outcome.runs
    (first,) = run.earlier
    assert first.why.startswith("not seen to have happened: partition-1: ") and "'echoed': 1" in first.why
    assert run.verdict is (Verdict.VALID if blind_plays == 1 else Verdict.UNKNOWN), (run.why, [each for each in run.findings if each.why])
    assert (first.kept, run.kept) == ("runs/unseen-1.1", "runs/unseen-1")
    assert all((out / kept / "history.jsonl").stat().st_size > 10_000 for kept in (first.kept, run.kept))
