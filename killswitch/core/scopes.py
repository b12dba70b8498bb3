"""Whom an order, a certificate or a request concerns, as data. Owns the form; must not know which agents that are (``intent``, ``federation``)."""

from __future__ import annotations

from msgspec import Struct


class Scope(Struct, frozen=True, array_like=True):
    """``kind`` is ``agent``, ``label``, ``tenant`` or ``global``; a global one has no ``value``."""

    kind: str
    value: str = ""
