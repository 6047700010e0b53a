"""All settings, in one frozen tree.

Defaults are the paper's values where the paper gives one; each says its source. Order of
precedence: defaults, then the preset, then a TOML file, then environment variables
(`VISUALLENS_RETRIEVAL__MAX_PHOTOS=16`), then the command line (`--set retrieval.max_photos=16`).
A preset only changes defaults, key by key. An unknown key of a file or the command line is an
error, and all problems are shown at once.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as EnvironmentSettingsError

from visuallens.errors import SettingsError
from visuallens.presets import PRESETS

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class ImageSettings(BaseModel):
    """How photos are opened."""

    model_config = _FROZEN

    max_pixels: int = Field(default=200_000_000, ge=1)
    """Larger pictures are refused before decoding. Choice: the largest phone cameras make 200
    million pixels; decoding one takes 600 MB."""


class IndexSettings(BaseModel):
    """Offline augmentation (§4.1)."""

    model_config = _FROZEN

    model: str = "embedded"
    """A registered encoder of photos: "embedded", "clip" or "siglip2"."""
    batch_size: int = Field(default=16, ge=1)
    threads: int = Field(default=2, ge=1)
    """Threads that read and decode photos."""
    burst_seconds: float = Field(default=10.0, ge=0)
    """Photos of one user taken within this time of the one before, and alike, are one moment."""
    burst_similarity: float = Field(default=0.8, ge=-1, le=1)
    """Cosine above which two photos taken within a burst are alike."""
    describe_by: Literal["model", "backbone"] = "model"
    """Who writes captions and aspect words: the model that encodes, or the backbone (§4.1)."""
    place_words: bool = True
    """Captions of photos with a position name the nearest town, looked up offline."""


class RetrievalSettings(BaseModel):
    """History retrieval (§4.2)."""

    model_config = _FROZEN

    max_photos: int = Field(default=64, ge=1)
    """w. Source: §4.2, w = d * d with the 8 x 8 grid."""
    category_images: int = Field(default=32, ge=1)
    """Candidate images averaged into the category embedding, drawn with the request's seed.
    Choice: the paper does not say how many."""
    by_category: bool = True
    """Table 3, Ret.: the photos nearest to the category. Without it, as many are drawn by chance.
    Choice: the paper does not say which photos it took instead; the seed draws them."""
    half_life_days: float | None = Field(default=None, gt=0)
    """Optional recency: a photo this many days older than the newest counts half. Choice: off, the
    paper uses none."""


class ProfileSettings(BaseModel):
    """Preference profiling (§4.2)."""

    model_config = _FROZEN

    grid_side: int = Field(default=8, ge=1, le=32)
    """d. Source: §4.2, d * d = w."""
    image_side_px: int = Field(default=896, ge=64)
    """h. Source: Table 5, PaliGemma at 896 x 896."""


class AbstentionSettings(BaseModel):
    """When the answer is that the photos say nothing about the question."""

    model_config = _FROZEN

    false_answer_rate: float = Field(default=0.05, gt=0, lt=1)
    """How often a question that the photos say nothing about may still be answered."""
    top_photos: int = Field(default=5, ge=1)
    """The evidence for a category is the mean similarity of this many photos."""


class RankerSettings(BaseModel):
    """Candidate matching (§4.2) and the baselines."""

    model_config = _FROZEN

    name: str = "similarity"
    """A registered ranker."""
    max_candidates: int = Field(default=100, ge=2)
    """Source: appendix D, at most 100 candidates. With a position given, the nearest are kept."""


class MatchingSettings(BaseModel):
    """The ranker `visuallens`: candidate matching by a backbone (§4.2, appendix C and D)."""

    model_config = _FROZEN

    aspects: bool = True
    """Table 3, Asp.: aspect words are part of the prompt."""
    captions: bool = True
    """Table 3, Cap.: numbered captions are part of the prompt."""
    image: bool = True
    """Table 3, Img.: the grid is shown, to backbones that see."""
    style: Literal["fenced", "paper"] = "fenced"
    """"paper" writes Figure 7 to the letter; "fenced" also marks what is data, so that text in a
    photo, caption or description is not taken for an instruction. An adapter decides for itself."""
    labels: Literal["auto", "new", "reserved", "letters"] = "auto"
    """Which tokens name the candidates. "auto": those of the adapter, else letters, which a model
    knows without training."""
    shuffles: int = Field(default=1, ge=1, le=32)
    """Scores are averaged over so many orders of the candidates."""
    rounds: int = Field(default=2, ge=1, le=32)
    """With more candidates than labels: how often each is seen in a window before the merge."""
    max_tokens: int | None = Field(default=None, ge=256)
    """Longest prompt; what is longer is cut by rule and reported. None: the backbone's own."""


