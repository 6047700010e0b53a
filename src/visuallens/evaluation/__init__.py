"""Runs, metrics, controls and statistics: §6.2 and §7 of the paper."""
