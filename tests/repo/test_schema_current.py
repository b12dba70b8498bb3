"""The committed JSON Schema and the tables of the docs are what the code says, and every file of the library fits the schema."""

from __future__ import annotations

import re
from typing import Any

import pytest

from scenarios import document, jsonschema, load, reference

SCHEMA = jsonschema.schema()
KNOWN = {"$defs", "$ref", "$schema", "additionalProperties", "allOf", "anyOf", "const", "default", "description", "enum", "examples", "items",
         "maxItems", "maxLength", "maximum", "minItems", "minLength", "minProperties", "maxProperties", "minimum", "oneOf", "pattern",
         "patternProperties", "properties", "propertyNames", "required", "title", "type"}  # fmt: skip
TYPES: dict[str, type | tuple[type, ...]] = {"string": str, "integer": int, "boolean": bool, "array": tuple, "object": dict, "null": type(None)}


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value fits a schema: the part of JSON Schema 2020-12 that the export uses."""
    if "$ref" in schema:
        return fits(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    alternatives = [fits(value, each) for each in schema.get("anyOf", ())]
    exclusive = [fits(value, each) for each in schema.get("oneOf", ())]
    if (alternatives and not any(alternatives)) or (exclusive and sum(exclusive) != 1):
        return False
    return all(fits(value, each) for each in schema.get("allOf", ())) and fits_value(value, schema)


def fits_value(value: Any, schema: dict[str, Any]) -> bool:
    if "type" in schema and (not isinstance(value, TYPES[schema["type"]]) or (schema["type"] == "integer" and isinstance(value, bool))):
        return False
    if value not in schema.get("enum", (value,)) or value != schema.get("const", value):
        return False
    if isinstance(value, str):
        return re.search(schema.get("pattern", ""), value) is not None and schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**6)
    if isinstance(value, int):
        return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    if isinstance(value, tuple):
        return schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 10**6) and all(fits(each, schema.get("items", {})) for each in value)
    return fits_mapping(value, schema) if isinstance(value, dict) else True


def fits_mapping(value: dict[str, Any], schema: dict[str, Any]) -> bool:
    if not set(schema.get("required", ())) <= set(value):
        return False
    for key, below in value.items():
        matching = [each for pattern, each in schema.get("patternProperties", {}).items() if re.search(pattern, key)]
        if key in schema.get("properties", {}):
            matching.append(schema["properties"][key])
        if not all(fits(below, each) for each in matching):
            return False
        if not matching and schema.get("additionalProperties", True) is False:
            return False
        if not matching and isinstance(schema.get("additionalProperties"), dict) and not fits(below, schema["additionalProperties"]):
            return False
        if not fits(key, schema.get("propertyNames", {})):
            return False
    return True


def keywords(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*(keywords(each) for each in schema))
    if not isinstance(schema, dict):
        return set()
    found = set(schema)
    for key, below in schema.items():
        if key in ("properties", "patternProperties", "$defs"):
            found |= set().union(*(keywords(each) for each in below.values()))
        elif key not in ("default", "examples", "enum"):
            found |= keywords(below)
    return found


def test_the_committed_schema_is_current() -> None:
    assert jsonschema.COMMITTED.read_text(encoding="utf-8") == jsonschema.text(), "run python -m scenarios.jsonschema"


def test_the_tables_of_the_docs_are_current() -> None:
    page = reference.PAGE.read_text(encoding="utf-8")
    assert page == reference.filled(page), "run python -m scenarios.reference"


def test_this_test_understands_all_that_the_schema_says() -> None:
    assert keywords(SCHEMA) <= KNOWN


@pytest.mark.parametrize("name", load.library())
def test_every_file_of_the_library_fits_the_schema(name: str) -> None:
    assert fits(document.read(load.library()[name]).values, SCHEMA)


@pytest.mark.parametrize(
    "wrong",
    [
        {"parameters": {"lease": 5}},
        {"parameters": {"lease": "5"}},
        {"parameters": {"leese": "5s"}},
        {"timeline": ({"at": "1s"},)},
        {"timeline": ({"hard": {"scope": "global"}},)},
        {"timeline": ({"at": "1s", "after": "hard.on", "hard": {"scope": "global"}},)},
        {"timeline": ({"at": "1s", "hard": {"scope": "everyone"}},)},
        {"timeline": ({"at": "1s", "partition": {"between": ("replicas",)}},)},
        {"timeline": ({"at": "1s", "pause": {"nodes": "sidecar"}},)},
        {"expect": {"stop-time": {"p99": "12s"}}},
        {"swarm": {}},
        {"unknown": 1},
    ],
)
def test_the_schema_refuses_what_an_editor_can_know_to_be_wrong(wrong: dict[str, Any]) -> None:
    right = document.read(load.library()["quiet-fleet"]).values
    assert fits(right, SCHEMA)
    assert not fits({**right, **wrong}, SCHEMA)


def test_defaults_in_the_schema_are_written_as_in_a_file() -> None:
    defaults = {name: form["default"] for name, form in SCHEMA["$defs"]["ParametersForm"]["properties"].items()}
    assert defaults["lease"] == "5s"
    assert all(fits(default, SCHEMA["$defs"]["ParametersForm"]["properties"][name]) for name, default in defaults.items())
