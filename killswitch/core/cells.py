"""What is said of one cell among several, as data. Owns the message; must not know how cells are found (``federation``) or when it is said."""

from __future__ import annotations

from msgspec import Struct


class CellStatus(Struct, frozen=True, tag=True):
    """`OrderStatus` of one of the cells that an order concerns: ``copies`` counts that cell's replicas known to hold it durably."""

    request: str
    order: str
    cell: str
    stage: str
    copies: int
    keys: int = 0