class ServerSettings(BaseModel):
    """The backbone `server`: anything that speaks the OpenAI API."""

    model_config = _FROZEN

    url: str = "http://localhost:8000/v1"
    dialect: Literal["auto", "vllm", "sglang", "llamacpp", "ollama", "openai"] = "auto"
    api_key_variable: str = "VISUALLENS_API_KEY"
    """Environment variable that holds the key; the key itself is never in a file."""
    concurrency: int = Field(default=8, ge=1)
    requests_per_minute: float | None = Field(default=None, gt=0)
    timeout_s: float = Field(default=120.0, gt=0)
    retries: int = Field(default=5, ge=0)
    price_in: float = Field(default=0.0, ge=0)
    """Of a million tokens read, in any currency; for estimates and accounts."""
    price_out: float = Field(default=0.0, ge=0)
    """Of a million tokens written."""
    cache: bool = True
    """Answers are kept on this machine by request, so that a stopped run goes on for free."""


class BackboneSettings(BaseModel):
    """Which backbone captions, names aspects and matches, and how it runs."""

    model_config = _FROZEN

    name: str = "nano"
    """A registered backbone; `visuallens models` lists them."""
    model: str | None = None
    """Model id or folder, if not the family's first checkpoint; for a server, its model name."""
    revision: str | None = None
    adapter: Path | None = None
    """Folder of a trained adapter."""
    device: str = "auto"
    """"auto": the first GPU, else the CPU."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """"auto": bfloat16 on a GPU, float32 on a CPU, where bfloat16 is often slower."""
    batch_size: int = Field(default=4, ge=1)
    keep_prefix: bool = True
    """Keep what was computed for the profile, so that further candidates cost less."""
    allow_remote_code: bool = False
    """Run code that comes with the weights; needs a pinned revision."""
    server: ServerSettings = ServerSettings()


class EncoderSettings(BaseModel):
    """The encoders "clip" and "siglip2": which weights, and how they run."""

    model_config = _FROZEN

    model: str | None = None
    """Model id or folder, if not the encoder's first checkpoint."""
    revision: str | None = None
    device: str = "auto"
    """"auto": the first GPU, else the CPU."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """"auto": bfloat16 on a GPU, float32 on a CPU."""


class EmbeddedSettings(BaseModel):
    """The embedded preset: weights that come inside Python packages."""

    model_config = _FROZEN

    runtime: Literal["openvino", "torch"] = "openvino"
    """Choice: measured in docs/measurements.md, with the reasons in `models/runtime.py`."""
    precision: Literal["float32", "auto"] = "float32"
    """"auto" lets the runtime use bfloat16 where the processor has it: twice as fast there, but
    embeddings then differ slightly between machines."""
    space: Literal["anchors", "conse", "joined", "projection", "concatenated"] = "anchors"
    """How image and text meet. Choice: the best measured that needs no photos whose licence
    forbids shipping what was trained on them (docs/measurements.md)."""
    projection_file: Path | None = None
    """What `ProjectionSpace.save` wrote; only for the space "projection"."""
    label_confidence: float = Field(default=0.2, gt=0, lt=1)
    """Probability from which a class is said. Choice: measured on the development half of
    `food_aspects` (docs/measurements.md)."""
    group_confidence: float = Field(default=0.3, gt=0, lt=1)
    """Probability of all classes below a hypernym from which the hypernym is said."""


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
        file, preset = TomlConfigSettingsSource(settings_cls), _PresetSource(settings_cls, {})
        return init_settings, env_settings, file, preset

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


def load_settings(file: Path | None = None, overrides: Iterable[str] = ()) -> Settings:
    """Resolve the settings: defaults, preset, file, environment, command line, in that order.

    Args:
        file: a TOML file with the sections of this tree, or None.
        overrides: `section.key=value` texts; values are read as TOML, else as plain text.

    Returns:
        The whole tree, frozen.

    Raises:
        SettingsError: the file cannot be read, or any key or value is wrong; all are listed.
    """
    if file is not None:
        _check_toml(file)

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    try:
        return FromFile(**_nested(overrides))
    except ValidationError as error:
        raise SettingsError([_sentence(problem) for problem in error.errors()]) from error
    except EnvironmentSettingsError as error:
        raise SettingsError([f"environment: {error}"]) from error


def _check_toml(file: Path) -> None:
    try:
        tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError([f"{file}: cannot be read as TOML ({error})"]) from error


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
