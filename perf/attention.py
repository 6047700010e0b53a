"""How long does the ranker `attention` take? A matcher of full size, drawn at random."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from visuallens.models.attention import AttentionHead, AttentionMatcher, MatcherShape, Memory
from visuallens.models.embedded import EmbeddedModel
from visuallens.models.spaces import unit_length
from visuallens.rankers.attention import AttentionRanker
from visuallens.rankers.base import RankerResources
from visuallens.types import (
    Candidate,
    FloatArray,
    Photo,
    Profile,
    ProfileCell,
    Question,
    RankingRequest,
    VisualHistory,
)

_LANDMARKS = 4096
_PHOTOS, _CANDIDATES = 64, 100
_PHOTO_DIM, _TEXT_DIM = 1280, 384
_REPEATS = 31


class _Remembered:
    """Sentence embeddings that are looked up: how long MiniLM takes is another question."""

    def __init__(self, model: EmbeddedModel, texts: Sequence[str]) -> None:
        rows = model.sentences.encode_texts(texts)
        self._rows = dict(zip(texts, rows, strict=True))

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        return np.stack([self._rows[text] for text in texts])


def section() -> Iterator[str]:
    """Rank the same request with nothing, with photos and with everything known from before."""
    request, profile, images = _request()
    texts = [text for one in request.candidates for text in (one.name, one.description)]
    sentences = _Remembered(EmbeddedModel(), [*texts, *profile.aspect_words])
    matcher = _matcher()
    ranker = AttentionRanker(
        RankerResources(
            lambda _: profile,
            sentences,
            sentences,
            lambda paths: {path: images[path] for path in paths},
            matcher=lambda: matcher,
        )
    )
    size = sum(value.numel() for value in matcher.state_dict().values()) / 1e6
    yield f"| {_CANDIDATES} candidates, {_PHOTOS} photos, {size:.1f} M numbers | median | p95 |"
    yield "|---|---|---|"
    for name, forgotten in (
        ("photos and candidates are new", ("known_photos", "known_candidates")),
        ("candidates are known, photos are new", ("known_photos",)),
        ("all are known", ()),
    ):
        times = []
        for _ in range(_REPEATS):
            for one in forgotten:
                getattr(matcher, one).forget()
            begun = time.perf_counter()
            ranker.rank(request)
            times.append((time.perf_counter() - begun) * 1000)
        times = sorted(times[1:])
        p95 = times[int(0.95 * len(times))]
        yield f"| {name} | {statistics.median(times):.1f} ms | {p95:.1f} ms |"


def _matcher() -> AttentionMatcher:
    torch.manual_seed(0)
    shape = MatcherShape(_PHOTO_DIM, _TEXT_DIM)
    memory, head = Memory(shape, _LANDMARKS, _LANDMARKS), AttentionHead(shape)
    for name, value in memory.state_dict().items():
        value.copy_(torch.randn(value.shape) * 0.1 if "scales" not in name else 1)
    return AttentionMatcher(memory, head, "drawn").eval()


def _request() -> tuple[RankingRequest, Profile, dict[str, FloatArray]]:
    generator = np.random.default_rng(0)
    size = (_PHOTOS + _CANDIDATES, _PHOTO_DIM)
    rows = unit_length(generator.normal(size=size).astype(np.float32))
    candidates = tuple(
        Candidate(f"c{n}", f"Place {n}", f"What is said of place {n}", (), (f"{n}.jpg",), rating=n)
        for n in range(_CANDIDATES)
    )
    words = tuple(f"word {n}" for n in range(32))
    cells = tuple(
        ProfileCell(n + 1, Photo(f"p{n}", f"p{n}.jpg"), 1 - n / _PHOTOS, "", words[n % 32 :][:1])
        for n in range(_PHOTOS)
    )
    question = Question("a museum", "museum")
    profile = Profile("me", question, cells, words, "", 8, 896, rows[:_PHOTOS])
    history = VisualHistory("me", [cell.photo for cell in cells])
    request = RankingRequest("r", question, history, candidates)
    images = {f"{n}.jpg": rows[_PHOTOS + n] for n in range(_CANDIDATES)}
    return request, profile, images


if __name__ == "__main__":
    for line in section():
        print(line)
