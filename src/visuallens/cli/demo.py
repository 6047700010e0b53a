"""`visuallens demo`: the main job on real photos, from an empty library to three answers."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import click

from visuallens.cli.options import common, print_json

CITY = "london"
QUESTIONS = (
    "recommend me a museum nearby",
    "where can I get a good coffee?",
    "a garden to walk in",
)
_TOP = 5

# Photos of everyday or travel subjects; both packages also carry charts and test patterns.
_SAMPLES = {
    "skimage": (
        "data/astronaut.png",
        "data/chelsea.png",
        "data/coffee.png",
        "data/coins.png",
        "data/hubble_deep_field.jpg",
        "data/moon.png",
        "data/motorcycle_left.png",
        "data/rocket.jpg",
    ),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
}


@click.command()
@click.option("--photos", type=click.Path(path_type=Path), help="Your own folder instead.")
@click.option("--out", default=Path("out/demo"), type=click.Path(path_type=Path), show_default=True)
@common
def command(
    photos: Path | None,
    out: Path,
    library: Path | None,
    user: str,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Index sample photos, ask three questions about London, and save the grids."""
    from visuallens.api import VisualLens
    from visuallens.cli import index, recommend
    from visuallens.cli.progress import Bar
    from visuallens.config import load_settings
    from visuallens.places import bundled_city

    bar = Bar()
    lens = VisualLens(library or out / "library", settings=load_settings(config, overrides))
    with lens:
        report = lens.index(photos or sample_photos(out / "photos"), user=user, progress=bar)
        bar.close()
        if not as_json:
            click.echo(index.as_text(report))
        answers = []
        for question in QUESTIONS:
            answer = lens.recommend(question, bundled_city(CITY), user=user)
            grid = recommend.save_grid(lens, answer, question, out / recommend.slug(question))
            answers.append(recommend.as_record(answer, _TOP, grid))
            if not as_json:
                click.echo(f"\n> {question}\n{recommend.as_text(answer, _TOP, grid)}")
    if as_json:
        print_json({"index": index.as_record(report), "answers": answers})


def sample_photos(folder: Path) -> Path:
    """Copy the photos that scikit-image and scikit-learn carry into a folder.

    Args:
        folder: made when missing.

    Returns:
        The folder.

    Raises:
        MissingPackageError: one of the two is not installed.
    """
    from visuallens.errors import MissingPackageError

    folder.mkdir(parents=True, exist_ok=True)
    for package, names in _SAMPLES.items():
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise MissingPackageError(package, "The demo", 'pip install "visuallens[demo]"')
        root = Path(next(iter(spec.submodule_search_locations)))
        for name in names:
            shutil.copyfile(root / name, folder / Path(name).name)
    return folder
