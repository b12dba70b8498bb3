"""JUnit XML from a view: a suite is a scenario under a driver, a case is an invariant.

Owns the mapping of verdicts: invalid is a failure, unknown an error (it is never a pass), and a scenario that the driver cannot play
is skipped with the capability that it lacks, as is an invariant that could not be judged, with the reason. What is no invariant (a
demanded fact that was never reached, a suite that could not be decided) is a case named ``expectations``.
"""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from harness.verdict import Verdict
from reports import invariants
from reports.view import Cell, ScenarioView, View
from reports.violations import FailureView
from reports.words import WHY_SKIPPED


def junit(view: View) -> bytes:
    """The document, UTF-8 with an XML declaration."""
    root = Xml.Element("testsuites", name="haltproof")
    for scenario in view.scenarios:
        _suite(root, view, scenario)
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    Xml.indent(root)
    return bytes(Xml.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _suite(root: Xml.Element, view: View, scenario: ScenarioView) -> None:
    suite = Xml.SubElement(root, "testsuite", name=f"{scenario.name} ({view.driver})", time=f"{scenario.wall_s:.3f}")
    failures = {failure.invariant: failure for failure in reversed(view.failures) if failure.scenario == scenario.name}
    cells = [cell for cell in scenario.cells if cell.state != "absent"]
    for cell in cells:
        _case(suite, view, scenario, cell, failures.get(cell.invariant))
    elsewhere = scenario.verdict is not Verdict.VALID and not scenario.broken and not scenario.undecided
    if scenario.missing:
        case = _new_case(suite, view, scenario, "expectations")
        Xml.SubElement(case, "skipped", message="; ".join(scenario.notes))
    elif scenario.reach.missed or elsewhere:
        case = _new_case(suite, view, scenario, "expectations")
        kind = "failure" if elsewhere and scenario.verdict is Verdict.INVALID else "error"
        Xml.SubElement(case, kind, type=str(scenario.verdict), message="; ".join(scenario.notes) or str(scenario.verdict))
    for count, tag in (("tests", "testcase"), ("failures", "testcase/failure"), ("errors", "testcase/error"), ("skipped", "testcase/skipped")):
        suite.set(count, str(len(suite.findall(tag))))


def _new_case(suite: Xml.Element, view: View, scenario: ScenarioView, name: str) -> Xml.Element:
    return Xml.SubElement(suite, "testcase", classname=f"{view.driver}.{scenario.name}", name=name)


def _case(suite: Xml.Element, view: View, scenario: ScenarioView, cell: Cell, failure: FailureView | None) -> None:
    case = _new_case(suite, view, scenario, f"{cell.invariant} {invariants.promise(cell.invariant).name}".strip())
    if cell.state == "unjudged":
        Xml.SubElement(case, "skipped", message=view.unjudged)
    elif cell.state == "skipped":
        Xml.SubElement(case, "skipped", message=f"instances skipped: {cell.skipped:,}, and there were no others, {WHY_SKIPPED}")
    if cell.state not in {"invalid", "unknown"}:
        return
    runs = f"{cell.valid} valid, {cell.invalid} invalid, {cell.unknown} unknown"
    verdict = Xml.SubElement(
        case, "failure" if cell.state == "invalid" else "error", type=cell.state, message=failure.why if failure and failure.why else runs
    )
    lines = [runs]
    if failure:
        lines += [f"seed {failure.seed}", *([failure.measure] if failure.measure else [])]
        lines += [f"{fact.number}. {fact.at} {fact.node}{f' (its clock {fact.clock})' if fact.clock else ''}: {fact.text}" for fact in failure.facts]
        lines += [f"replay: {failure.replay}"]
    verdict.text = "\n".join(lines)
