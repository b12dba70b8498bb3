"""The tables of docs/scenarios.md that the code already knows: faults, how live runs make them, their settings, and the kinds of fact.

Owns their rendering as Markdown, between marks in the page, so that the page cannot say anything else than the code does; a test compares
the two.
"""

from __future__ import annotations

from pathlib import Path

from harness.shared.history import VOCABULARY
from scenarios.aims import limits_text
from scenarios.faults import FAULTS, LIVE, Aim, FaultKind, Setting, Unit

PAGE = Path(__file__).parent.parent / "docs" / "scenarios.md"
AIMED = {
    Aim.LINKS: "`between: [side, side, ...]`, or `from:` and `to:` for one way",
    Aim.NODES: "`nodes:`",
    Aim.SIGNALS: "`to:`",
}


def tables() -> dict[str, str]:
    """Each generated table by the mark that it stands under."""
    return {"faults": _faults(), "parity": _parity(), "settings": _settings(), "facts": _facts()}


def filled(page: str) -> str:
    """The page with every table as it is now. Raises `ValueError` for a page without one of the marks."""
    for mark, table in tables().items():
        start, end = f"<!-- {mark} -->\n", f"<!-- /{mark} -->"
        if page.count(start) != 1 or page.count(end) != 1:
            raise ValueError(f"the page must hold the mark {mark} once, with its end")
        before, _, rest = page.partition(start)
        page = before + start + table + end + rest.partition(end)[2]
    return page


def _faults() -> str:
    rows = ["| fault | what it does | what it hits | afterwards | drivers |", "|---|---|---|---|---|"]
    for kind in FAULTS.values():
        target = AIMED[kind.aim] + ("; left out: every link" if kind.everywhere else "") + f" ({', '.join(kind.roles)})"
        rows.append(f"| `{kind.name}` | {kind.doc} | {target} | {kind.ends} | {_drivers(kind)} |")
    return "\n".join(rows) + "\n"


def _parity() -> str:
    rows = ["| fault | simulated | live | made by | measured by |", "|---|---|---|---|---|"]
    for kind in FAULTS.values():
        live = kind.live
        if live is None:
            rows.append(f"| `{kind.name}` | exact | only simulated | | |")
        else:
            rows.append(f"| `{kind.name}` | exact | {live.fidelity}{live.differs and ': '}{live.differs} | {live.mechanism} | {live.attested} |")
    return "\n".join(rows) + "\n"


def _drivers(kind: FaultKind) -> str:
    limited = [f"`{setting.name}` {' or '.join(_shown(setting, value) for value in setting.live)}" for setting in kind.settings if setting.live]
    return ", ".join(kind.drivers) + (f" (live: {', '.join(limited)})" if limited and LIVE in kind.drivers else "")


def _shown(setting: Setting, value: int | str) -> str:
    return str(bool(value)).lower() if setting.unit is Unit.FLAG else str(value)


def _settings() -> str:
    rows = ["| fault | setting | value | default | meaning |", "|---|---|---|---|---|"]
    for kind in FAULTS.values():
        if kind.lasting:
            rows.append(f"| `{kind.name}` | `for` | duration | until all is healed | how long it lasts |")
        for setting in kind.settings:
            default = "must be given" if setting.default is None else f"`{str(setting.default).lower()}`"
            rows.append(f"| `{kind.name}` | `{setting.name}` | {_values(setting)} | {default} | {setting.doc} |")
    return "\n".join(rows) + "\n"


def _values(setting: Setting) -> str:
    if setting.choices:
        return " or ".join(f"`{choice}`" for choice in setting.choices)
    return "`true` or `false`" if setting.unit is Unit.FLAG else f"{setting.unit.value}, {limits_text(setting)}"


def _facts() -> str:
    rows = ["| fact | fields | when |", "|---|---|---|"]
    for kind, (fields, when) in VOCABULARY.items():
        rows.append(f"| `{kind}` | {', '.join(fields)} | {when} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
