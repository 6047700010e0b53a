from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.benchmark.tiny import write_tiny
from tests.cli.matchers import write_matcher
from tests.indexed import SMALL, USER, index_photos, open_profiles, small_settings

from visuallens import registry
from visuallens.benchmark.folder import Benchmark
from visuallens.benchmark.run_file import read_run
from visuallens.cli.main import EXIT_CODES, exit_code, visuallens
from visuallens.errors import (
    AdapterError,
    EvaluationError,
    RequestError,
    RunFileError,
    UnknownNameError,
)
from visuallens.rankers.attention import AttentionRanker
from visuallens.rankers.similarity import SimilarityRanker
from visuallens.types import Ranking, RankingRequest


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("rank") / "tiny", examples=24, users=8)


@pytest.fixture(scope="module")
def library(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "library.sqlite"
    index_photos(path, tiny / "photos")
    return path


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BUILT_IN["models"], "colours", "tests.indexed:ColourModel")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(visuallens, [str(one) for one in arguments])


# Any: JSON.
def called(*arguments: object) -> dict[str, Any]:
    result = call(*arguments, "--json")
    assert result.exception is None, result.exception
    record: dict[str, Any] = json.loads(result.stdout)
    return record


def ranked_by(ranker: str, tiny: Path, library: Path, out: Path, *more: str) -> tuple[object, ...]:
    small = [f"--set={one}" for one in SMALL]
    where = ("--library", library, "--user", USER, "--out", out)
    return ("rank", tiny, "--ranker", ranker, *where, *small, *more)


@pytest.mark.parametrize("control", registry.names("controls"))
def test_controls_rank_without_a_library(tiny: Path, tmp_path: Path, control: str) -> None:
    out = tmp_path / "a.run"
    record = called("rank", tiny, "--control", control, "--out", out)
    assert (record["run"], record["ranker"], record["split"]) == (str(out), control, "test")
    assert record["with"]["control"] == control
    assert read_run(out, Benchmark(tiny), "test").tag == control


