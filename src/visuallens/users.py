"""A user of a library, opened: photos, embeddings and words in memory, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from visuallens.augment.store import Describer, Library
from visuallens.config import Settings
from visuallens.errors import NothingIndexedError
from visuallens.models.backbone_reader import BackboneReader
from visuallens.models.base import PhotoModel
from visuallens.profile.evidence import NullDistribution
from visuallens.profile.opened import OpenHistory, age_days
from visuallens.types import Augmentation


@dataclass(frozen=True, slots=True)
class User:
    """A user's history, opened, with its own null distribution."""

    opened: OpenHistory
    nulls: NullDistribution


def open_user(library: Library, user_id: str, model: PhotoModel, settings: Settings) -> User:
    """Load a user's photos into memory.

    Args:
        library: open.
        user_id: whose photos.
        model: that encoded them.
        settings: `abstention`, `index.describe_by`, `retrieval`.

    Returns:
        The user, ready for questions.

    Raises:
        NothingIndexedError: the model has read no photo of the user.
    """
    stored = library.history(user_id, model.id)
    if len(stored.history) == 0:
        raise NothingIndexedError(user_id, library.users())
    describers = _describers(library, user_id, model, settings)

    def describe(photo_ids: Sequence[str]) -> Mapping[str, Augmentation]:
        found: dict[str, Augmentation] = {}
        for describer in describers:  # the preferred one comes last and wins
            found |= library.descriptions(photo_ids, describer.model, describer.prompt_version)
        return found

    best = describers[-1]
    recency = settings.retrieval.half_life_days is not None
    opened = OpenHistory(
        history=stored.history,
        embeddings=stored.embeddings,
        moments=stored.moments,
        age_days=age_days(stored.history.photos) if recency else None,
        word_shares=library.word_shares(user_id, best.model, best.prompt_version),
        describe=describe,
    )
    top_photos = settings.abstention.top_photos
    return User(opened, NullDistribution.of(opened.embeddings, model.unrelated, top_photos))


def _describers(
    library: Library, user_id: str, model: PhotoModel, settings: Settings
) -> list[Describer]:
    """List whose captions and aspect words are used, the preferred one last.

    Choice: with `index.describe_by = "backbone"` those of the backbone that described photos last;
        the model's own, if it describes at all, stand in for photos that it has not reached. Where
        another encoder has described the same photos, even later, a backbone's words go first.
    """
    own = Describer(model.id, model.prompt_version)
    if settings.index.describe_by == "model":
        return [own]
    others = [found for found in library.describers(user_id) if found.model != model.id]
    others.sort(key=lambda found: found.prompt_version == BackboneReader.prompt_version)
    return [own, *others[-1:]]
