"""Benchmarks of visual histories, built from raw dumps: §6.1, appendix A, Algorithm 1."""
