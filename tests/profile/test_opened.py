from __future__ import annotations

from datetime import UTC, datetime, timedelta

from visuallens.profile.opened import age_days
from visuallens.types import DateSource, Photo, PhotoMetadata


def photo(days_ago: int | None) -> Photo:
    now = datetime(2024, 5, 1, tzinfo=UTC)
    taken = None if days_ago is None else now - timedelta(days=days_ago)
    return Photo("id", "", PhotoMetadata(taken, DateSource.EXIF))


def test_days_are_counted_from_the_newest_photo() -> None:
    assert age_days([photo(10), photo(4), photo(None)]).tolist() == [6.0, 0.0, 6.0]


def test_photos_without_dates_have_no_age() -> None:
    assert age_days([photo(None), photo(None)]).tolist() == [0.0, 0.0]
    assert age_days([]).tolist() == []
