"""Runs the command line as `python -m visuallens`, which launchers of several processes need."""

from visuallens.cli.main import main

main()
