from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from visuallens import registry
from visuallens.config import BackboneSettings, Settings, load_settings
from visuallens.errors import SettingsError
from visuallens.presets import PRESETS


def test_defaults_equal_the_paper() -> None:
    settings = Settings()
    assert settings.profile.grid_side**2 == settings.retrieval.max_photos == 64  # §4.2, w = d * d
    assert settings.profile.image_side_px == 896  # Table 5
    assert settings.ranker.max_candidates == 100  # appendix D
    assert settings.retrieval.half_life_days is None  # the paper uses no recency


@pytest.mark.parametrize(
    ("preset", "backbone", "image_side_px"),
    [("paper-3b", "paligemma", 896), ("paper-8b", "minicpm-v-2.5", 980)],
)
def test_presets_of_the_paper_equal_the_paper(
    preset: str, backbone: str, image_side_px: int
) -> None:
    settings = load_settings(None, [f"preset={preset}"])
    assert settings.index.model == "clip"  # §4.1, image encoding
    assert settings.captioner == BackboneSettings(name="llava-next")  # §4.1, caption generation
    assert settings.index.describe_by == "backbone"  # §4.1, aspect word generation
    assert settings.backbone == BackboneSettings(name=backbone)  # §5; remote code is not allowed
    assert settings.ranker.name == "visuallens"  # §4.2, candidate matching
    assert settings.retrieval.max_photos == 64  # §4.2, w
    assert settings.profile.grid_side == 8  # §4.2, d
    assert settings.profile.image_side_px == image_side_px  # Table 5, Table 6
    assert settings.ranker.max_candidates == 100  # appendix D
    assert settings.matching.style == "paper"  # Figure 7


@pytest.mark.parametrize(
    ("preset", "parameters", "image_side_px", "lora"),
    [
        ("paper-3b", 3e9, 896, (16, 16, 0.1)),  # Table 5
        ("paper-8b", 8e9, 980, (64, 64, 0.1)),  # Table 6
    ],
)
def test_training_of_the_paper_equals_its_tables(
    preset: str, parameters: float, image_side_px: int, lora: tuple[int, int, float]
) -> None:
    settings = load_settings(None, [f"preset={preset}"])
    published = registry.load("backbones", settings.backbone.name).family.checkpoints[0]
    assert round(published.parameters, -9) in (parameters, parameters + 1e9)  # Parameter Size
    assert settings.profile.image_side_px == image_side_px  # Image Resolution
    adapter = settings.training.lora
    assert (adapter.rank, adapter.alpha, adapter.dropout) == lora  # LoRA Rank, alpha, dropout
    loop = settings.training.loop
    assert loop.batch_size == 8  # Batch Size
    assert loop.accumulation == 8  # Gradient Accumulation Steps
    assert loop.warmup_steps == 200  # Warmup Steps
    assert loop.learning_rate == 1e-3  # Learning Rate
    assert settings.training.joint.match_weight == 2  # §6.3, lambda
    assert settings.training.joint.labels == "new"  # appendix D


def test_checkpoints_of_the_paper_are_the_first_of_their_names() -> None:
    expected = {
        ("models", "clip"): "openai/clip-vit-large-patch14-336",  # §4.1
        ("backbones", "llava-next"): "llava-hf/llama3-llava-next-8b-hf",  # §4.1, LLaVA-v1.6 8B
        ("backbones", "paligemma"): "google/paligemma-3b-pt-896",  # Table 5
        ("backbones", "minicpm-v-2.5"): "openbmb/MiniCPM-Llama3-V-2_5",  # Table 6
    }
    for (kind, name), model in expected.items():
        assert registry.load(kind, name).family.checkpoints[0].model == model


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_names_what_is_registered(preset: str) -> None:
    settings = load_settings(None, [f"preset={preset}"])
    assert settings.preset == preset
    assert settings.index.model in registry.names("models")
    assert settings.ranker.name in registry.names("rankers")
    for chosen in (settings.backbone, settings.captioner or settings.backbone):
        assert chosen.name in registry.names("backbones")


