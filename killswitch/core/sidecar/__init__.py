"""The sidecar: the enforcement point beside one agent, and its only way to the world (protocol 3.6)."""
