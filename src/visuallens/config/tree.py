"""The whole tree of settings, and how it is read from preset, file, environment and command."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    JsonConfigSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as EnvironmentSettingsError

from visuallens.config.benchmark import BenchmarkSettings
from visuallens.config.models import BackboneSettings, EmbeddedSettings, EncoderSettings
from visuallens.config.pipeline import (
    AbstentionSettings,
    ImageSettings,
    IndexSettings,
    MatchingSettings,
    ProfileSettings,
    RankerSettings,
    RetrievalSettings,
)
from visuallens.config.study import StudySettings
from visuallens.config.training import TrainingSettings
from visuallens.errors import SettingsError
from visuallens.presets import PRESETS


class _PresetSource(InitSettingsSource):
    """The values of the preset that was chosen; it yields to all sources before it."""

    def __call__(self) -> dict[str, Any]:
        """Look the chosen preset up; what is none is left to the validation of `preset`."""
        return dict(PRESETS.get(str(self.current_state.get("preset")), {}))


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="VISUALLENS_", env_nested_delimiter="__"
    )

    preset: Literal["embedded", "local", "paper-3b", "paper-8b", "server"] = "embedded"
    """Which defaults: see `PRESETS`."""
    seed: int = Field(default=0, ge=0)
    images: ImageSettings = ImageSettings()
    index: IndexSettings = IndexSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    profile: ProfileSettings = ProfileSettings()
    abstention: AbstentionSettings = AbstentionSettings()
    ranker: RankerSettings = RankerSettings()
    matching: MatchingSettings = MatchingSettings()
    backbone: BackboneSettings = BackboneSettings()
    captioner: BackboneSettings | None = None
    """Captions are written by this backbone and aspect words by `backbone` (§4.1); "none": both by
    `backbone`."""
    encoder: EncoderSettings = EncoderSettings()
    embedded: EmbeddedSettings = EmbeddedSettings()
    benchmark: BenchmarkSettings = BenchmarkSettings()
    training: TrainingSettings = TrainingSettings()
    study: StudySettings = StudySettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: command line, environment, file, preset."""
        del dotenv_settings, file_secret_settings
        toml = TomlConfigSettingsSource(settings_cls)
        json_ = JsonConfigSettingsSource(settings_cls)  # of the two, one has a file at most
        return init_settings, env_settings, toml, json_, _PresetSource(settings_cls, {})

    @field_validator("captioner", mode="before")
    @classmethod
    def _none_in_words(cls, value: object) -> object:
        """Read "none", for neither TOML nor the environment can write it otherwise."""
        return None if value == "none" else value

    @model_validator(mode="after")
    def _photos_fit_the_grid(self) -> Settings:
        cells = self.profile.grid_side**2
        if self.retrieval.max_photos > cells:
            message = (
                f"retrieval.max_photos is {self.retrieval.max_photos}, but a grid of "
                f"{self.profile.grid_side} x {self.profile.grid_side} has {cells} cells"
            )
            raise ValueError(message)
        return self

    # Any: JSON.
    def recorded(self) -> dict[str, Any]:
        """Give the JSON that says how a run is made: all but `study`, which says what is run."""
        return self.model_dump(mode="json", exclude={"study"})


def load_settings(file: Path | None = None, overrides: Iterable[str] = ()) -> Settings:
    """Resolve the settings: defaults, preset, file, environment, command line, in that order.

    Args:
        file: with the sections of this tree, or None: TOML, or JSON where its name ends so, such as
            the settings of a run.
        overrides: `section.key=value` texts; values are read as TOML, else as plain text.

    Returns:
        The whole tree, frozen.

    Raises:
        SettingsError: the file cannot be read, or any key or value is wrong; all are listed.
    """
    is_json = file is not None and file.suffix == ".json"
    if file is not None:
        _check_file(file, "JSON" if is_json else "TOML")

    class FromFile(Settings):
        model_config = SettingsConfigDict(
            toml_file=None if is_json else file,
            json_file=file if is_json else None,
            json_file_encoding="utf-8",
        )

    try:
        found = FromFile(**_nested(overrides))
    except ValidationError as error:
        raise SettingsError([_sentence(problem) for problem in error.errors()]) from error
    except EnvironmentSettingsError as error:
        raise SettingsError([f"environment: {error}"]) from error
    # A class made here is known to no other process, but settings travel to workers.
    fields = {name: getattr(found, name) for name in Settings.model_fields}
    return Settings.model_construct(found.model_fields_set, **fields)


def _check_file(file: Path, form: Literal["TOML", "JSON"]) -> None:
    try:
        text = file.read_text(encoding="utf-8")
        tree = json.loads(text) if form == "JSON" else tomllib.loads(text)
    # Both formats' errors, and that of bytes which are no text, are ValueErrors.
    except (OSError, ValueError) as error:
        raise SettingsError([f"{file}: cannot be read as {form} ({error})"]) from error
    if not isinstance(tree, dict):
        raise SettingsError([f"{file}: its outermost value is not a table of settings"])


# Any: setting values have many types; pydantic checks each against its field.
def _nested(overrides: Iterable[str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    problems = []
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            problems.append(f"{override!r}: write it as section.key=value")
            continue
        *sections, name = key.strip().split(".")
        branch: Any = tree
        for section in sections:
            branch = branch.setdefault(section, {})
            if not isinstance(branch, dict):
                break
        if isinstance(branch, dict):
            branch[name] = _toml_value(text)
        else:
            problems.append(f"{override!r}: another setting gives {section!r} one value")
    if problems:
        raise SettingsError(problems)
    return tree


def _toml_value(text: str) -> Any:  # noqa: ANN401 - see _nested
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _sentence(problem: Any) -> str:  # noqa: ANN401 - pydantic's own loosely typed record
    where = ".".join(str(part) for part in problem["loc"]) or "settings"
    if problem["type"] == "extra_forbidden":
        return f"{where}: there is no such setting"
    return f"{where}: {problem['msg']} (got {problem['input']!r})"
