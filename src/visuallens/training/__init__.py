"""Training (§5): one loop, and the stages that run on it."""
