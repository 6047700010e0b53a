"""Options that several commands share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from visuallens.workers import Workers

# Any: click decorates functions of every signature.
Command = TypeVar("Command", bound=Callable[..., Any])


def common(function: Command) -> Command:
    """Add --library, --user, --config, --set and --json."""
    for option in reversed(
        (
            click.option(
                "--library",
                type=click.Path(path_type=Path),
                envvar="VISUALLENS_LIBRARY",
                help="Folder of the library. [default: the system's data folder]",
            ),
            click.option("--user", default="me", show_default=True, help="Whose photos."),
            click.option(
                "--config",
                type=click.Path(path_type=Path, dir_okay=False),
                help="TOML file with settings, or settings.json of a run.",
            ),
            click.option(
                "--set",
                "overrides",
                multiple=True,
                metavar="KEY=VALUE",
                help="One setting, such as retrieval.max_photos=16. Repeatable.",
            ),
            click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        )
    ):
        function = option(function)
    return function


def on_workers(function: Command) -> Command:
    """Add --engine, --workers and --gpus."""
    for option in reversed(
        (
            click.option(
                "--engine",
                type=click.Choice(["local", "ray"]),
                default="local",
                show_default=True,
                help="Processes of this machine, or a Ray cluster.",
            ),
            click.option(
                "--workers",
                type=click.IntRange(1),
                help="Tasks at a time. [default: 1; with ray, one per processor of this machine]",
            ),
            click.option(
                "--gpus",
                type=click.FloatRange(0),
                default=0.0,
                show_default=True,
                help="Of each worker of ray; a fraction up to 1, or whole.",
            ),
        )
    ):
        function = option(function)
    return function


def chosen_workers(engine: str, workers: int | None, gpus: float) -> Workers:
    """Turn --engine, --workers and --gpus into who does the work."""
    if gpus > 1 and not gpus.is_integer():
        raise click.UsageError("--gpus above 1 must be whole.")
    if engine == "ray":
        return Workers("ray", workers or os.cpu_count() or 1, gpus)
    if gpus:
        raise click.UsageError("--gpus goes with --engine ray.")
    return Workers(count=workers or 1)


def backbone_overrides(backbone: str | None, adapter: Path | None = None) -> tuple[str, ...]:
    """Turn --backbone and --adapter into settings; what was not given changes nothing."""
    chosen = (("name", backbone), ("adapter", adapter))
    # Quoted, for a folder may be named like a number or a date.
    return tuple(
        f"backbone.{key}={json.dumps(str(value))}" for key, value in chosen if value is not None
    )


def ranker_overrides(ranker: str, backbone: str | None, adapter: Path | None) -> tuple[str, ...]:
    """Turn --backbone and --adapter into settings, as a ranker needs them.

    Args:
        ranker: that answers, be it by --ranker or by the settings: the adapter of `attention` is a
            matcher, that of others a backbone's.
        backbone: or None.
        adapter: folder of what was trained, or None.

    Returns:
        Overrides; what was not given changes nothing.
    """
    if ranker == "attention" and adapter is not None:
        matcher = f"ranker.model={json.dumps(str(adapter))}"
        return (matcher, *backbone_overrides(backbone))
    return backbone_overrides(backbone, adapter)


# Any: JSON values.
def print_json(record: dict[str, Any]) -> None:
    """Print one JSON object."""
    click.echo(json.dumps(record, indent=2, ensure_ascii=False))


class Point(click.ParamType):  # type: ignore[type-arg]  # not generic before 8.2
    """LATITUDE,LONGITUDE in degrees."""

    name = "LAT,LON"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401 - click's signature
        """Parse the text, or fail with what was expected."""
        if not isinstance(value, str):
            return value
        from visuallens.types import GeoPoint

        try:
            latitude, longitude = (float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not LATITUDE,LONGITUDE, such as 51.5074,-0.1278.", param, ctx)
        if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
            self.fail(f"{value!r} is not on earth: latitude comes first.", param, ctx)
        return GeoPoint(latitude, longitude)
