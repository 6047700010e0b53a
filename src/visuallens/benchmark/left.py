"""Which photos of a benchmark are there, for a hundred million of them: 12 bytes each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class PhotosLeft:
    """Which photos are there, and the categories that each of them shows.

    Args:
        photos: how many will be added at most.

    Choice: ids are held as hashes of 64 bits, a tenth of their text. The hashes of all photos of a
        benchmark are compared, so that two photos are never taken for one.
    """

    def __init__(self, photos: int) -> None:
        self._hashes = np.empty(photos, np.int64)
        self._kinds = np.empty(photos, np.int32)
        self._count = 0
        self._numbers: dict[tuple[str, ...], int] = {}
        self._columns: dict[str, int] = {}
        self._shows = np.zeros((0, 1), np.bool_)

    def add(
        self,
        photo_ids: Sequence[str],
        categories: Sequence[Sequence[str] | None],
        is_there: Sequence[bool],
    ) -> None:
        """Add photos, those that are gone as well.

        Args:
            photo_ids: of each photo.
            categories: that each photo shows.
            is_there: which of them are.
        """
        end = self._count + len(photo_ids)
        self._hashes[self._count : end] = _hashes(photo_ids)
        self._kinds[self._count : end] = [
            self._numbers.setdefault(tuple(shown or ()), len(self._numbers)) if there else -1
            for shown, there in zip(categories, is_there, strict=True)
        ]
        self._count = end

    def close(self) -> bool:
        """Get ready for questions.

        Returns:
            Whether every photo has an id of its own.
        """
        order = np.argsort(self._hashes[: self._count])
        self._hashes = self._hashes[order]
        self._kinds = self._kinds[order]
        names = sorted({one for shown in self._numbers for one in shown})
        self._columns = {name: at for at, name in enumerate(names)}
        self._shows = np.zeros((len(self._numbers), len(names) + 1), np.bool_)
        for shown, kind in self._numbers.items():
            self._shows[kind, [self._columns[one] for one in shown]] = True
        return not bool((self._hashes[1:] == self._hashes[:-1]).any())

    # Any: pyarrow is untyped.
    def kinds(self, photo_ids: Any) -> NDArray[np.int32]:  # noqa: ANN401
        """Look photos up.

        Args:
            photo_ids: (photos,) an Arrow array of text.

        Returns:
            (photos,) a number for the categories that each shows; -1 for those that are gone or
            unknown.
        """
        coded = photo_ids.fill_null("").dictionary_encode()
        hashes = _hashes(coded.dictionary.to_pylist())
        places = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        found = np.where(self._hashes[places] == hashes, self._kinds[places], np.int32(-1))
        kinds: NDArray[np.int32] = found[coded.indices.to_numpy()]
        return kinds

    def shows(
        self, kinds: NDArray[np.int32], categories: Sequence[str], owners: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Say which photos show the category that is asked for.

        Args:
            kinds: (photos,) as `kinds` gives them; what is said of -1 means nothing.
            categories: that are asked for.
            owners: (photos,) the place in `categories` of what each photo is asked for.

        Returns:
            (photos,) a flag each.
        """
        nowhere = len(self._columns)
        asked = np.array([self._columns.get(one, nowhere) for one in categories], np.int64)
        flags: NDArray[np.bool_] = self._shows[kinds, asked[owners]]
        return flags


def _hashes(photo_ids: Sequence[str]) -> NDArray[np.int64]:
    return np.fromiter(map(hash, photo_ids), np.int64, len(photo_ids))
