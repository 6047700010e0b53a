"""The folder of a run: what it was made with, so that it can go on and be repeated."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visuallens import __version__
from visuallens.config import Settings
from visuallens.errors import TrainingError

SETTINGS, RUN = "settings.json", "run.json"
"""Files of a run: the resolved settings, which `--config` reads; stage, version and seed."""

_SHOWN = 3


def open_run(folder: Path, stage: str, settings: Settings) -> None:
    """Begin a run in a folder, or go on with the one that is there.

    Args:
        folder: of the run; made when missing.
        stage: that it runs.
        settings: the whole resolved tree.

    Raises:
        TrainingError: the folder has a run of another stage or with other settings, or cannot be
            read or written.

    Choice: any setting that differs is refused, for a run that goes on with others could not be
        repeated; the version may differ, and the one that began the run stays in its record.
    """
    here: dict[str, Any] = settings.recorded()
    run = {"stage": stage, "version": __version__, "seed": settings.seed}
    begun, there = _read(folder / RUN), _read(folder / SETTINGS)
    if begun is not None and begun.get("stage") != stage:
        raise TrainingError(
            f"{folder} is the folder of a run of the stage {begun.get('stage')!r}, not {stage!r}",
            "Choose another --out.",
        )
    if there is not None and there != here:
        raise TrainingError(
            f"{folder} is the folder of a run with other settings ({_differences(there, here)})",
            f"Choose another --out, or go on with that run: --config {folder / SETTINGS}",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if there is None:
            _write(folder / SETTINGS, here)
        if begun is None:
            _write(folder / RUN, run)
    except OSError as error:
        raise TrainingError(
            f"{folder} cannot be written ({error})", "Free some space, or choose another --out."
        ) from error


# Any, here and below: JSON.
def _read(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(record, dict):
        raise _unreadable(path, "it is no record")
    return record


def _unreadable(path: Path, problem: str) -> TrainingError:
    return TrainingError(
        f"{path} cannot be read ({problem})",
        "Put it back, delete the run's folder to begin anew, or choose another --out.",
    )


def _write(path: Path, record: Mapping[str, Any]) -> None:
    """Write whole or not at all, also when several processes do it at once."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Name the first keys that differ."""
    ours, theirs = _flat(here), _flat(there)
    keys = [
        key for key in (*ours, *(theirs.keys() - ours.keys())) if _at(ours, key) != _at(theirs, key)
    ]
    named = [f"{key}: there {_at(theirs, key)}, here {_at(ours, key)}" for key in keys[:_SHOWN]]
    more = [f"and {len(keys) - _SHOWN} more"] if len(keys) > _SHOWN else []
    return "; ".join(named + more)


def _at(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False) if key in values else "nothing"


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Name each value by its whole key, `section.key`."""
    values: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            values |= _flat(value, f"{above}{key}.")
        else:
            values[above + key] = value
    return values
