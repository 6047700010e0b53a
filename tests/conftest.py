"""What many tests share: the data folder, drawn photos, the embedded model."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visuallens.models.embedded import EmbeddedModel

os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def data() -> Path:
    """The shared real data; tests that use it carry the marker `data`."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("VISUALLENS_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}; set VISUALLENS_DATA to run this test")
    return folder


@pytest.fixture(scope="session")
def model() -> EmbeddedModel:
    """The real embedded model, loaded once."""
    return EmbeddedModel()


@pytest.fixture(autouse=True)
def answers_folder(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Where answers of servers are kept in tests, since `forget` deletes those of the user."""
    folder = tmp_path_factory.mktemp("answers") / "models-test"
    folder.mkdir()
    monkeypatch.setattr("visuallens.models.server.cache.cache_folder", lambda: folder)
    return folder


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """Six different drawn photos."""
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(6):
        pixels = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((320, 240), Image.Resampling.NEAREST)
        picture.save(folder / f"{number}.jpg")
    return folder
