"""The raw dumps that benchmarks are built from, one file each."""