def test_a_run_does_not_go_on_with_another_library(
    tiny: Path, library: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few.sqlite"
    index_photos(few, sorted((tiny / "photos").rglob("*.jpg"))[:40])
    out = tmp_path / "a.run"
    called(*ranked_by("similarity", tiny, library, out))
    refused = call(*ranked_by("similarity", tiny, few, out))
    assert isinstance(refused.exception, RunFileError)
    assert "indexed_sha256" in str(refused.exception)


def test_a_ranker_answers_from_the_library(tiny: Path, library: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.run"
    record = called(*ranked_by("similarity", tiny, library, out, "--split", "train"))
    photos = sum(len(one.history) for one in Benchmark(tiny).requests("train"))
    assert record["counts"] == {"photos": photos, "photos_not_indexed": 0}
    assert (record["with"]["encoder"], record["with"]["adapter"]) == ("colours@1", None)
    assert record["account"] is None
    profiles = open_profiles(tiny, library, small_settings())
    ranker = SimilarityRanker(profiles.resources())
    run = read_run(out, Benchmark(tiny), "train")
    request = next(Benchmark(tiny).requests("train"))
    expected = {one.candidate.id: one.score for one in ranker.rank(request).candidates}
    assert run.scores_of(request.id) == expected
    # The same command once more changes nothing.
    bytes_before = out.read_bytes()
    again = called(*ranked_by("similarity", tiny, library, out, "--split", "train"))
    assert again == record
    assert out.read_bytes() == bytes_before


def test_a_matcher_that_was_trained_again_makes_another_run(
    tiny: Path, library: Path, tmp_path: Path
) -> None:
    out, folder = tmp_path / "a.run", write_matcher(tmp_path / "model")
    command = ranked_by("attention", tiny, library, out, "--adapter", str(folder))
    first = called(*command)
    assert (first["ranker"], first["with"]["matcher"]) == ("attention", str(folder))
    assert first["with"]["adapter"] is None
    assert called(*command) == first
    write_matcher(folder, bias=1.0)
    error = call(*command).exception
    assert isinstance(error, RunFileError)
    assert "with.matcher_sha256" in str(error)


def test_a_stopped_run_does_not_go_on_with_another_matcher(
    tiny: Path, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, folder = tmp_path / "a.run", write_matcher(tmp_path / "model")
    command = ranked_by("attention", tiny, library, out, "--adapter", str(folder))
    answer, asked = AttentionRanker.rank, []

    def stop(self: AttentionRanker, request: RankingRequest) -> Ranking:
        asked.append(request.id)
        if len(asked) > 1:
            raise RequestError("stopped")
        return answer(self, request)

    with monkeypatch.context() as patched:
        patched.setattr(AttentionRanker, "rank", stop)
        assert str(call(*command).exception) == "stopped"
    write_matcher(folder, bias=1.0)
    error = call(*command).exception
    assert isinstance(error, RunFileError)
    assert "with.matcher_sha256" in str(error)
    write_matcher(folder)
    assert called(*command)["ranker"] == "attention"


def test_the_settings_may_name_the_ranker_whose_adapter_it_is(
    tiny: Path, library: Path, tmp_path: Path
) -> None:
    folder, config = write_matcher(tmp_path / "model"), tmp_path / "settings.toml"
    config.write_text('[ranker]\nname = "attention"\n')
    small = [f"--set={one}" for one in SMALL]
    where = ("--library", library, "--user", USER, "--adapter", folder)
    chosen = (("--config", config), ("--set", "ranker.name=attention"))
    for number, named in enumerate(chosen):
        out = tmp_path / f"{number}.run"
        record = called("rank", tiny, *named, "--out", out, *where, *small)
        assert record["ranker"] == "attention"
        assert record["settings"]["ranker"]["model"] == str(folder)
        assert record["settings"]["backbone"]["adapter"] is None
    # What --ranker says counts for more than the settings.
    error = call(
        "rank", tiny, "--config", config, "--ranker", "visuallens", "--out", tmp_path / "a", *where,
        *small,
    ).exception  # fmt: skip
    assert isinstance(error, AdapterError)
    assert "Name an adapter's own folder" in str(error)


def test_strangers_change_the_answer(tiny: Path, library: Path, tmp_path: Path) -> None:
    own, strangers = tmp_path / "own.run", tmp_path / "strangers.run"
    called(*ranked_by("similarity", tiny, library, own, "--examples", "4"))
    record = called(
        *ranked_by("similarity", tiny, library, strangers, "--examples", "4", "--shuffled-history")
    )
    assert (record["sample"], record["shuffled_history"]) == (4, True)
    first, second = (read_run(path, Benchmark(tiny), "test") for path in (own, strangers))
    assert first.example_ids == second.example_ids
    assert first.scores.tolist() != second.scores.tolist()


def test_histories_are_cut_and_candidates_shown_in_another_order(
    tiny: Path, library: Path, tmp_path: Path
) -> None:
    def scores(name: str, *more: str) -> tuple[dict[str, Any], dict[str, list[float]]]:
        record = called(*ranked_by("similarity", tiny, library, tmp_path / name, *more))
        run = read_run(tmp_path / name, Benchmark(tiny), "test")
        ids = run.example_ids
        return record, {one: list(run.scores_of(one).values()) for one in ids}

    whole, own = scores("whole.run")
    cut, some = scores("cut.run", "--history", "2")
    assert cut["history_photos"] == 2
    assert cut["counts"]["photos"] == 2 * cut["examples"] < whole["counts"]["photos"]
    assert some != own
    # Without a photo nothing is known, and the seed decides.
    none, nothing = scores("none.run", "--history", "0")
    assert none["counts"]["photos"] == 0
    assert {score for each in nothing.values() for score in each} == {0.0}
    turned, shown = scores("turned.run", "--candidate-order", "1")
    assert turned["candidate_order"] == 1
    assert shown.keys() == own.keys()
    assert all(shown[one] == pytest.approx(own[one], abs=1e-5) for one in own)
    both, _ = scores("both.run", "--history", "2", "--shuffled-history", "--candidate-order", "3")
    assert (both["history_photos"], both["shuffled_history"], both["candidate_order"]) == (
        2,
        True,
        3,
    )


def test_plain_output_says_how_it_was_asked(tiny: Path, tmp_path: Path) -> None:
    result = call(
        "rank", tiny, "--control", "rating", "--out", tmp_path / "a.run",
        "--history", "20", "--candidate-order", "4",
    )  # fmt: skip
    words = ", knowing the newest 20 photos of each history, with the candidates in order 4."
    assert words in result.output


def test_plain_output_says_what_to_do_next(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.run"
    result = call("rank", tiny, "--control", "rating", "--shuffled-history", "--out", out)
    assert "rating answered" in result.output
    assert "each with another user's history" in result.output
    assert f"visuallens evaluate BENCHMARK {out}" in result.output


def test_a_control_takes_no_ranker(tiny: Path, tmp_path: Path) -> None:
    result = call(
        "rank", tiny, "--control", "rating", "--ranker", "random", "--out", tmp_path / "a"
    )
    assert result.exit_code == 2
    assert "--control goes without" in result.output


def test_a_library_without_the_photos_is_refused_with_the_way_out(
    tiny: Path, photo_folder: Path, tmp_path: Path
) -> None:
    index_photos(tmp_path / "library.sqlite", photo_folder)
    command = ranked_by("similarity", tiny, tmp_path / "library.sqlite", tmp_path / "a.run")
    error = call(*command).exception
    assert isinstance(error, EvaluationError)
    assert f"visuallens index {Benchmark(tiny).photos_folder} --library" in str(error)


def test_a_wrong_ranker_answers_with_the_known_ones(
    tiny: Path, library: Path, tmp_path: Path
) -> None:
    error = call(*ranked_by("magic", tiny, library, tmp_path / "a.run")).exception
    assert isinstance(error, UnknownNameError)


def test_errors_of_runs_have_an_exit_code_of_their_own() -> None:
    error = RunFileError("a.run", "it is empty", "Write it again")
    codes = [code for _, code in EXIT_CODES]
    assert codes.count(exit_code(error)) == 1
    assert exit_code(error) == 14
