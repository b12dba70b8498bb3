"""Scenario files: their model, their validation, and the drawing of a schedule from a seed."""
