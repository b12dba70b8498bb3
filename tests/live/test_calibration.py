"""A real calibration, and a real run beside its simulation: short, and everything that is compared is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import calibration, live_campaign
from harness.verdict import Verdict
from tests.live.schedules import MS, SECOND, order, short

pytestmark = [pytest.mark.live, pytest.mark.slow]


def test_a_run(tmp_path: Path, toxiproxy_binary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALTPROOF_TOXIPROXY", str(toxiproxy_binary))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    schedule = short(order("hard", SECOND))
    measured, left = calibration.calibrate([schedule], tmp_path / "calibration")
    assert (measured.why, left) == ("", ())
    for noise in (measured.timer, measured.trip, measured.sync):
        assert noise is not None and noise.samples > 10 and 0 < noise.p99_ns <= noise.worst_ns < SECOND
    judged, left = live_campaign.play(schedule, "killswitch", tmp_path, measured)
    simulated = judged.result.simulated
    assert left == () and judged.result.why == "" and simulated is not None
    assert Verdict.INVALID not in (judged.result.verdict, simulated.verdict)
    assert simulated.lacks == ()
    stops = {figure.of: (figure.live, figure.simulated) for figure in simulated.figures if figure.what == "stop_ns"}
    assert set(stops) == {"HARD on tenant acme, acme/1", "HARD on tenant acme, acme/2"}
    for live_ns, simulated_ns in stops.values():
        assert live_ns is not None and simulated_ns is not None and abs(live_ns - simulated_ns) < SECOND
    learned = [figure.live for figure in simulated.figures if figure.what == "learned_ns"]
    assert len(learned) == 2 and all(each is not None and MS // 10 < each < SECOND for each in learned)
