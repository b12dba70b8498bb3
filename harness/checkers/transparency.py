"""S16, S17 and L7: the audit trail as others can check it: witnessed in time, true to what was witnessed, in an order that causes respect."""

from __future__ import annotations
