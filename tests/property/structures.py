"""Any value of a type of message: what a strategy is for each form of type, with the leaves left to whoever asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from msgspec import Struct, inspect, structs

Strategy = st.SearchStrategy[Any]
Leaves = Callable[[inspect.Type, str], Strategy | None]


def values(kind: inspect.Type, leaves: Leaves, name: str = "") -> Strategy:
    """Any value of a field's type. ``leaves``: the strategy for a type and the ``name`` of its field; None: whatever follows from its form."""
    chosen = leaves(kind, name)
    if chosen is not None:
        return chosen
    match kind:
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.VarTupleType():
            return st.lists(values(kind.item_type, leaves), max_size=3).map(tuple)
        case inspect.UnionType():
            return st.one_of([values(each, leaves) for each in kind.types])
        case inspect.StructType():
            return built(kind.cls, leaves)
    raise TypeError(f"no strategy for {kind}")


def built(kind: type[Struct], leaves: Leaves) -> Strategy:
    """Any struct of a kind."""
    fields = structs.fields(kind)
    return st.tuples(*(values(inspect.type_info(field.type), leaves, field.name) for field in fields)).map(lambda parts: kind(*parts))
