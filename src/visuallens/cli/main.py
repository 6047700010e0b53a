"""Entry point of `visuallens`: finds the command, runs it, turns errors into exit codes.

Run as: visuallens --help
"""

from __future__ import annotations

import logging
import sys

import click

from visuallens import __version__
from visuallens.cli.lazy import LazyGroup
from visuallens.errors import (
    BackboneError,
    BenchmarkError,
    EvaluationError,
    LibraryError,
    MissingPackageError,
    NothingIndexedError,
    PlacesError,
    RequestError,
    ServerError,
    SettingsError,
    SourceError,
    TrainingError,
    UnknownNameError,
    VisualLensError,
)

COMMANDS = {
    "index": ("visuallens.cli.index", "Add photos to the library."),
    "status": ("visuallens.cli.status", "Say what the library holds."),
    "recommend": ("visuallens.cli.recommend", "Answer a question with a ranked list of places."),
    "profile": ("visuallens.cli.profile", "Save what the photos say about a question."),
    "forget": ("visuallens.cli.forget", "Delete photos, a folder or a user, and prove it."),
    "models": ("visuallens.cli.models", "List backbones and encoders; fetch their weights."),
    "parity": ("visuallens.cli.parity", "Ask two backbones the same and compare."),
    "doctor": ("visuallens.cli.doctor", "Check and time every stage on this machine."),
    "benchmark": ("visuallens.cli.benchmark", "Build, describe and audit the benchmarks."),
    "train": ("visuallens.cli.train", "Train the backbone in the stages of the paper."),
    "rank": ("visuallens.cli.rank", "Rank the candidates of a benchmark; writes a run file."),
    "annotate": ("visuallens.cli.annotate", "Write a page on which people rank (§6.3)."),
    "evaluate": ("visuallens.cli.evaluate", "Score and compare run files (§6.2, §7)."),
    "reproduce": ("visuallens.cli.reproduce", "Make the paper's tables and figures (§7)."),
    "adapters": ("visuallens.cli.adapters", "List, show, merge and export trained adapters."),
    "demo": ("visuallens.cli.demo", "Index sample photos and ask three questions."),
}

EXIT_CODES: tuple[tuple[type[VisualLensError], int], ...] = (
    (SettingsError, 2),
    (UnknownNameError, 2),
    (SourceError, 3),
    (PlacesError, 4),
    (LibraryError, 5),
    (RequestError, 6),
    (NothingIndexedError, 7),
    (MissingPackageError, 8),
    (ServerError, 10),
    (BackboneError, 9),
    (BenchmarkError, 11),
    (TrainingError, 13),
    (EvaluationError, 14),
    (VisualLensError, 1),
)
"""Exit code of each error; the first class that fits decides. 0 is success, an abstention too."""

INTERRUPTED = 130


@click.group(
    cls=LazyGroup, commands=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="visuallens")
def visuallens() -> None:
    """Recommendations from the photos a person has taken. Private, offline."""


def main() -> None:
    """Run the command line and exit with a code of `EXIT_CODES`."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("visuallens").setLevel(logging.INFO)
    try:
        # Without standalone mode, what a command exits with is returned.
        sys.exit(visuallens(standalone_mode=False))
    except click.Abort:
        click.echo("Stopped. What was done so far is kept.", err=True)
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except VisualLensError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(exit_code(error))


def exit_code(error: VisualLensError) -> int:
    """Look up the exit code of an error."""
    return next(code for kind, code in EXIT_CODES if isinstance(error, kind))
