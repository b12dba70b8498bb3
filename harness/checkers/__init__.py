"""The checkers: a history in, a verdict of three values out for each invariant, with the facts that prove a violation.

A family of invariants a file. `run` is the common ground (what the history has said so far), `rounds` works leases out again from the
wire, `words` reads single values, `bounds` holds the arithmetic of the theorems, `checker` the interface, `registry` the list, `jury` the
single pass over a history.
Checkers see only the history: nothing of the core, of a driver or of a schedule.
"""

from harness.checkers.checker import Checker, InvariantChecker
from harness.checkers.jury import Jury, check
from harness.checkers.registry import CHECKERS
from harness.checkers.run import Run
from harness.checkers.stop_times import stop_times

__all__ = ["CHECKERS", "Checker", "InvariantChecker", "Jury", "Run", "check", "stop_times"]
