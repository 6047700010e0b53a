"""Refinement of aspect words: rounds, what they read, and what survives a kill."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from tests.benchmark.tiny import write_tiny
from tests.models.backbones import tiny_nano
from tests.training.planted import words_of, write_planted

from visuallens.api import VisualLens
from visuallens.augment.store import Library
from visuallens.benchmark import schema
from visuallens.benchmark.folder import Benchmark
from visuallens.cli.train.aspects import command
from visuallens.config import load_settings
from visuallens.config.training import AspectTrainingSettings
from visuallens.errors import TrainingError
from visuallens.models.embedded import EmbeddedModel
from visuallens.profiles import BenchmarkProfiles
from visuallens.prompts import as_data
from visuallens.training.aspects import Plan, Round, plan_refinement, read_refined, refine
from visuallens.training.photo_uses import (
    TrainPhotos,
    Words,
    find_beginning,
    read_words,
    sample_uses,
)
from visuallens.training.selectors import Offered, Selection
from visuallens.users import open_user

WORDS = ("el", "lo", "ost", "P")
SETTINGS = AspectTrainingSettings(batch_photos=4)


class Recorder:
    """Drops the last word of every photo in each round, and notes what it was shown.

    Args:
        most: batches after which it fails, as a killed run would.
        rounds: from this round on it drops nothing.
    """

    name = "recorder"
    id = "recorder@1"

    def __init__(self, most: int | None = None, rounds: int = 99) -> None:
        self._most, self._rounds = most, rounds
        self.offered: list[Offered] = []
        self.begun: list[Words] = []

    def begin(self, words: Words) -> None:
        self.begun.append(words)

    def select(self, offered: Sequence[Offered]) -> list[Selection]:
        if self._most is not None:
            self._most -= 1
            if self._most < 0:
                raise KeyboardInterrupt
        self.offered += offered
        drops = len(self.begun) < self._rounds
        return [
            Selection(one.words[:-1] if drops else one.words, len(one.examples), 1)
            for one in offered
        ]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark whose dev and test cannot be read without failing."""
    folder = tmp_path_factory.mktemp("benchmark") / "tiny"
    write_tiny(folder, examples=24, users=6)
    for split in ("dev", "test"):
        for name in (schema.examples_file(split), schema.ground_truth_file(split)):
            (folder / name).write_bytes(b"not a table")
    return folder


def photos_of_train(folder: Path) -> set[str]:
    benchmark = Benchmark(folder)
    return {
        Path(photo.path).relative_to(benchmark.photos_folder).as_posix()
        for request in benchmark.requests("train")
        for photo in request.history.photos
    }


def all_photos(folder: Path) -> list[str]:
    table = pq.read_table(folder / schema.PHOTOS, columns=["path"], partitioning=None)
    return [str(path) for path in table["path"].to_pylist()]


def words_file(folder: Path, to: Path) -> Path:
    """Give words to every photo of a benchmark, whichever split shows it."""
    lines = [json.dumps({"photo": path, "words": WORDS}) for path in all_photos(folder)]
    to.write_text("\n".join(lines), encoding="utf-8")
    return to


def plan_of(folder: Path, settings: AspectTrainingSettings = SETTINGS) -> Plan:
    words = dict.fromkeys(all_photos(folder), WORDS)
    return plan_refinement(find_beginning(Benchmark(folder), None, words), settings, seed=0)


def run(
    folder: Path, out: Path, selector: Recorder, settings: AspectTrainingSettings = SETTINGS
) -> list[Round]:
    return refine(Benchmark(folder), plan_of(folder, settings), selector, settings, out)


