"""What a training request looks like to the backbone (§5.3).

An example becomes the prompt that the ranker `visuallens` would ask, its candidates in a new order
each time, and photos of its profile whose aspect words are to be named. Both are made when they are
first needed, and the last ones are remembered.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from visuallens.config import Settings
from visuallens.errors import TrainingError
from visuallens.images import open_pixels
from visuallens.models.backbone_reader import BackboneReader
from visuallens.models.base import Backbone, PromptImage
from visuallens.profile.builder import draw
from visuallens.profiles import BenchmarkProfiles
from visuallens.prompts import MAX_ASPECT_WORDS
from visuallens.prompts.data import word_list
from visuallens.rankers.fitting import MatchingPrompts, shows_image
from visuallens.training.teacher import Teacher, taught_scores
from visuallens.types import Example, FloatArray, Photo, Profile

logger = logging.getLogger(__name__)

RefinedWords = Mapping[str, Sequence[str]]
"""Path of a photo below the benchmark's folder of photos → its aspect words W."""


@dataclass(frozen=True, slots=True)
class NamedPhoto:
    """A photo of a profile and the answer to the aspect prompt: its words W, joined."""

    photo: Photo
    answer: str


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """One example before its candidates are put into an order.

    Attributes:
        prompts: writes its matching prompt.
        relevant: of each of the prompts' candidates.
        photos: of the profile that have aspect words, most similar first.
        taught: (candidates,) the teacher's scores; None without a teacher.
    """

    prompts: MatchingPrompts
    relevant: tuple[bool, ...]
    photos: tuple[NamedPhoto, ...]
    taught: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class MatchingQuestion:
    """A matching prompt with its answer.

    Attributes:
        image: the grid, or None.
        prompt: as the ranker writes it.
        relevant: of each candidate, in the order of the prompt.
        names: of the candidates, where these are the answers.
        without_profile: the prompt in which names are compared with.
        taught: the teacher's scores, in the order of the prompt; empty without a teacher.
    """

    image: PromptImage | None
    prompt: str
    relevant: tuple[bool, ...]
    names: tuple[str, ...] = ()
    without_profile: str = ""
    taught: tuple[float, ...] = ()