def test_the_embedded_preset_is_the_defaults() -> None:
    assert load_settings(None, ["preset=embedded"]).model_dump() == Settings().model_dump()


def test_a_preset_yields_to_whatever_names_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[backbone]\nname = "smolvlm"\n[profile]\nimage_side_px = 512\n')
    monkeypatch.setenv("VISUALLENS_CAPTIONER__DEVICE", "cpu")
    monkeypatch.setenv("VISUALLENS_PROFILE__IMAGE_SIDE_PX", "640")
    settings = load_settings(file, ["preset=paper-8b", "index.describe_by=model"])
    assert settings.backbone.name == "smolvlm"  # the file
    assert settings.profile.image_side_px == 640  # the environment before the file
    assert settings.captioner == BackboneSettings(name="llava-next", device="cpu")  # key by key
    assert settings.index.describe_by == "model"  # the command line
    assert settings.index.model == "clip"  # what nobody names is the preset's
    assert settings.retrieval.category_images == 32  # and what it does not name the default


def test_a_preset_comes_from_the_file_the_environment_or_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('preset = "local"\n')
    settings = load_settings(file)
    assert (settings.index.model, settings.backbone.name) == ("siglip2", "qwen3-vl")
    monkeypatch.setenv("VISUALLENS_PRESET", "server")
    settings = load_settings(file)
    assert (settings.index.model, settings.backbone.name) == ("embedded", "server")
    assert load_settings(file, ["preset=embedded"]).backbone.name == "nano"
    assert Settings(preset="paper-3b").backbone.name == "paligemma"


def test_a_captioner_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(None, ["preset=paper-3b", "captioner=none"]).captioner is None
    monkeypatch.setenv("VISUALLENS_CAPTIONER", "none")
    assert load_settings(None, ["preset=paper-3b"]).captioner is None


@pytest.mark.parametrize("value", ["magic", "3", "[]"])
def test_a_wrong_preset_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match="preset"):
        load_settings(None, [f"preset={value}"])


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


def test_settings_are_read_from_json_as_well(tmp_path: Path) -> None:
    expected = load_settings(None, ["preset=paper-3b", "backbone.model='ä/b'", "captioner=none"])
    file = tmp_path / "settings.json"
    file.write_text(expected.model_dump_json(), encoding="utf-8")
    assert load_settings(file).model_dump() == expected.model_dump()
    assert load_settings(file, ["seed=9"]).seed == 9  # the command line goes before it
    file.write_text('{"seed": 1, "colour": "red"}')
    with pytest.raises(SettingsError, match="colour"):
        load_settings(file)


@pytest.mark.parametrize("content", ["", "{", "[]", "seed = 1", "null"])
def test_broken_json_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "settings.json"
    file.write_text(content)
    with pytest.raises(SettingsError, match=r"settings\.json"):
        load_settings(file)


def test_a_missing_file_and_a_bad_override_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere"):
        load_settings(tmp_path / "nowhere.toml")
    with pytest.raises(SettingsError, match=r"section\.key=value"):
        load_settings(overrides=["max_photos"])


def test_settings_travel_to_other_processes(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[retrieval]\nmax_photos = 9\n")
    settings = load_settings(file, ["preset=local", "profile.grid_side=3"])
    assert type(settings) is Settings
    again = pickle.loads(pickle.dumps(settings))  # noqa: S301 - made in the line itself
    assert again == settings
    assert (again.retrieval.max_photos, again.profile.grid_side) == (9, 3)
    assert again.index.model == "siglip2"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(Settings(), "seed", 1)  # noqa: B010 - as code without types would


def test_a_section_is_not_a_value() -> None:
    with pytest.raises(SettingsError, match="another setting gives 'backbone' one value"):
        load_settings(None, ["backbone=nano", "backbone.model=x"])


def test_an_environment_variable_that_is_no_section_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VISUALLENS_BACKBONE", "nano")
    with pytest.raises(SettingsError, match="environment"):
        load_settings()
