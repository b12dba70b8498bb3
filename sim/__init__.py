"""The deterministic discrete-event world: SimPy is its clock and queue, the choice tape its only source of chance."""