class TrainingRequests:
    """Makes training requests of the train split, and grids of any profile.

    Args:
        profiles: of the benchmark.
        backbone: with the label space that it is trained with.
        settings: `matching`, `images` and `training.joint`.
        refined: the words that photos are to be described with; None: those of the library.
        teacher: the run of another ranker, or None.
    """

    def __init__(
        self,
        profiles: BenchmarkProfiles,
        backbone: Backbone,
        settings: Settings,
        refined: RefinedWords | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        self._profiles, self._backbone, self._settings = profiles, backbone, settings
        self._refined, self._teacher = refined, teacher
        self._reader = BackboneReader(backbone) if backbone.sees else None
        self._made: OrderedDict[int, TrainingRequest] = OrderedDict()
        self._vanished: set[str] = set()
        self._shortened: set[str] = set()

    @property
    def counts(self) -> dict[str, int]:
        """Photos whose files are gone, and requests with too many candidates, so far."""
        return {
            "vanished_photos": len(self._vanished),
            "shortened_requests": len(self._shortened),
        }

    def take(self, numbers: Sequence[int]) -> list[TrainingRequest]:
        """Make the requests of examples.

        Args:
            numbers: of examples of the train split.

        Returns:
            One each, in the order of the numbers.

        Raises:
            TrainingError: none of an example's ground truth is among its candidates.
        """
        missing = sorted(set(numbers).difference(self._made))
        found = self._profiles.benchmark.some("train", missing) if missing else ()
        new = {number: self.make(one.example) for number, one in zip(missing, found, strict=True)}
        self._made.update(new)
        for number in numbers:
            self._made.move_to_end(number)
        taken = [self._made[number] for number in numbers]
        while len(self._made) > self._settings.training.joint.remembered:
            self._made.popitem(last=False)
        return taken

    def make(self, example: Example) -> TrainingRequest:
        """Make the request of an example.

        Args:
            example: of the train split.

        Returns:
            Its request, with the grid drawn where the backbone is shown it.

        Raises:
            TrainingError: none of its ground truth is among its candidates, or the teacher has not
                scored them all.
        """
        request, matching = example.request, self._settings.matching
        profile = self._profiles.profile(request)
        if shows_image(profile, self._backbone, matching):
            profile = self.draw(profile)
        prompts = MatchingPrompts(request, profile, self._backbone, matching)
        relevant = tuple(one.id in example.ground_truth for one in prompts.candidates)
        if not any(relevant):
            raise TrainingError(
                f"{request.id}: none of its ground truth is among its candidates",
                "Build the benchmark again, or audit it: visuallens benchmark audit",
            )
        if len(relevant) > prompts.cut.window:
            self._note_shortened(request.id, len(relevant), prompts.cut.window)
        ids = [one.id for one in prompts.candidates]
        taught = taught_scores(self._teacher, request.id, ids) if self._teacher else None
        return TrainingRequest(prompts, relevant, tuple(self._named(profile)), taught)

    def question(
        self, request: TrainingRequest, generator: np.random.Generator
    ) -> MatchingQuestion:
        """Ask a request with its candidates in a new order.

        Args:
            request: whose candidates may be more than fit its prompt.
            generator: draws the order, and which candidates are left out.

        Returns:
            The question; each place in it is equally likely to hold ground truth.

        Choice: where not all candidates fit, all ground truth is kept (all but one place of it
            where that is more than fits) and the others are drawn, because an example with fewer
            answers than it has would teach that some of them are wrong.
        """
        order = generator.permutation(len(request.relevant))
        window = [int(at) for at in order]
        most = request.prompts.cut.window
        if len(window) > most:
            answers = [at for at in window if request.relevant[at]][: most - 1]
            others = [at for at in window if not request.relevant[at]]
            kept = {*answers, *others[: most - len(answers)]}
            window = [at for at in window if at in kept]
        prompts, taught = request.prompts, request.taught
        return MatchingQuestion(
            prompts.image,
            prompts.write(window),
            tuple(request.relevant[at] for at in window),
            tuple(prompts.names[at] for at in window),
            prompts.without_profile(),
            () if taught is None else tuple(taught[window].tolist()),
        )

    def photo(
        self, request: TrainingRequest, generator: np.random.Generator
    ) -> tuple[PromptImage, str] | None:
        """Draw one photo of a request's profile that is to be described.

        Args:
            request: of an example.
            generator: draws the photo.

        Returns:
            The photo as the backbone sees it when it names aspect words, and the words; None for
            a profile without words, and for a backbone that does not see.

        Source: §5.2, Equation 1.
        Choice: one photo for each example, drawn anew each time; the paper does not say how the
            two tasks are mixed.
        """
        if self._reader is None:
            return None
        for at in generator.permutation(len(request.photos)):
            named = request.photos[int(at)]
            image = self._open(named.photo, self._reader.input_side_px)
            if image is not None:
                seen = Image.fromarray(self._reader.prepare(image))
                return PromptImage(seen), named.answer
        return None

    def draw(self, profile: Profile) -> Profile:
        """Add the grid image to a profile; a photo whose file is gone leaves its cell empty."""
        cell_px = -(-profile.image_side_px // profile.grid_side)
        return draw(profile, lambda photo: self._open(photo, cell_px))

    def _named(self, profile: Profile) -> Iterator[NamedPhoto]:
        """List the photos of a profile that have words.

        Choice: refined words are answers only, never part of a matching prompt: they were chosen
            by somebody who knew the ground truth.
        """
        above = self._profiles.benchmark.photos_folder
        for cell in profile.cells:
            words: Sequence[str] = cell.aspect_words
            if self._refined is not None:
                path = Path(cell.photo.path).relative_to(above).as_posix()
                words = self._refined.get(path, ())
            if answer := word_list(words[:MAX_ASPECT_WORDS]):
                yield NamedPhoto(cell.photo, answer)

    def _open(self, photo: Photo, side_px: int) -> Image.Image | None:
        image = open_pixels(photo.path, side_px, self._settings.images.max_pixels)
        if image is None and photo.path not in self._vanished:
            if not self._vanished:
                logger.warning("Photos cannot be opened any more; their cells stay empty.")
            self._vanished.add(photo.path)
        return image

    def _note_shortened(self, request_id: str, candidates: int, most: int) -> None:
        if not self._shortened:
            logger.warning(
                "%s has %d candidates, %d fit a prompt: its ground truth and a draw of the others "
                "are shown, as in every such example.",
                request_id,
                candidates,
                most,
            )
        self._shortened.add(request_id)
