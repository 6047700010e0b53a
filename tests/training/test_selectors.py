"""Who chooses aspect words: a language model, and statistics of other users."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from tests.benchmark.tiny import write_tiny
from tests.models.toy_backbone import ToyBackbone
from tests.training.planted import answer, lovers, words_of, write_planted

from visuallens.benchmark.folder import Benchmark
from visuallens.config.training import AspectTrainingSettings
from visuallens.errors import TrainingError
from visuallens.training.photo_uses import Beginning, Words, find_beginning
from visuallens.training.selectors import BackboneSelector, Offered, Selector
from visuallens.training.statistical import (
    Counts,
    Matches,
    StatisticalSelector,
    deal_users,
    log_odds,
    word_key,
    z_scores,
)
from visuallens.types import Candidate

SETTINGS = AspectTrainingSettings(folds=3)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark") / "tiny"
    return write_tiny(folder, examples=120, users=12, photos=False)


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    return write_planted(tmp_path / "planted")


def begin(folder: Path) -> Beginning:
    return find_beginning(Benchmark(folder), None, words_of(folder))


def offer(beginning: Beginning) -> list[Offered]:
    """Offer the photos of each user's last example, judged by that example."""
    last = {example.user_id: at for at, example in enumerate(beginning.examples)}
    return [
        Offered(photo, beginning.words[photo], (at,))
        for at in last.values()
        for photo in beginning.examples[at].photos
    ]


def select(folder: Path, beginning: Beginning) -> list[tuple[str, ...]]:
    selector: Selector = StatisticalSelector(Benchmark(folder), beginning.examples, SETTINGS, 0)
    selector.begin(beginning.words)
    return [one.words for one in selector.select(offer(beginning))]


def test_log_odds_by_hand() -> None:
    # a = 3 of A = 4 right ones, c = 2 of C = 16 others; q = 5/20 = 0.25; m = 10.
    # yes: 3 + 2.5 = 5.5 and 2 + 2.5 = 4.5; no: 1 + 7.5 = 8.5 and 14 + 7.5 = 21.5.
    counts = Counts(np.array([[3.0, 0, 4], [2, 0, 16]]), np.array([[4.0], [16]]))
    theta, variance = log_odds(counts, 10)
    assert theta[0] == pytest.approx(math.log(5.5 / 8.5) - math.log(4.5 / 21.5))
    assert theta[0] == pytest.approx(1.1287, abs=1e-4)
    assert variance[0] == pytest.approx(1 / 5.5 + 1 / 8.5 + 1 / 4.5 + 1 / 21.5)
    # Words that no candidate shares, or all do, tell nothing.
    assert theta[1:].tolist() == [0, 0]
    assert np.isinf(variance[1:]).all()


def test_what_is_true_of_everybody_is_no_taste() -> None:
    having = Counts(np.array([[30.0], [20]]), np.array([[40.0], [160]]))
    none = Counts(np.zeros((2, 1)), np.zeros((2, 1)))
    assert z_scores(having, having, 10).tolist() == [0]  # profiles without the word are alike
    assert z_scores(having, none, 10).tolist() == [0]  # there are none to compare with
    rare = Counts(np.array([[5.0], [55]]), np.array([[40.0], [160]]))
    assert z_scores(having, rare, 10)[0] > 3
    assert z_scores(rare, having, 10)[0] < -3


def test_a_stronger_prior_shrinks_the_odds_to_nothing() -> None:
    counts = Counts(np.array([[3.0], [2]]), np.array([[4.0], [16]]))
    found = [log_odds(counts, prior)[0][0] for prior in (1, 10, 100, 1e6)]
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(0, abs=1e-3)


def test_users_are_dealt_into_folds_of_equal_size() -> None:
    users = [f"user-{number}" for number in range(10)]
    dealt = deal_users(users * 2, 3, seed=0)
    assert sorted(dealt) == sorted(users)
    assert sorted(np.bincount(list(dealt.values()))) == [3, 3, 4]
    assert dealt == deal_users(reversed(users), 3, seed=0)
    assert dealt != deal_users(users, 3, seed=1)
    with pytest.raises(TrainingError, match="judges a user's words by other users"):
        deal_users(["me", "me"], 3, seed=0)


def test_a_word_that_tells_the_choice_is_kept_and_others_go(planted: Path) -> None:
    beginning = begin(planted)
    selected = select(planted, beginning)
    for words, offered in zip(selected, offer(beginning), strict=True):
        assert ("Jazz" in words) == ("Jazz" in offered.words)
        assert "rooms" not in words
        assert not any(word.startswith("noise") for word in words)
    assert any(selected)
    assert selected == select(planted, begin(planted))  # deterministic


def test_answers_of_a_user_never_choose_that_users_words(planted: Path) -> None:
    beginning = begin(planted)
    before = select(planted, beginning)
    dealt = deal_users((one.user_id for one in beginning.examples), SETTINGS.folds, 0)
    own = {user for user, fold in dealt.items() if fold == 0}
    love = lovers(planted)
    answer(planted, (love - own) | (own - love))  # the users of one fold change their minds
    after = select(planted, beginning)
    of_fold = [beginning.examples[one.examples[0]].user_id in own for one in offer(beginning)]
    pairs = zip(before, after, of_fold, strict=True)
    assert [one == other for one, other, is_own in pairs if is_own].count(False) == 0


