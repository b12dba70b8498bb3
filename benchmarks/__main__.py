"""`python -m benchmarks [--json FILE]`: how fast, as ratios taken in one run. Prints a table and writes it as JSON; passes no judgement.

What each row is stands in ``deliveries`` and ``runs``. Compare ratios, and only of the same Python version: interpreters and neighbours move
the absolute numbers by a factor of two, and the ratios by a tenth.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

from benchmarks import deliveries, runs
from benchmarks.measure import rates
from scenarios.model import Scenario

SCHEMA = "haltproof/benchmarks/2"
GOALS = {"ours_to_limit": 0.40, "ours_to_simpy": 0.70, "reference_runs_per_million_limit_deliveries": 125}


def measure() -> dict[str, Any]:
    """Everything, as the document that is written."""
    delivered = rates(deliveries.ROWS)
    return {
        "schema": SCHEMA,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "goals": GOALS,
        "deliveries_per_s": {name: round(rate) for name, rate in delivered.items()},
        "ours_to_limit": round(delivered["ours"] / delivered["limit"], 3),
        "ours_to_simpy": round(delivered["ours"] / delivered["simpy"], 3),
        "reference": played(runs.reference(), runs.REFERENCE_SEEDS, delivered["limit"]),
        "library": played(runs.library(), runs.LIBRARY_SEEDS, delivered["limit"]),
    }


def played(scenarios: list[Scenario], seeds: range, limit: float) -> dict[str, Any]:
    """Runs and facts a second, runs for each million deliveries of the limit, and the share of each part."""
    rate, facts = runs.runs_per_second(scenarios, seeds)
    return {
        "scenarios": len(scenarios),
        "seeds": len(seeds),
        "runs_per_s": round(rate, 2),
        "facts_per_s": round(facts),
        "runs_per_million_limit_deliveries": round(rate * 1e6 / limit, 2),
        "shares": {part: round(share, 3) for part, share in runs.shares(scenarios, seeds).items()},
    }


def show(found: dict[str, Any]) -> None:
    """The document as a table."""
    limit = found["deliveries_per_s"]["limit"]
    print(f"{found['python']}, CPU time, median of 5, one run\n")
    print(f"{'deliveries':<34}{'per second':>12}{'of the limit':>14}{'goal':>8}")
    names = {"limit": "heap, handler, send: the limit", "simpy": "SimPy, a callback a message", "ours": "ours, faults, trace and digest"}
    for row, rate in found["deliveries_per_s"].items():
        goal = f"{GOALS['ours_to_limit']:>8.2f}" if row == "ours" else ""
        print(f"{names[row]:<34}{rate:>12,}{rate / limit:>14.2f}{goal}")
    print(f"{'ours of SimPy with callbacks':<34}{found['ours_to_simpy']:>26.2f}{GOALS['ours_to_simpy']:>8.2f}")
    for name, goal in (("reference", str(GOALS["reference_runs_per_million_limit_deliveries"])), ("library", "")):
        part = found[name]
        scenarios = f"{part['scenarios']} scenarios" if part["scenarios"] > 1 else "scenario"
        print(f"\n{name}: {scenarios} x {part['seeds']} seeds, on one core")
        print(f"{'runs/s':<34}{part['runs_per_s']:>12,}")
        print(f"{'facts/s':<34}{part['facts_per_s']:>12,}")
        print(f"{'runs a million limit deliveries':<34}{part['runs_per_million_limit_deliveries']:>12,}{'':>14}{goal:>8}\n")
        for section, share in sorted(part["shares"].items(), key=lambda entry: -entry[1]):
            print(f"  {section:<12}{share:>6.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed, as ratios taken in one run.")
    parser.add_argument("--json", type=Path, default=Path("out/bench.json"), help="where the document goes (%(default)s)")
    place: Path = parser.parse_args().json
    found = measure()
    show(found)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(f"\nwritten to {place}")


if __name__ == "__main__":
    main()
