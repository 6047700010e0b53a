"""VisualLens in one class: index photos, ask, look at the profile, forget.

This is what the command line and any service call. Source: §4, the whole inference pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from platformdirs import user_data_path

from visuallens import registry
from visuallens.answer import Answer, StepClock, abstention
from visuallens.augment.base import Estimate, IndexReport, Progress
from visuallens.augment.estimate import estimate as estimate_files
from visuallens.augment.forget import Receipt
from visuallens.augment.forget import forget as forget_photos
from visuallens.augment.pipeline import index as index_files
from visuallens.augment.reading import Team
from visuallens.augment.store import Library, LibraryStatus
from visuallens.config import Settings, load_settings
from visuallens.images import open_pixels
from visuallens.loaded import LoadedModels, open_readers
from visuallens.models.base import Backbone, PhotoModel
from visuallens.models.image_files import ImageFileEncoder
from visuallens.places import read_places
from visuallens.places.filter import around, category_counts, in_categories
from visuallens.profile.builder import build_profile, draw
from visuallens.profile.category import category_embedding, sample_images
from visuallens.profile.evidence import Standing
from visuallens.profile.question import Understood, understand
from visuallens.rankers.base import Ranker, RankerResources
from visuallens.sources import find_files
from visuallens.types import Candidate, FloatArray, GeoPoint, Profile, RankingRequest
from visuallens.users import User, open_user
from visuallens.workers import Workers

if TYPE_CHECKING:
    from visuallens.models.attention import AttentionMatcher

LIBRARY_FILE = "library.sqlite"
DEFAULT_USER = "me"


class VisualLens:
    """A library of photos and the models that read it.

    Args:
        library: folder of the library (or its file); made by `index` when missing. By default the
            folder that the system keeps for application data.
        settings: defaults, environment and `VISUALLENS_*` variables when not given.
    """

    def __init__(
        self, library: Path | str | None = None, *, settings: Settings | None = None
    ) -> None:
        self.settings = settings or load_settings()
        self.path = _library_file(library)
        self._library: Library | None = None
        self._users: dict[str, User] = {}
        self._drawn: Profile | None = None
        self._loaded = LoadedModels(self.settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the library; the next call opens it again."""
        if self._library is not None:
            self._library.close()
        self._library = None
        self._users.clear()
        self._drawn = None

    def index(
        self,
        photos: Path | str | Sequence[Path | str],
        *,
        user: str = DEFAULT_USER,
        progress: Progress | None = None,
        workers: Workers | None = None,
    ) -> IndexReport:
        """Add photos to the library: encode, caption, aspect words (§4.1).

        Args:
            photos: folders, photos or manifests; only what is missing is computed.
            user: whose photos they are, unless a manifest says otherwise.
            progress: told what is going on, or None.
            workers: who opens and reads the photos, several at a time; None: this process.

        Returns:
            What was done, with a reason for every file that is no photo.

        Raises:
            SourceError: a folder or manifest cannot be read at all.
            LibraryError: the library cannot be written.
            WorkerError: a worker was lost; what was read before is kept.
        """
        files = find_files(photos)
        self.close()
        readers = self._loaded.readers()
        team = Team(readers, partial(open_readers, self.settings), workers or Workers())
        with Library.open(self.path, create=True, writable=True) as library:
            return index_files(
                library, files, team, user_id=user, settings=self.settings, progress=progress
            )

    def estimate(
        self, photos: Path | str | Sequence[Path | str], *, user: str = DEFAULT_USER
    ) -> Estimate:
        """Say what `index` would take for these photos, by reading four of them.

        Args:
            photos: as for `index`.
            user: as for `index`.

        Returns:
            Time and cost; the library stays as it is.

        Raises:
            SourceError: a folder or manifest cannot be read at all.
        """
        files = find_files(photos)
        self.close()
        readers = self._loaded.readers()
        with Library.open(self.path) if self.path.exists() else nullcontext() as library:
            return estimate_files(library, files, readers, user_id=user, settings=self.settings)

    def status(self) -> LibraryStatus:
        """Count what the library holds.

        Returns:
            The counts.

        Raises:
            LibraryMissingError: there is no library yet.
        """
        return self._open_library().status()

    def profile(
        self,
        question: str,
        *,
        user: str = DEFAULT_USER,
        category: str | None = None,
        candidates: Path | str | Sequence[Candidate] = (),
    ) -> Profile:
        """Build the user's preference profile for a question, with its grid image (§4.2).

        Args:
            question: free text.
            user: whose photos.
            category: if the text alone should not decide.
            candidates: places whose categories and images tell what the question means; optional.

        Returns:
            The profile with its image.

        Raises:
            NothingIndexedError: the user has no photos.
        """
        places = _read(candidates)
        understood = self._understand(question, places, category)
        answering = in_categories(places, understood.matched, understood.match)
        request = self._request(understood, answering, user, near=None)
        return self.draw(self._profile(request))

    def recommend(  # noqa: PLR0913 - keyword-only, one for each part of a question
        self,
        question: str,
        candidates: Path | str | Sequence[Candidate],
        *,
        user: str = DEFAULT_USER,
        category: str | None = None,
        near: GeoPoint | None = None,
        within_km: float | None = None,
        ranker: str | None = None,
        anyway: bool = False,
    ) -> Answer:
        """Rank places by what the user's photos say (§4.2).

        Args:
            question: free text, such as "recommend me a museum nearby".
            candidates: a places file, or candidates.
            user: whose photos.
            category: if the text alone should not decide.
            near: keep the places nearest to this point.
            within_km: keep only places within this distance of `near`.
            ranker: a registered name; the settings' ranker when None.
            anyway: rank even if the photos say nothing about the question.

        Returns:
            The answer, or an abstention.

        Raises:
            RequestError: nothing is left to rank, or the question is empty.
            NothingIndexedError: the user has no photos.
            PlacesError: the places file cannot be understood.
        """
        clock = StepClock()
        with clock.step("places"):
            places = _read(candidates)
        with clock.step("understand"):
            understood = self._understand(question, places, category)
            chosen = in_categories(places, understood.matched, understood.match)
            chosen = around(chosen, near, within_km, self.settings.ranker.max_candidates)
        with clock.step("library"):
            request = self._request(understood, chosen, user, near)
            standing = self._standing(request)
        with clock.step("profile"):
            profile = self._profile(request)
        if standing.abstains and not anyway:
            message = f"{understood.message} {abstention(understood.question.category)}"
            return Answer(understood, True, message, (), standing, profile, clock.timings_ms)
        with clock.step("rank"):
            ranking = self._ranker(ranker, profile).rank(request)
        return Answer(
            understood,
            False,
            understood.message,
            ranking.candidates,
            standing,
            profile,
            clock.timings_ms,
            ranking.notes,
            ranking.counts,
        )

    def draw(self, profile: Profile) -> Profile:
        """Add the grid image to a profile; photos whose files are gone become grey cells."""
        if self._drawn is not None and replace(self._drawn, image=None) == profile:
            return self._drawn
        cell_px = -(-profile.image_side_px // profile.grid_side)
        max_pixels = self.settings.images.max_pixels
        self._drawn = draw(profile, lambda photo: open_pixels(photo.path, cell_px, max_pixels))
        return self._drawn

    def forget(
        self,
        *,
        photo: str | None = None,
        folder: Path | str | None = None,
        user: str | None = None,
    ) -> Receipt:
        """Delete everything known about a photo, the photos of a folder, or a user.

        Args:
            photo: path or id.
            folder: album folder.
            user: alone, or to narrow the other two.

        Returns:
            What is gone, and the proof that its bytes are no longer in the library file.

        Raises:
            RequestError: nothing in the library matches.
        """
        self.close()
        with Library.open(self.path, writable=True) as library:
            return forget_photos(
                library, photo=photo, folder=Path(folder) if folder else None, user=user
            )

    @property
    def model(self) -> PhotoModel:
        """The model that reads photos and questions."""
        return self._loaded.model

    @property
    def backbone(self) -> Backbone:
        """The backbone that the settings name; loaded when it is first used."""
        return self._loaded.backbone

    @property
    def matcher(self) -> Callable[[], AttentionMatcher] | None:
        """Opens the trained matcher that the settings name; None where they name none."""
        return self._loaded.matcher

    def open_user(self, user: str = DEFAULT_USER) -> None:
        """Load a user's photos into memory, so that the first question is as fast as the next.

        Args:
            user: whose photos.

        Raises:
            NothingIndexedError: the user has no photos.
        """
        self._user(user)

    def _open_library(self) -> Library:
        if self._library is None:
            self._library = Library.open(self.path)
        return self._library

    def _user(self, user: str) -> User:
        if user not in self._users:
            library = self._open_library()
            self._users[user] = open_user(library, user, self.model, self.settings)
        return self._users[user]

    def _understand(
        self, question: str, places: Sequence[Candidate], category: str | None
    ) -> Understood:
        return understand(
            question,
            category_counts(places),
            self.model.sentences.encode_texts,
            category=category,
        )

    def _request(
        self,
        understood: Understood,
        places: tuple[Candidate, ...],
        user: str,
        near: GeoPoint | None,
    ) -> RankingRequest:
        return RankingRequest(
            id="question",
            question=understood.question,
            history=self._user(user).opened.history,
            candidates=places,
            near=near,
            seed=self.settings.seed,
        )

    def _standing(self, request: RankingRequest) -> Standing:
        user = self._user(request.history.user_id)
        category = self.model.encode_categories([request.question.category])[0]
        return user.nulls.standing(
            user.opened.embeddings @ category, self.settings.abstention.false_answer_rate
        )

    def _profile(self, request: RankingRequest) -> Profile:
        return build_profile(
            self._user(request.history.user_id).opened,
            request.question,
            self._category_embedding(request),
            self.settings.retrieval,
            self.settings.profile,
            seed=request.seed,
        )

    def _category_embedding(self, request: RankingRequest) -> FloatArray:
        """v_c from images of the places, or from the category's text where they have none."""
        count = self.settings.retrieval.category_images
        paths = sample_images(request.candidates, count, np.random.default_rng(request.seed))
        images = self._embed_images(paths)
        if not images:
            (from_text,) = self.model.encode_categories([request.question.category])
            return np.asarray(from_text)
        return category_embedding(np.stack(list(images.values())))

    def _ranker(self, name: str | None, profile: Profile) -> Ranker:
        resources = RankerResources(
            profile=lambda request: profile,  # noqa: ARG005 - already built for this request
            texts=self.model,
            sentences=self.model.sentences,
            images=self._embed_images,
            backbone=lambda: self.backbone,
            draw=self.draw,
            matching=self.settings.matching,
            matcher=self.matcher,
        )
        ranker: Ranker = registry.load("rankers", name or self.settings.ranker.name)(resources)
        return ranker

    @cached_property
    def _embed_images(self) -> ImageFileEncoder:
        return ImageFileEncoder(self.model, self.settings.images.max_pixels)


def _library_file(library: Path | str | None) -> Path:
    folder = user_data_path("visuallens") if library is None else Path(library)
    return folder if folder.suffix in {".sqlite", ".db"} else folder / LIBRARY_FILE


def _read(candidates: Path | str | Sequence[Candidate]) -> tuple[Candidate, ...]:
    if isinstance(candidates, (str, Path)):
        return read_places(Path(candidates))
    return tuple(candidates)
