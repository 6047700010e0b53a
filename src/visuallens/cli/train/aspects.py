"""`visuallens train aspects`: stage 2, iterative aspect word refinement (§5.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from visuallens.cli.indexed import open_indexed
from visuallens.cli.options import backbone_overrides, common, print_json

if TYPE_CHECKING:
    from visuallens.benchmark.folder import Benchmark
    from visuallens.config import Settings
    from visuallens.training.aspects import Plan, Round
    from visuallens.training.photo_uses import Beginning, Words
    from visuallens.training.selectors import Selector

_SAMPLED_PROMPTS = 4
_SHOWN_WORDS = 8


@click.command()
@click.argument("benchmark", type=click.Path(path_type=Path))
@click.option(
    "--words",
    type=click.Path(path_type=Path, dir_okay=False),
    help="First words: JSON lines of photo and words. [default: the library's words]",
)
@click.option(
    "--words-fields",
    default="photo,words",
    show_default=True,
    metavar="PHOTO,WORDS",
    help="Fields of that file.",
)
@click.option(
    "--selector",
    type=click.Choice(["backbone", "statistical"]),
    help="Who chooses: a language model, or statistics of other users. [default: backbone]",
)
@click.option("--backbone", help="Which language model; see: visuallens models")
@click.option("--estimate", is_flag=True, help="Only say how much would be asked.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@common
def command(
    benchmark: Path,
    words: Path | None,
    words_fields: str,
    selector: str | None,
    backbone: str | None,
    estimate: bool,
    out: Path,
    library: Path | None,
    user: str,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Choose useful aspect words for the photos of BENCHMARK's train split, and go on with a run.

    Photos are taken from the profiles that the library gives; with --words and no --library from
    whole histories. Dev and test are never read.
    """
    from visuallens.cli.progress import Bar
    from visuallens.config import load_settings
    from visuallens.training.aspects import plan_refinement, refine
    from visuallens.training.photo_uses import TrainPhotos, read_words
    from visuallens.training.run import open_run

    chosen = () if selector is None else (f"training.aspects.selector={selector}",)
    settings = load_settings(config, (*overrides, *chosen, *backbone_overrides(backbone)))
    own = settings.training.aspects
    opened = TrainPhotos(benchmark)
    first = None if words is None else read_words(words, *_fields(words_fields))
    beginning = _begin(opened, first, library, user, settings)
    plan = plan_refinement(beginning, own, settings.seed)
    selects = _open_selector(opened, beginning, settings)
    expected = _expected(plan, selects, own.max_rounds)
    click.echo(_expected_text(expected), err=True)
    if estimate:
        if as_json:
            print_json(expected)
        return
    open_run(out, "aspects", settings)
    bar = Bar()
    bar.total(len(plan.words) * own.max_rounds)
    try:
        rounds = refine(opened, plan, selects, own, out, advance=bar.advance)
    finally:
        bar.close()
    if as_json:
        print_json({"run": str(out), **expected, "rounds": [asdict(one) for one in rounds]})
    else:
        click.echo(as_text(rounds, out))


def as_text(rounds: Sequence[Round], out: Path) -> str:
    """Write the rounds of a run for reading."""
    lines = ["round  photos  words each  none left   kept  Jaccard  answers read"]
    for one in rounds:
        kept = "" if one.kept_share is None else f"{one.kept_share:.0%}"
        alike = "" if one.jaccard is None else f"{one.jaccard:.3f}"
        read = f"{one.read:,} of {one.asked:,}" if one.asked else ""
        lines.append(
            f"{one.round:>5}  {one.photos:>6,}  {one.mean_words:>10.2f}  {one.empty_photos:>9,}  "
            f"{kept:>5}  {alike:>7}  {read}".rstrip()
        )
    for name, counts in (("kept", rounds[-1].kept), ("dropped", _dropped(rounds))):
        if counts:
            words = ", ".join(f"{word} ({count:,})" for word, count in counts[:_SHOWN_WORDS])
            lines.append(f"Most often {name}: {words}")
    lines.append(f"Learn them with: visuallens train joint BENCHMARK --aspects {quote(str(out))}")
    return "\n".join(lines)


def _dropped(rounds: Sequence[Round]) -> tuple[tuple[str, int], ...]:
    """Take the words of the first round that dropped any; later ones have little left to drop."""
    return next((one.dropped for one in rounds if one.dropped), ())


def _fields(text: str) -> tuple[str, str]:
    photo, comma, words = text.partition(",")
    if not (comma and photo and words):
        raise click.BadParameter("write it as PHOTO,WORDS", param_hint="--words-fields")
    return photo, words


def _begin(
    benchmark: Benchmark,
    words: Words | None,
    library: Path | None,
    user: str,
    settings: Settings,
) -> Beginning:
    from visuallens.training.photo_uses import find_beginning

    if words is not None and library is None:
        return find_beginning(benchmark, None, words)
    with open_indexed(benchmark, library, user, settings) as (_, profiles):
        return find_beginning(benchmark, profiles, words)


def _open_selector(benchmark: Benchmark, beginning: Beginning, settings: Settings) -> Selector:
    from visuallens.loaded import LoadedModels
    from visuallens.training.selectors import BackboneSelector
    from visuallens.training.statistical import StatisticalSelector

    own, seed = settings.training.aspects, settings.seed
    if own.selector == "statistical":
        return StatisticalSelector(benchmark, beginning.examples, own, seed)
    backbone = LoadedModels(settings).backbone
    return BackboneSelector(benchmark, backbone, settings.matching.style, seed)


def _expected(plan: Plan, selector: Selector, max_rounds: int) -> dict[str, object]:
    """Say how much a run asks for; prompts are those of a few photos."""
    from visuallens.training.selectors import BackboneSelector, Offered

    expected: dict[str, object] = {
        "photos": len(plan.words),
        "without_words": plan.without_words,
        "selector": selector.name,
        "model": selector.id,
        "calls_per_round": plan.calls,
        "most_calls": plan.calls * max_rounds,
    }
    if isinstance(selector, BackboneSelector):
        some = list(plan.words.items())[:_SAMPLED_PROMPTS]
        offered = [Offered(photo, own, plan.uses[photo][:1]) for photo, own in some]
        counts = selector.count_tokens(offered)
        expected["tokens_per_call"] = round(sum(counts) / len(counts))
    return expected


def _expected_text(expected: dict[str, object]) -> str:
    calls, tokens = expected["calls_per_round"], expected.get("tokens_per_call")
    text = (
        f"{expected['photos']:,} photos with words ({expected['without_words']:,} without); "
        f"{expected['model']} judges {calls:,} times a round, at most {expected['most_calls']:,}"
    )
    return f"{text} times in all" + ("." if tokens is None else f", of {tokens:,} tokens each.")
