from __future__ import annotations

from pathlib import Path

import pytest

from visuallens.config import Settings, load_settings
from visuallens.errors import SettingsError


def test_defaults_equal_the_paper() -> None:
    settings = Settings()
    assert settings.profile.grid_side**2 == settings.retrieval.max_photos == 64  # §4.2, w = d * d
    assert settings.profile.image_side_px == 896  # Table 5
    assert settings.ranker.max_candidates == 100  # appendix D
    assert settings.retrieval.half_life_days is None  # the paper uses no recency


def test_order_is_file_then_environment_then_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("seed = 1\n[retrieval]\nmax_photos = 10\ncategory_images = 7\n")
    monkeypatch.setenv("VISUALLENS_RETRIEVAL__MAX_PHOTOS", "11")
    settings = load_settings(file, ["seed=3"])
    assert settings.retrieval.category_images == 7
    assert settings.retrieval.max_photos == 11
    assert settings.seed == 3


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("colour = 'red'\n[retrieval]\nmax_pictures = 10\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(file, ["index.threads=0"])
    assert len(caught.value.problems) == 3
    message = str(caught.value)
    for name in ("colour", "retrieval.max_pictures", "index.threads"):
        assert name in message


def test_more_photos_than_cells_is_refused() -> None:
    with pytest.raises(SettingsError, match="64 cells"):
        load_settings(overrides=["retrieval.max_photos=65"])


@pytest.mark.parametrize("content", ["retrieval = [", "\x00\x01"])
def test_a_broken_file_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(content)
    with pytest.raises(SettingsError, match=r"settings\.toml"):
        load_settings(file)


def test_a_missing_file_and_a_bad_override_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere"):
        load_settings(tmp_path / "nowhere.toml")
    with pytest.raises(SettingsError, match=r"section\.key=value"):
        load_settings(overrides=["max_photos"])


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(Settings(), "seed", 1)  # noqa: B010 - as code without types would
