"""Backbones that run in this process: one file per family of architectures (§4, theta)."""
