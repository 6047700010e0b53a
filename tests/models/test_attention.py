"""The network of the ranker `attention`, and its folder."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import torch
from tests.models.matcher import draw_matcher

from visuallens.errors import AdapterError
from visuallens.models.attention import (
    EVIDENCE,
    Attended,
    AttentionHead,
    MatcherShape,
    Memory,
    Recalled,
)
from visuallens.models.attention_folder import load_matcher, save_matcher
from visuallens.models.last_rows import LastRows

SHAPE = MatcherShape(6, 5, image_dims=3, text_dims=2, factors=4, width=8, heads=2)


def draw_attended(candidates: int = 6, photos: int = 3, words: int = 2) -> Attended:
    torch.manual_seed(1)
    factors = SHAPE.factors
    return Attended(
        taste=torch.randn(1, factors),
        photos=torch.randn(1, photos, factors),
        images=torch.randn(1, photos, SHAPE.image_dims),
        relevance=torch.randn(1, photos),
        photo_mask=torch.ones(1, photos, dtype=torch.bool),
        words=torch.randn(1, words, SHAPE.text_dim),
        word_mask=torch.ones(1, words, dtype=torch.bool),
        recalled=Recalled(
            torch.randn(1, candidates, factors + 1),
            torch.randn(1, candidates, factors + 1),
            torch.rand(1, candidates, 2),
        ),
        texts=torch.randn(1, candidates, 2 * SHAPE.text_dims),
        numbers=torch.randn(1, candidates, 3),
        mask=torch.ones(1, candidates, dtype=torch.bool),
    )


def reordered(seen: Attended, order: torch.Tensor) -> Attended:
    recalled = Recalled(*(getattr(seen.recalled, one.name)[:, order] for one in fields(Recalled)))
    return replace(
        seen, recalled=recalled, texts=seen.texts[:, order], numbers=seen.numbers[:, order]
    )


def head() -> AttentionHead:
    made = draw_matcher(6, 5).head
    assert isinstance(made, AttentionHead)
    return made


def test_an_untrained_head_is_its_evidence_by_hand() -> None:
    # Taste (1, 2, 0, 0). By image the candidate has factors (3, 1, 0, 0): 1 * 3 + 2 * 1 = 5; by
    # text (0, 4, 0, 0): 8. Its rating is 2. Weights 0.5, 0.5 and 0.1: 2.5 + 4 + 0.2 = 6.7. Until
    # it is trained, attention adds nothing.
    seen = draw_attended(candidates=1)
    recalled = Recalled(
        torch.tensor([[[3.0, 1, 0, 0, 9]]]),
        torch.tensor([[[0.0, 4, 0, 0, 9]]]),
        torch.ones(1, 1, 2),
    )
    seen = replace(
        seen,
        taste=torch.tensor([[1.0, 2, 0, 0]]),
        recalled=recalled,
        numbers=torch.tensor([[[2.0, 1, 0]]]),
    )
    untrained = AttentionHead(SHAPE).eval()
    with torch.no_grad():
        untrained.weights[[0, 2, 6]] = torch.tensor([0.5, 0.5, 0.1])
    assert untrained.evidence(seen).shape == (1, 1, EVIDENCE)
    assert untrained(seen).item() == pytest.approx(6.7)


def test_inputs_are_scaled_and_what_is_constant_stays_small() -> None:
    # Every candidate has a rating: that number never changes, and dividing by its deviation would
    # drown all others.
    seen = draw_attended(candidates=40)
    numbers = seen.numbers.clone()
    numbers[..., 1] = 1
    seen = replace(seen, numbers=numbers * torch.tensor([100.0, 1, 1]))
    made = AttentionHead(SHAPE)
    made.fit_scales(seen)
    scaled = ((made.evidence(seen) - made.evidence_mean) / made.evidence_scale)[0]
    expected = torch.ones(EVIDENCE)
    expected[7] = 0
    torch.testing.assert_close(scaled.std(dim=0, correction=0), expected)


def test_a_memory_recalls_by_hand() -> None:
    # One landmark at (1, 0, 0) of value 2: the same image recalls exp(0) * 2, one at a right angle
    # exp(-s) * 2 with s = 3, the opposite exp(-2 s) * 2.
    memory = Memory(SHAPE, 1, 0)
    memory.image_keys.copy_(torch.tensor([[1.0, 0, 0]]))
    memory.photo_values.fill_(2)
    found = memory.recall_photos(torch.tensor([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0]]))
    expected = [2, 2 * math.exp(-3), 2 * math.exp(-6)]
    assert found[:, 0].tolist() == pytest.approx(expected)


def test_a_candidate_without_images_recalls_nothing_by_image() -> None:
    memory = draw_matcher(6, 5).memory
    images = torch.nn.functional.normalize(torch.tensor([[0.0, 0, 0], [1, 1, 0]]), dim=-1)
    recalled = memory.recall_candidates(images, torch.randn(2, 4))
    assert not recalled.by_image[0].any()
    assert recalled.familiarity[0, 0] == 0
    assert recalled.by_image[1].any()
    assert recalled.by_text[0].any()


def test_a_number_that_is_missing_is_told_apart_from_the_mean() -> None:
    memory = Memory(SHAPE, 1, 0)
    memory.number_means.copy_(torch.tensor([4.0, 0.0]))
    memory.number_scales.copy_(torch.tensor([0.5, 1.0]))
    ratings, counts = torch.tensor([math.nan, 4.0, 5.0]), torch.tensor([0.0, 0.0, math.nan])
    rows = memory.standardise(ratings, counts).tolist()
    assert rows == [[0, 0, 0], [0, 1, 0], [2, 1, 0]]


def test_scores_follow_the_candidates_in_any_order() -> None:
    seen, trained = draw_attended(), head()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(trained(reordered(seen, order)), trained(seen)[:, order])


def test_candidates_attend_to_photos_words_and_each_other() -> None:
    seen, trained = draw_attended(), head()
    base = trained(seen)
    for changed in (
        replace(seen, photos=seen.photos + 1),
        replace(seen, words=seen.words + 1),
        replace(seen, texts=torch.cat([seen.texts[:, :1] + 1, seen.texts[:, 1:]], dim=1)),
    ):
        assert not torch.allclose(trained(changed)[:, 1:], base[:, 1:], atol=1e-4)


def test_what_is_masked_changes_nothing() -> None:
    seen, trained = draw_attended(), head()
    photo_mask, word_mask, mask = (
        one.clone() for one in (seen.photo_mask, seen.word_mask, seen.mask)
    )
    for hidden in (photo_mask, word_mask, mask):
        hidden[:, -1] = False
    seen = replace(seen, photo_mask=photo_mask, word_mask=word_mask, mask=mask)
    photos, words, texts = seen.photos.clone(), seen.words.clone(), seen.texts.clone()
    for changed in (photos, words, texts):
        changed[:, -1] += 5
    again = trained(replace(seen, photos=photos, words=words, texts=texts))
    torch.testing.assert_close(again[:, :-1], trained(seen)[:, :-1])


def test_a_user_without_photos_gets_finite_scores() -> None:
    seen = draw_attended(photos=0, words=0)
    assert head()(seen).isfinite().all()


def test_rows_are_read_once_while_they_are_remembered() -> None:
    asked: list[list[str]] = []
    keys = ["a", "bb", "a", "ccc"]

    def read(rows: Sequence[int]) -> torch.Tensor:
        asked.append([names[row] for row in rows])
        return torch.tensor([[float(len(names[row]))] for row in rows])

    rows, names = LastRows(1, most=2), keys
    assert rows.take(keys, read)[:, 0].tolist() == [1, 2, 1, 3]
    names = ["ccc", "a", "bb"]
    assert rows.take(names, read)[:, 0].tolist() == [3, 1, 2]
    assert [sorted(one) for one in asked] == [["a", "bb", "ccc"], ["bb"]]
    assert rows.take([], read).shape == (0, 1)


def test_a_saved_matcher_scores_the_same(tmp_path: Path) -> None:
    matcher, seen = draw_matcher(6, 5), draw_attended()
    save_matcher(matcher, tmp_path / "model", {"seed": 3})
    again = load_matcher(tmp_path / "model", "colours@1")
    torch.testing.assert_close(again.head(seen), matcher.head(seen))
    assert json.loads((tmp_path / "model" / "attention.json").read_text())["config"]["seed"] == 3


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("attention.json", None, "missing or damaged"),
        ("attention.json", "{", "missing or damaged"),
        ("attention.json", "[]", "not complete"),
        ("attention.json", '{"version": 1}', "not complete"),
        ("attention.safetensors", None, "missing, damaged"),
        ("attention.safetensors", "x", "missing, damaged"),
    ],
    ids=["no record", "half a record", "a list", "no sizes", "no weights", "broken weights"],
)
def test_a_damaged_folder_is_refused(
    tmp_path: Path, file: str, content: str | None, problem: str
) -> None:
    save_matcher(draw_matcher(6, 5), tmp_path, {})
    (tmp_path / file).unlink() if content is None else (tmp_path / file).write_text(content)
    with pytest.raises(AdapterError, match=problem):
        load_matcher(tmp_path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 2}, "its format is 2"),
        ({"encoder": "other@2"}, "trained with the encoder other@2"),
        ({"landmarks": 6}, "of other sizes"),
        ({"landmarks": "many"}, "cannot be used"),
        ({"landmarks": -1}, "cannot be used"),
        ({"landmarks": 10**12}, "cannot be used"),
        ({"shape": {"photo_dim": 6}}, "cannot be used"),
        ({"shape": {**asdict(SHAPE), "heads": 0}}, "cannot be used"),
    ],
    ids=["version", "encoder", "landmarks", "no number", "negative", "huge", "shape", "heads"],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, object], problem: str
) -> None:
    save_matcher(draw_matcher(6, 5), tmp_path, {})
    path = tmp_path / "attention.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(AdapterError, match=problem):
        load_matcher(tmp_path, "colours@1")
