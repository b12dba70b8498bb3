"""`python -m benchmarks [--json FILE]`: how fast, as ratios taken in one run. Prints a table and writes it as JSON; passes no judgement.

What each row is stands in ``deliveries`` and ``library``. Compare ratios, and only of the same Python version: interpreters and neighbours move
the absolute numbers by a factor of two, and the ratios by a tenth.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

from benchmarks import deliveries, library
from benchmarks.measure import rates

SCHEMA = "haltproof/benchmarks/1"
TARGET = 0.33  # of the limit, for fully featured deliveries


def measure() -> dict[str, Any]:
    """Everything, as the document that is written."""
    delivered = rates(deliveries.ROWS)
    scenarios = library.library()
    runs, facts = library.runs_per_second(scenarios)
    return {
        "schema": SCHEMA,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "deliveries_per_s": {name: round(rate) for name, rate in delivered.items()},
        "ours_to_limit": round(delivered["ours"] / delivered["limit"], 3),
        "ours_to_simpy": round(delivered["ours"] / delivered["simpy"], 3),
        "target_to_limit": TARGET,
        "library": {
            "scenarios": len(scenarios),
            "seeds": len(library.SEEDS),
            "runs_per_s": round(runs, 2),
            "facts_per_s": round(facts),
            "runs_per_million_limit_deliveries": round(runs * 1e6 / delivered["limit"], 2),
            "shares": {part: round(share, 3) for part, share in library.shares(scenarios).items()},
        },
    }


def show(found: dict[str, Any]) -> None:
    """The document as a table."""
    limit = found["deliveries_per_s"]["limit"]
    print(f"{found['python']}, CPU time, median of 5, one run\n")
    print(f"{'deliveries':<34}{'per second':>12}{'of the limit':>14}")
    names = {"limit": "heap, handler, send: the limit", "simpy": "SimPy, a callback a message", "ours": "ours, faults, trace and digest"}
    for row, rate in found["deliveries_per_s"].items():
        print(f"{names[row]:<34}{rate:>12,}{rate / limit:>14.2f}")
    print(f"{'ours of SimPy with callbacks':<34}{found['ours_to_simpy']:>26.2f}")
    print(f"{'goal for ours':<34}{found['target_to_limit']:>26.2f}\n")
    runs = found["library"]
    print(f"the library, {runs['scenarios']} scenarios x {runs['seeds']} seeds, on one core")
    print(f"{'runs/s':<34}{runs['runs_per_s']:>12,}")
    print(f"{'facts/s':<34}{runs['facts_per_s']:>12,}")
    print(f"{'runs a million limit deliveries':<34}{runs['runs_per_million_limit_deliveries']:>12,}\n")
    for part, share in sorted(runs["shares"].items(), key=lambda entry: -entry[1]):
        print(f"  {part:<12}{share:>6.1%}")


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
