"""The JSON Schema of a scenario file, for editors: completion, and an error while one types.

Owns its export from the model. The committed ``schema.json`` is what `text` gives; a test holds the two together. A schema cannot say what
``checks`` knows, so a file that it accepts may still be refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scenarios.model import ACTIONS, Scenario

COMMITTED = Path(__file__).parent / "schema.json"


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a scenario file as it is written, before any reading of units."""
    exported = Scenario.model_json_schema(by_alias=True, mode="validation")
    exported = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_without_titles(exported), "title": "Haltproof scenario"}
    entry = exported["$defs"]["Entry"]
    entry["allOf"] = [_exactly_one(("at", "after", "when")), _exactly_one(ACTIONS)]
    return exported


def text() -> str:
    return json.dumps(schema(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _exactly_one(keys: tuple[str, ...]) -> dict[str, Any]:
    return {"oneOf": [{"required": [key]} for key in keys]}


def _without_titles(node: Any) -> Any:
    """pydantic titles every key with itself, which only makes the file longer. (A property called ``title`` would be a mapping.)"""
    if isinstance(node, dict):
        return {key: _without_titles(value) for key, value in node.items() if not (key == "title" and isinstance(value, str))}
    return [_without_titles(each) for each in node] if isinstance(node, list) else node


if __name__ == "__main__":
    COMMITTED.write_text(text(), encoding="utf-8")
