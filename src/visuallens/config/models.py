"""Settings of everything with weights: backbones, servers, encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from visuallens.config.frozen import FROZEN


class ServerSettings(BaseModel):
    """The backbone `server`: anything that speaks the OpenAI API."""

    model_config = FROZEN

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

    model_config = FROZEN

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

    model_config = FROZEN

    model: str | None = None
    """Model id or folder, if not the encoder's first checkpoint."""
    revision: str | None = None
    device: str = "auto"
    """"auto": the first GPU, else the CPU."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """"auto": bfloat16 on a GPU, float32 on a CPU."""


class EmbeddedSettings(BaseModel):
    """The embedded preset: weights that come inside Python packages."""

    model_config = FROZEN

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