def test_the_answers_of_all_others_do_choose(planted: Path) -> None:
    beginning = begin(planted)
    users = {one.user_id for one in beginning.examples}
    answer(planted, users - lovers(planted))
    assert not any("Jazz" in words for words in select(planted, beginning))


def test_a_candidate_shares_whole_words_of_its_texts_and_photos(planted: Path) -> None:
    benchmark = Benchmark(planted)
    photo = str(benchmark.photos_folder / "there" / "1.jpg")
    candidate = Candidate(
        "1", "Joe's Bar & Grill", "Rusted pipes, art", categories=("steak house",), photos=(photo,)
    )
    words: Words = {
        "there/1.jpg": ("violin",),
        "elsewhere/2.jpg": ("bar grill", "Steak House", "rust", "pipes art house", "drum", "art"),
    }
    keys = sorted({word_key(word) for own in words.values() for word in own})
    rows = {key: row for row, key in enumerate(keys)}
    found, times = Matches(words, rows, benchmark).of_candidates([candidate, candidate])
    assert [keys[row] for row in found] == ["art", "bar grill", "steak house", "violin"]
    assert times.tolist() == [2, 2, 2, 2]


def listed(prompt: str) -> dict[str, str]:
    """Candidates of a prompt: label → name."""
    block = prompt.split("Candidates of", 1)[1].split("Ground Truth", 1)[0]
    return dict(re.findall(r"^(<I\d+>) ([^,\n]+)", block, re.MULTILINE))


def right(prompt: str) -> list[str]:
    block = prompt.split("Ground Truth:", 1)[1]
    return re.findall(r"^(<I\d+>)", block, re.MULTILINE)


def test_a_model_is_shown_words_candidates_and_the_ground_truth(tiny: Path) -> None:
    benchmark = Benchmark(tiny)
    backbone = ToyBackbone(in_words=lambda _: "dome")
    BackboneSelector(benchmark, backbone, "paper", 0).select([Offered("p", ("dome", "rust"), (1,))])
    (prompt,) = backbone.prompts
    assert backbone.images == [None]
    example = list(benchmark.examples("train"))[1]
    names = {one.id: one.name for one in example.request.candidates}
    assert "dome, rust." in prompt
    assert sorted(listed(prompt).values()) == sorted(names.values())
    assert sorted(listed(prompt)[label] for label in right(prompt)) == sorted(
        names[one] for one in example.ground_truth
    )


def test_candidates_are_listed_in_an_order_that_only_the_seed_decides(tiny: Path) -> None:
    benchmark = Benchmark(tiny)

    def order(seed: int) -> list[str]:
        backbone = ToyBackbone(in_words=lambda _: "dome")
        selector = BackboneSelector(benchmark, backbone, "fenced", seed)
        selector.select([Offered("p", ("dome",), (0,))])
        return list(listed(backbone.prompts[0]).values())

    given = [one.name for one in next(iter(benchmark.requests("train"))).candidates]
    assert order(0) == order(0)
    assert order(0) != order(1)
    assert order(0) != given


def test_a_word_is_kept_when_any_example_finds_it_useful(tiny: Path) -> None:
    answers = iter(["dome", "stone and glass", "Nothing comes to mind.", "paint"])
    backbone = ToyBackbone(in_words=lambda _: next(answers))
    selector = BackboneSelector(Benchmark(tiny), backbone, "fenced", 0)
    offered = [
        Offered("a", ("glass", "paint", "dome"), (0, 1)),
        Offered("b", ("paint", "dome"), (2, 3)),
        Offered("c", (), (0,)),
    ]
    first, second, empty = selector.select(offered)
    assert first.words == ("glass", "dome")  # in the order offered; "stone" was not
    assert (first.asked, first.read) == (2, 2)
    assert second.words == ("paint",)
    assert (second.asked, second.read) == (2, 1)
    assert (empty.words, empty.asked) == ((), 0)
    assert len(backbone.prompts) == 4


def test_a_photo_keeps_its_words_when_no_answer_can_be_read(tiny: Path) -> None:
    backbone = ToyBackbone(in_words=lambda _: "I'm sorry, I cannot help with dome.")
    selector = BackboneSelector(Benchmark(tiny), backbone, "fenced", 0)
    (found,) = selector.select([Offered("a", ("dome", "glass"), (0,))])
    assert (found.words, found.asked, found.read) == (("dome", "glass"), 1, 0)


def test_a_prompt_too_long_is_cut_but_keeps_ground_truth(tiny: Path) -> None:
    benchmark = Benchmark(tiny)
    backbone = ToyBackbone(in_words=lambda _: "dome")
    backbone.max_tokens = 125
    selector = BackboneSelector(benchmark, backbone, "fenced", 0)
    selector.select([Offered("a", ("dome",), (0,))])
    (prompt,) = backbone.prompts
    assert sum(backbone.count_tokens([prompt], image=None)) + 22 <= backbone.max_tokens
    example = next(iter(benchmark.examples("train")))
    assert 1 < len(listed(prompt)) < len(example.request.candidates)
    assert 0 < len(right(prompt)) < len(listed(prompt))


def test_no_photos_need_no_model(tiny: Path) -> None:
    backbone = ToyBackbone(in_words=lambda _: "dome")
    assert BackboneSelector(Benchmark(tiny), backbone, "fenced", 0).select([]) == []
    assert backbone.prompts == []
