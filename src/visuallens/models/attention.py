"""The network of the ranker `attention`: a memory of tastes, and a small head that attends.

Photos and candidates attend to the photos of training users (the landmarks of the memory) and
recall what these users' other choices say about them. Then candidates attend to the user's photos,
their aspect words and each other. All that goes in are frozen embeddings.

Choice: all of it is ours; the paper's matcher is a language model. This one is for low latency.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from visuallens.models.last_rows import LastRows

NUMBERS = 3
"""Of a candidate: rating, whether it has one, number of ratings."""

EVIDENCE = 6 + NUMBERS
"""Of a candidate from the start: fit, popularity, familiarity, each by image and text; numbers."""

_LEAST_DEVIATION = 1e-6


@dataclass(frozen=True, slots=True)
class MatcherShape:
    """Sizes of a matcher.

    Attributes:
        photo_dim: of photo embeddings.
        text_dim: of sentence embeddings.
        image_dims: that images are reduced to.
        text_dims: that names, and descriptions, are reduced to.
        factors: of a taste.
        sharpness: of the attention to landmarks.
        attended_photos: most photos that candidates attend to one by one; all count in the taste.
        max_words: most aspect words.
        width: of the head.
        heads: of its attention.
        layers: of it.
        history: False for the control that sees no photo.
    """

    photo_dim: int
    text_dim: int
    image_dims: int = 128
    text_dims: int = 64
    factors: int = 64
    sharpness: float = 3.0
    attended_photos: int = 64
    max_words: int = 32
    width: int = 64
    heads: int = 4
    layers: int = 1
    history: bool = True

    @property
    def side_sizes(self) -> tuple[int, ...]:
        """Widths of what is known of a candidate in every request: recalled, texts, numbers."""
        return self.factors + 1, self.factors + 1, 2, 2 * self.text_dims, NUMBERS


@dataclass(frozen=True, slots=True)
class Recalled:
    """What the memory recalls of candidates.

    Attributes:
        by_image: (..., candidates, factors + 1) float32, factors and popularity; 0 without images.
        by_text: the same, recalled by name and description.
        familiarity: (..., candidates, 2) how near the nearest landmark is, by image and by text.
    """

    by_image: Tensor
    by_text: Tensor
    familiarity: Tensor


@dataclass(frozen=True, slots=True)
class Attended:
    """A batch of requests as the head sees them; masks are True where there is something.

    Attributes:
        taste: (requests, factors) sum of what all photos recall, over the root of their number.
        photos: (requests, photos, factors) what the attended photos recall.
        images: (requests, photos, image_dims) their reduced embeddings.
        relevance: (requests, photos) their standardised similarity to the category.
        photo_mask: (requests, photos) bool.
        words: (requests, words, text_dim) sentence embeddings of aspect words.
        word_mask: (requests, words) bool.
        recalled: of the candidates.
        texts: (requests, candidates, 2 * text_dims) reduced names and descriptions.
        numbers: (requests, candidates, 3) standardised.
        mask: (requests, candidates) bool.
    """

    taste: Tensor
    photos: Tensor
    images: Tensor
    relevance: Tensor
    photo_mask: Tensor
    words: Tensor
    word_mask: Tensor
    recalled: Recalled
    texts: Tensor
    numbers: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> Self:
        """Move everything to a device."""
        others = (one.name for one in fields(self) if one.name != "recalled")
        moved = {name: getattr(self, name).to(device) for name in others}
        parts = (self.recalled.by_image, self.recalled.by_text, self.recalled.familiarity)
        return replace(self, recalled=Recalled(*(part.to(device) for part in parts)), **moved)


class Memory(nn.Module):
    """Recalls tastes from landmarks: nothing of it is trained by gradients.

    A vector x recalls sum_l exp(s (cos(x, z_l) - 1)) w_l over the landmarks z_l: attention without
    its normalisation, whose values w_l solve a kernel ridge regression (training/memory.py).

    Args:
        shape: sizes.
        landmarks: photos that are remembered.
        described: how many of them have a text.
    """

    image_mean: Tensor
    image_axes: Tensor
    name_mean: Tensor
    name_axes: Tensor
    description_mean: Tensor
    description_axes: Tensor
    image_keys: Tensor
    photo_values: Tensor
    candidate_values: Tensor
    text_keys: Tensor
    text_values: Tensor
    number_means: Tensor
    number_scales: Tensor

    def __init__(self, shape: MatcherShape, landmarks: int, described: int) -> None:
        super().__init__()
        self.shape = shape
        self.landmarks, self.described = landmarks, described
        images, texts, factors = shape.image_dims, shape.text_dims, shape.factors
        sizes = {
            "image_mean": (shape.photo_dim,),
            "image_axes": (shape.photo_dim, images),
            "name_mean": (shape.text_dim,),
            "name_axes": (shape.text_dim, texts),
            "description_mean": (shape.text_dim,),
            "description_axes": (shape.text_dim, texts),
            "image_keys": (landmarks, images),
            "photo_values": (landmarks, factors),
            "candidate_values": (landmarks, factors + 1),
            "text_keys": (described, 2 * texts),
            "text_values": (described, factors + 1),
            "number_means": (2,),
            "number_scales": (2,),
        }
        for name, size in sizes.items():
            self.register_buffer(name, torch.zeros(size))

    def reduce_images(self, embeddings: Tensor) -> Tensor:
        """Reduce (..., photo_dim) embeddings to (..., image_dims) of unit length."""
        return _reduced(embeddings, self.image_mean, self.image_axes)

    def reduce_texts(self, names: Tensor, descriptions: Tensor, described: Tensor) -> Tensor:
        """Reduce names and descriptions.

        Args:
            names: (..., text_dim) sentence embeddings.
            descriptions: (..., text_dim).
            described: (...) bool, whether there is a description.

        Returns:
            (..., 2 * text_dims) float32; the product of two is the mean of both cosines.
        """
        first = _reduced(names, self.name_mean, self.name_axes)
        second = _reduced(descriptions, self.description_mean, self.description_axes)
        both = torch.cat([first, second * described.unsqueeze(-1)], dim=-1)
        return both / 2**0.5

    def standardise(self, ratings: Tensor, counts: Tensor) -> Tensor:
        """Make (..., 3) numbers of ratings and numbers of ratings; NaN where there is none."""
        raw = torch.stack([ratings, counts.log1p()], dim=-1)
        scaled = ((raw - self.number_means) / self.number_scales).nan_to_num(
            0.0, posinf=0.0, neginf=0.0
        )
        known = (~ratings.isnan()).float()
        return torch.stack([scaled[..., 0], known, scaled[..., 1]], dim=-1)

    def recall_photos(self, images: Tensor) -> Tensor:
        """Recall (photos, factors) of reduced (photos, image_dims) images."""
        found: Tensor = self._attention(images, self.image_keys) @ self.photo_values
        return found

    def recall_candidates(self, images: Tensor, texts: Tensor) -> Recalled:
        """Recall candidates.

        Args:
            images: (candidates, image_dims), the mean of their reduced images, unit length; zero
                where there is none.
            texts: (candidates, 2 * text_dims).

        Returns:
            What is recalled of them.
        """
        by_image = self._attention(images, self.image_keys)
        by_text = self._attention(texts, self.text_keys)
        shown = images.any(dim=-1, keepdim=True)
        nearest = [_nearest(by_image) * shown[..., 0], _nearest(by_text)]
        return Recalled(
            (by_image @ self.candidate_values) * shown,
            by_text @ self.text_values,
            torch.stack(nearest, dim=-1),
        )

    def _attention(self, queries: Tensor, keys: Tensor) -> Tensor:
        return torch.exp(self.shape.sharpness * (queries @ keys.T - 1))


class AttentionHead(nn.Module):
    """Scores candidates: a weighted sum of the evidence, and what attention adds to it.

    Args:
        shape: sizes.
        dropout: in training.
    """

    evidence_mean: Tensor
    evidence_scale: Tensor
    factor_scales: Tensor

    def __init__(self, shape: MatcherShape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        width = shape.width
        self.register_buffer("evidence_mean", torch.zeros(EVIDENCE))
        self.register_buffer("evidence_scale", torch.ones(EVIDENCE))
        self.register_buffer("factor_scales", torch.ones(2))
        self.weights = nn.Parameter(torch.zeros(EVIDENCE))
        known = shape.factors + 2 * shape.text_dims + EVIDENCE
        self.read_candidate = nn.Linear(known, width)
        self.read_photo = nn.Linear(shape.factors + shape.image_dims + 1, width)
        self.read_word = nn.Linear(shape.text_dim, width)
        self.nothing = nn.Parameter(torch.zeros(1, 1, width))
        self.layers = nn.ModuleList(_Layer(shape, dropout) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, 1)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def fit_scales(self, seen: Attended) -> None:
        """Take means and scales of the inputs from requests; what is constant is not scaled."""
        with torch.no_grad():
            evidence = self.evidence(seen)[seen.mask]
            deviation = evidence.std(dim=0, correction=0)
            self.evidence_mean.copy_(evidence.mean(dim=0))
            deviation[deviation <= _LEAST_DEVIATION] = 1
            self.evidence_scale.copy_(deviation)
            factors = (seen.recalled.by_image + seen.recalled.by_text)[..., : self.shape.factors]
            parts = (seen.photos[seen.photo_mask], factors[seen.mask])
            self.factor_scales.copy_(torch.stack([_length_of(part) for part in parts]))

    def scaled_evidence(self, seen: Attended) -> Tensor:
        """Compute (requests, candidates, EVIDENCE), in units of training examples."""
        return (self.evidence(seen) - self.evidence_mean) / self.evidence_scale

    def evidence(self, seen: Attended) -> Tensor:
        """Compute (requests, candidates, EVIDENCE), unscaled."""
        recalled, taste, factors = seen.recalled, seen.taste.unsqueeze(1), self.shape.factors
        parts = [
            (recalled.by_image[..., :factors] * taste).sum(dim=-1),
            recalled.by_image[..., factors],
            (recalled.by_text[..., :factors] * taste).sum(dim=-1),
            recalled.by_text[..., factors],
            *recalled.familiarity.unbind(dim=-1),
            *seen.numbers.unbind(dim=-1),
        ]
        return torch.stack(parts, dim=-1)

    def forward(self, seen: Attended) -> Tensor:
        """Score candidates.

        Args:
            seen: a batch of requests.

        Returns:
            (requests, candidates) float32; what is not in the mask means nothing.
        """
        evidence = self.scaled_evidence(seen)
        factors = self.shape.factors
        photo_scale, candidate_scale = self.factor_scales
        recalled = (seen.recalled.by_image + seen.recalled.by_text)[..., :factors]
        known = torch.cat([recalled / candidate_scale, seen.texts, evidence], dim=-1)
        candidates = self.dropout(self.read_candidate(known))
        context, context_mask = self._context(seen, photo_scale)
        for layer in self.layers:
            candidates = layer(candidates, seen.mask, context, context_mask)
        learned = self.score(self.norm(candidates)).squeeze(-1)
        scores: Tensor = evidence @ self.weights + learned
        return scores

    def _context(self, seen: Attended, photo_scale: Tensor) -> tuple[Tensor, Tensor]:
        """Read photos and words; one more stands for nothing, where there is neither."""
        relevance = seen.relevance.unsqueeze(-1)
        photos = torch.cat([seen.photos / photo_scale, seen.images, relevance], dim=-1)
        count = len(seen.mask)
        read = [
            self.nothing.expand(count, 1, -1),
            self.dropout(self.read_photo(photos)),
            self.dropout(self.read_word(seen.words)),
        ]
        one = torch.ones((count, 1), dtype=torch.bool, device=seen.mask.device)
        return torch.cat(read, dim=1), torch.cat([one, seen.photo_mask, seen.word_mask], dim=1)


class AttentionMatcher(nn.Module):
    """A trained matcher: memory and head.

    Args:
        memory: of training users.
        head: trained with it.
        encoder: id of what embeds the photos.

    Attributes:
        known_photos: rows of the last photos, by id.
        known_candidates: rows of the last candidates.
        known_words: embeddings of the last aspect words.
        retrieval: settings of the retriever that it was trained with; empty where not known.
    """

    def __init__(self, memory: Memory, head: AttentionHead, encoder: str) -> None:
        super().__init__()
        self.memory, self.head, self.encoder = memory, head, encoder
        shape = memory.shape
        self.known_photos = LastRows(shape.factors + shape.image_dims)
        self.known_candidates = LastRows(sum(shape.side_sizes))
        self.known_words = LastRows(shape.text_dim)
        self.retrieval: Mapping[str, object] = {}

    @property
    def shape(self) -> MatcherShape:
        """Sizes."""
        return self.memory.shape


class _Layer(nn.Module):
    """Candidates attend to the user, then to each other."""

    def __init__(self, shape: MatcherShape, dropout: float) -> None:
        super().__init__()
        width, heads = shape.width, shape.heads
        self.before = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.to_user = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.to_others = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.expand = nn.Linear(width, 2 * width)
        self.contract = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, candidates: Tensor, mask: Tensor, context: Tensor, known: Tensor) -> Tensor:
        asks = self.before[0](candidates)
        found: Tensor
        found, _ = self.to_user(asks, context, context, ~known, need_weights=False)
        candidates = candidates + found
        asks = self.before[1](candidates)
        found, _ = self.to_others(asks, asks, asks, ~mask, need_weights=False)
        candidates = candidates + found
        hidden = functional.gelu(self.expand(self.before[2](candidates)))
        found = self.contract(self.dropout(hidden))
        return candidates + found


def _length_of(vectors: Tensor) -> Tensor:
    """Compute the usual length of (vectors, dim); 1 where there is nothing.

    Choice: divided by it, factors are as long as the reduced texts and images beside them, which
        have unit length; larger ones drown these.
    """
    length = float(vectors.pow(2).sum(dim=-1).mean().sqrt()) if vectors.numel() else 1.0
    return torch.tensor(length if length > _LEAST_DEVIATION else 1.0)


def _reduced(embeddings: Tensor, mean: Tensor, axes: Tensor) -> Tensor:
    return functional.normalize((embeddings - mean) @ axes, dim=-1)


def _nearest(attention: Tensor) -> Tensor:
    if attention.shape[-1] == 0:
        return attention.new_zeros(attention.shape[:-1])
    return attention.amax(dim=-1)
