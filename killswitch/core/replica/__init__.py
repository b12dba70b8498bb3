"""A control-plane replica: policy, state and dispatch kept apart, and no leader anywhere on the path that stops (protocol 3.7, D3)."""