def test_only_photos_of_training_examples_are_refined(tiny: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    run(tiny, tmp_path / "run", recorder)
    train = photos_of_train(tiny)
    assert {one.photo for one in recorder.offered} == train < set(all_photos(tiny))
    assert all(set(words) == train for words in recorder.begun)
    benchmark = Benchmark(tiny)
    examples = list(benchmark.requests("train"))
    for one in recorder.offered:
        for number in one.examples:
            history = examples[number].history.photos
            assert any(photo.path.endswith(one.photo) for photo in history)


def test_only_photos_of_training_profiles_are_looked_up_in_the_library(
    tiny: Path, tmp_path: Path, model: EmbeddedModel
) -> None:
    settings = load_settings(None, ["retrieval.max_photos=5"])
    benchmark = TrainPhotos(tiny)
    train = photos_of_train(tiny)
    others = [path for path in all_photos(tiny) if path not in train][:4]
    with VisualLens(tmp_path / "library", settings=settings) as lens:
        lens.index([benchmark.photos_folder / path for path in [*sorted(train)[::3], *others]])
        with Library.open(lens.path) as store:
            indexed = open_user(store, "me", model, settings)
            profiles = BenchmarkProfiles(benchmark, indexed, model, settings)
            beginning = find_beginning(benchmark, profiles, None)
            requests = list(benchmark.requests("train"))
            shown = [benchmark.category_photos(request, 64) for request in requests]
    assert beginning.words
    assert set(beginning.words) <= train
    assert all(0 < len(example.photos) <= 5 for example in beginning.examples)
    assert set(beginning.makers.values()) == {model.id}
    drawn = {
        Path(path).relative_to(benchmark.photos_folder).as_posix() for own in shown for path in own
    }
    assert drawn
    assert drawn <= train


def test_each_round_selects_from_the_one_before(tiny: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    rounds = run(tiny, tmp_path, recorder, AspectTrainingSettings(max_rounds=3))
    count = len(photos_of_train(tiny))
    assert [one.round for one in rounds] == [0, 1, 2, 3]
    assert [one.mean_words for one in rounds] == [4, 3, 2, 1]
    # |W1 and W0| / |W1 or W0| = 3/4, then 2/3, then 1/2.
    assert [one.jaccard for one in rounds] == pytest.approx([None, 3 / 4, 2 / 3, 1 / 2])
    assert [one.kept_share for one in rounds[1:]] == pytest.approx([3 / 4, 2 / 3, 1 / 2])
    assert rounds[1].dropped == (("P", count),)
    assert rounds[3].kept == (("el", count),)
    assert rounds[1].read == count
    assert read_refined(tmp_path) == dict.fromkeys(sorted(photos_of_train(tiny)), ("el",))
    assert set(read_refined(tmp_path, 1).values()) == {("el", "lo", "ost")}
    assert set(read_refined(tmp_path, 0).values()) == {WORDS}
    line = json.loads((tmp_path / "round-2.jsonl").read_text().splitlines()[0])
    assert (line["selector"], line["model"], line["from_round"]) == ("recorder", "recorder@1", 1)
    assert json.loads((tmp_path / "inputs.json").read_text())["benchmark"] == "tiny"


def test_rounds_end_when_the_words_stop_changing(tiny: Path, tmp_path: Path) -> None:
    rounds = run(tiny, tmp_path, Recorder(rounds=2), AspectTrainingSettings(max_rounds=9))
    assert [one.jaccard for one in rounds] == pytest.approx([None, 3 / 4, 1])
    assert set(read_refined(tmp_path).values()) == {("el", "lo", "ost")}


def test_without_rounds_the_first_words_are_the_target(tiny: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    (first,) = run(tiny, tmp_path, recorder, AspectTrainingSettings(max_rounds=0))
    assert (first.round, first.jaccard) == (0, None)
    assert recorder.offered == []
    assert set(read_refined(tmp_path).values()) == {WORDS}


def test_words_that_were_not_offered_are_never_kept(tiny: Path, tmp_path: Path) -> None:
    class Inventor(Recorder):
        def select(self, offered: Sequence[Offered]) -> list[Selection]:
            return [Selection(("dragon", *one.words), 1, 1) for one in offered]

    run(tiny, tmp_path, Inventor())
    assert set(read_refined(tmp_path).values()) == {WORDS}


def test_a_killed_run_goes_on_with_the_photos_it_had_not_reached(
    tiny: Path, tmp_path: Path
) -> None:
    settings = SETTINGS.model_copy(update={"max_rounds": 2})
    run(tiny, tmp_path / "whole", Recorder(), settings)
    killed, torn = tmp_path / "killed", tmp_path / "killed" / "round-1.part"
    with pytest.raises(KeyboardInterrupt):
        run(tiny, killed, Recorder(most=3), settings)
    with pytest.raises(TrainingError, match="no finished refinement"):
        read_refined(killed)
    lines = torn.read_text().splitlines(keepends=True)
    assert len(lines) == 3 * 4
    torn.write_text("".join(lines[:-1]) + lines[-1][: len(lines[-1]) // 2])
    recorder = Recorder()
    run(tiny, killed, recorder, settings)
    assert len(recorder.offered) == 2 * len(photos_of_train(tiny)) - 11
    for file in sorted((tmp_path / "whole").iterdir()):
        assert file.read_bytes() == (killed / file.name).read_bytes(), file.name
    again = Recorder()
    run(tiny, killed, again, settings)
    assert again.offered == []


def test_a_run_is_not_mixed_with_another(tiny: Path, tmp_path: Path) -> None:
    plan = plan_of(tiny)
    refine(Benchmark(tiny), plan, Recorder(), SETTINGS, tmp_path)
    other = Plan({**plan.words, next(iter(plan.words)): ("new",)}, {}, plan.uses, 0)
    with pytest.raises(TrainingError, match="began with other aspect words"):
        refine(Benchmark(tiny), other, Recorder(), SETTINGS, tmp_path)
    stranger = Recorder()
    stranger.id = "recorder@2"
    with pytest.raises(TrainingError, match="another benchmark, selector or model"):
        refine(Benchmark(tiny), plan, stranger, SETTINGS, tmp_path)


def test_a_damaged_or_missing_round_is_named(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no finished refinement"):
        read_refined(tmp_path)
    run(tiny, tmp_path, Recorder())
    with pytest.raises(TrainingError, match="no round 7"):
        read_refined(tmp_path, 7)
    (tmp_path / "round-4.jsonl").write_text('{"photo": "a", "wor')
    with pytest.raises(TrainingError, match=r"round-4\.jsonl is damaged"):
        read_refined(tmp_path)


def test_a_photo_is_judged_by_a_seeded_few_of_its_examples(tiny: Path) -> None:
    words = dict.fromkeys(all_photos(tiny), WORDS)
    examples = find_beginning(Benchmark(tiny), None, words).examples
    photos = sorted(photos_of_train(tiny))
    few, all_of_them = (sample_uses(examples, photos, most, seed=0) for most in (2, 99))
    for photo in photos:
        holding = [at for at, one in enumerate(examples) if photo in one.photos]
        assert list(all_of_them[photo]) == holding
        assert len(few[photo]) == min(2, len(holding))
        assert set(few[photo]) <= set(holding)
    assert few == sample_uses(examples, photos, 2, seed=0)
    assert few != sample_uses(examples, photos, 2, seed=1)
    assert few[photos[0]] == sample_uses(examples, photos[:1], 2, seed=0)[photos[0]]


def test_a_sample_of_photos_is_drawn_by_the_seed(tiny: Path) -> None:
    few = AspectTrainingSettings(sampled_photos=3, examples_per_photo=1)
    plan = plan_of(tiny, few)
    assert len(plan.words) == 3
    assert plan.calls == 3
    assert plan == plan_of(tiny, few)


def test_words_of_a_file_are_cleaned(tmp_path: Path) -> None:
    file = tmp_path / "words.jsonl"
    file.write_text(
        '{"id": "a.jpg", "rawTags": ["Mexican Food", "<|im|>", "mexican food", ""]}\n\n'
    )
    assert read_words(file, "id", "rawTags") == {"a.jpg": ("mexican food", as_data("<|im|>"))}
    with pytest.raises(TrainingError, match="line 1: it has no fields 'photo'"):
        read_words(file)
    file.write_text('{"photo": "a.jpg", "words": "dome"}')
    with pytest.raises(TrainingError, match="'words' a list of texts"):
        read_words(file)
    file.write_text("")
    assert read_words(file) == {}
    with pytest.raises(TrainingError, match="cannot be read"):
        read_words(tmp_path / "nowhere.jsonl")


def test_photos_without_any_words_are_an_error(tiny: Path) -> None:
    with pytest.raises(TrainingError, match=r"none of the .* photos of training profiles"):
        find_beginning(Benchmark(tiny), None, {"elsewhere.jpg": WORDS})
    with pytest.raises(TrainingError, match="no aspect words"):
        find_beginning(Benchmark(tiny), None, None)


@pytest.mark.data
def test_raw_tags_of_real_photos_are_first_words(data: Path) -> None:
    words = read_words(data / "food_aspects" / "photos.jsonl", "id", "rawTags")
    assert len(words) == 800
    assert "burrito" in words["0000004.jpg"]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(one) for one in arguments], catch_exceptions=False)


def test_two_rounds_of_the_statistical_selector(tmp_path: Path) -> None:
    folder = write_planted(tmp_path / "planted")
    file, out = tmp_path / "words.jsonl", tmp_path / "run"
    first = words_of(folder)
    file.write_text(
        "\n".join(json.dumps({"photo": photo, "words": own}) for photo, own in first.items())
    )
    arguments = (folder, "--words", file, "--selector", "statistical", "--out", out)
    result = call(*arguments, "--json")
    assert result.exit_code == 0
    assert "log-odds@1" in result.stderr
    record = json.loads(result.stdout)
    assert [one["round"] for one in record["rounds"]] == [0, 1, 2]
    assert record["rounds"][2]["jaccard"] == 1
    assert record["rounds"][2]["mean_words"] > 0
    assert record["most_calls"] == 4 * record["calls_per_round"]
    assert read_refined(out) == {
        photo: ("jazz",) if "Jazz" in own else () for photo, own in sorted(first.items())
    }
    assert json.loads((out / "run.json").read_text())["stage"] == "aspects"
    text = call(*arguments).stdout
    assert "Most often kept: jazz" in text
    assert "Most often dropped: rooms" in text
    assert "visuallens train joint" in text


def test_two_rounds_of_a_tiny_backbone(tiny: Path, tmp_path: Path) -> None:
    tiny_nano.write(tmp_path / "nano")
    words, out = words_file(tiny, tmp_path / "words.jsonl"), tmp_path / "run"
    settings = {
        "backbone.model": tmp_path / "nano",
        "training.aspects.sampled_photos": 2,
        "training.aspects.examples_per_photo": 1,
        "training.aspects.max_rounds": 2,
    }
    chosen = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    arguments = (tiny, "--words", words, "--backbone", "nano", *chosen, "--out", out, "--json")
    estimate = json.loads(call(*arguments, "--estimate").stdout)
    assert estimate["calls_per_round"] == 2
    assert estimate["tokens_per_call"] > 100
    assert not out.exists()
    record = json.loads(call(*arguments).stdout)
    assert [one["round"] for one in record["rounds"]] == [0, 1, 2]
    assert record["rounds"][1]["asked"] == 2
    assert 0 < record["rounds"][1]["kept_share"] < 1
    assert record["model"].startswith("nano@local-")
    assert len(read_refined(out)) == 2


def test_fields_of_a_words_file_are_two(tiny: Path, tmp_path: Path) -> None:
    words = words_file(tiny, tmp_path / "words.jsonl")
    result = CliRunner().invoke(
        command, [str(tiny), "--words", str(words), "--words-fields", "photo", "--out", "run"]
    )
    assert result.exit_code == 2
    assert "PHOTO,WORDS" in result.stderr
