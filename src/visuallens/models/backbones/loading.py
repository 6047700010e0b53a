"""Finding the weights of a backbone or encoder here, and refusing what must not be run.

Weights are safetensors from a folder or from the hub's local cache; nothing is downloaded here
(`visuallens models pull` does that). Code that comes with weights runs only when the user allows it
for one pinned revision.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from visuallens.config import BackboneSettings, EncoderSettings
from visuallens.errors import BackboneError, RemoteCodeError, WeightsMissingError
from visuallens.models.backbones.digests import folder_digest
from visuallens.models.backbones.family import Checkpoint, Source

if TYPE_CHECKING:
    import torch

_COMMIT = re.compile(r"[0-9a-f]{40}")
_CACHED_MODEL = "models--"  # begins the folder of a model in the hub's cache
_NAMED_WEIGHTS = 3  # of those missing; enough to see which layer it is
_BACKBONES = {
    "idefics3": "idefics3",
    "llava_next": "llava-next",
    "minicpmv": "minicpm-v-2.5",
    "minicpmv4_6": "minicpm-v",
    "minicpmv4_7": "minicpm-v",
    "paligemma": "paligemma",
    "qwen2_5_vl": "qwen2.5-vl",
    "qwen3_vl": "qwen3-vl",
    "smolvlm": "smolvlm",
    "visuallens-nano": "nano",
}
"""Which backbone reads a folder, by the `model_type` in its `config.json`."""
WANTED_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
"""What is fetched of a model: configuration, tokenizer, safetensors. No pickles."""

WeightSettings = BackboneSettings | EncoderSettings


class Published(Protocol):
    """What has published weights: a family of backbones, or an encoder."""

    @property
    def name(self) -> str:
        """Name as registered."""
        ...

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Known weights, the default first."""
        ...


def find_source(family: Published, settings: WeightSettings) -> Source:
    """Find the folder that holds the weights.

    Args:
        family: decides the model where the settings name none.
        settings: `model`, `revision`, `allow_remote_code`.

    Returns:
        The folder and what it is.

    Raises:
        WeightsMissingError: they are not on this machine.
        RemoteCodeError: the model brings code that is not allowed or not pinned.
    """
    name = settings.model or family.checkpoints[0].model
    here = Path(name).expanduser()
    if here.is_dir():
        name, revision = _identity(here)
    checkpoint = next((c for c in family.checkpoints if c.model == name), family.checkpoints[0])
    remote = checkpoint.remote_code
    if remote:
        _check_remote_code(name, settings, is_folder=here.is_dir())
    if here.is_dir():
        return Source(here, f"{name}@{revision}", checkpoint, remote)
    folder = _cached(family, name, settings)
    return Source(folder, f"{name}@{_identity(folder)[1]}", checkpoint, remote)


def pull(family: Published, settings: WeightSettings) -> Path:
    """Fetch a model from the hub into its local cache.

    Args:
        family: decides the model where the settings name none.
        settings: `model`, `revision`.

    Returns:
        The folder.

    Raises:
        WeightsMissingError: the hub cannot be reached, has no such model for you, or has its
            weights in another format only.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError

    name = settings.model or family.checkpoints[0].model
    checkpoint = next((c for c in family.checkpoints if c.model == name), family.checkpoints[0])
    wanted = [*WANTED_FILES, "*.py"] if checkpoint.remote_code else list(WANTED_FILES)
    cause: Exception
    try:
        folder = Path(snapshot_download(name, revision=settings.revision, allow_patterns=wanted))
    except OfflineModeIsEnabled as error:
        problem, advice, cause = "the hub is switched off", "Unset HF_HUB_OFFLINE.", error
    except GatedRepoError as error:
        problem = "the hub gives it to those who accepted its licence"
        advice, cause = f"Accept it on the page of {name}, then: hf auth login", error
    except RepositoryNotFoundError as error:
        problem, advice, cause = "the hub has no such model", "Check --model.", error
    # The hub's client answers lost connections, full disks and wrong revisions with many classes.
    except (OSError, ValueError, RuntimeError) as error:
        problem, advice, cause = str(error).splitlines()[0], "Check the connection.", error
    else:
        return _with_safetensors(folder, name)
    raise WeightsMissingError(name, problem, advice) from cause


def is_here(family: Published, model: str) -> bool:
    """Tell whether the weights of a model are in the hub's local cache."""
    try:
        _cached(family, model, BackboneSettings())
    except WeightsMissingError:
        return False
    return True


def _with_safetensors(folder: Path, name: str) -> Path:
    if not any(folder.glob("*.safetensors")):
        advice = (
            "Converted ones are often offered in a pull request on the model's page: fetch that "
            "with --revision refs/pr/NUMBER, and set the same revision in the settings."
        )
        raise WeightsMissingError(name, "the hub has them, but not as safetensors", advice)
    return folder


def _check_remote_code(name: str, settings: WeightSettings, *, is_folder: bool) -> None:
    if not (isinstance(settings, BackboneSettings) and settings.allow_remote_code):
        raise RemoteCodeError(name, "remote code is not allowed")
    if not _COMMIT.fullmatch(settings.revision or "") and not is_folder:
        raise RemoteCodeError(name, f"the revision {settings.revision!r} is not a pinned commit")


def _cached(family: Published, name: str, settings: WeightSettings) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=settings.revision, local_files_only=True))
    except HFValidationError as error:
        advice = "Give a model id such as OWNER/NAME, or a folder that exists."
        raise WeightsMissingError(name, "no such folder, and no model id", advice) from error
    except (LocalEntryNotFoundError, OSError) as error:
        pull = f"visuallens models pull {family.name}"
        if name != family.checkpoints[0].model:
            pull += f" --model {name}"
        if settings.revision is not None:
            pull += f" --revision {settings.revision}"
        folder = "backbone.model=FOLDER (captioner.model for a captioner)"
        if isinstance(settings, EncoderSettings):
            folder = "encoder.model=FOLDER"
        advice = f"On a machine with a network: {pull}. Or give a folder: --set {folder}"
        raise WeightsMissingError(name, "looked in the hub's cache", advice) from error


def _identity(folder: Path) -> tuple[str, str]:
    """Name the model in a folder and its revision.

    Both are the hub's for a folder in its cache. Any other may move, so its place is no part of
    what it is: it is called by its own name and by a digest of its weights.
    """
    folder = folder.resolve()
    model = folder.parent.parent.name
    cached = folder.parent.name == "snapshots" and model.startswith(_CACHED_MODEL)
    if cached and _COMMIT.fullmatch(folder.name):
        return model.removeprefix(_CACHED_MODEL).replace("--", "/"), folder.name[:12]
    return folder.name, f"local-{folder_digest(folder)}"


def read_model_type(source: Source, known: Sequence[str]) -> str:
    """Read which architecture a folder holds, and refuse others than those known.

    Args:
        source: where the weights are.
        known: values of `model_type` in `config.json` that the family can read.

    Returns:
        The one found.

    Raises:
        OSError: there is no `config.json`.
        BackboneError: it is another, which another backbone may read.
    """
    config = json.loads((source.folder / "config.json").read_text(encoding="utf-8"))
    found: str = config.get("model_type", "")
    if found in known:
        return found
    advice = "Where it is a language model without eyes, choose the backbone 'causal'."
    if found in _BACKBONES:
        advice = f"Choose the backbone {_BACKBONES[found]!r}."
    raise BackboneError(
        source.id,
        f"its folder holds a model of type {found!r}, none of {', '.join(known)}. {advice}",
    )


# Any: classes of transformers, which ships no types, and what they are given.
def load_weights(
    model_class: Any,  # noqa: ANN401
    source: Source,
    dtype: torch.dtype,
    *,
    model_types: Sequence[str] = (),
    **arguments: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """Load a model whose every weight is in its folder, running no code from there.

    Args:
        model_class: of transformers, or with its `from_pretrained`.
        source: where the weights are.
        dtype: of the weights.
        model_types: see `read_model_type`; none are checked where none are given.
        **arguments: further ones of `from_pretrained`.

    Returns:
        The model.

    Raises:
        OSError: a file is missing.
        BackboneError: the folder holds another architecture.
        WeightsMissingError: weights are missing or have another shape than the model's.

    Choice: weights that the model does not have are let pass; published files often bring some.
    """
    if model_types:
        read_model_type(source, model_types)
    model, report = model_class.from_pretrained(
        source.folder,
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # else they are refused without a name
        **arguments,
    )
    refuse_missing(
        source, {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}
    )
    return model


def refuse_missing(source: Source, names: set[str]) -> None:
    """Refuse a model that would run with random numbers in place of weights.

    Args:
        source: where the weights are.
        names: of the weights that are missing or have a wrong shape; there may be none.

    Raises:
        WeightsMissingError: there are some.
    """
    if not names:
        return
    first = ", ".join(sorted(names)[:_NAMED_WEIGHTS])
    problem = f"{source.folder} is incomplete: {len(names)} weights are missing, first {first}"
    advice = "Fetch or merge the model again, or choose the backbone that its files belong to."
    raise WeightsMissingError(source.id, problem, advice)


def load_tokenizer(folder: Path) -> Any:  # noqa: ANN401 - Hugging Face tokenizers
    """Load the tokenizer of a model that sees, with the chat template of its processor.

    Args:
        folder: of the weights.

    Returns:
        The tokenizer. Older folders keep the processor's template in a file of its own
        (`chat_template.json`), which tokenizers do not read; it wins over a text-only one.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    file = folder / "chat_template.json"
    if file.is_file():
        tokenizer.chat_template = json.loads(file.read_text(encoding="utf-8"))["chat_template"]
    return tokenizer


def pick_device(name: str, wanted: str) -> torch.device:
    """Choose where a model runs.

    Args:
        name: of the backbone or encoder, for errors.
        wanted: "auto" or a PyTorch device.

    Returns:
        The device.

    Raises:
        BackboneError: there is no such device here.
    """
    import torch

    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device)
    # PyTorch answers a wrong or missing device with several classes, an assertion among them.
    except (RuntimeError, AssertionError, ValueError) as error:
        raise BackboneError(
            name,
            f"there is no device {wanted!r} here. Set its `device` to another, such as cpu.",
        ) from error
    return device


def pick_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """Choose the number format of the weights.

    Args:
        wanted: "auto", "float32", "bfloat16" or "float16".
        device: of the model.

    Returns:
        The format. Choice: float32 on a CPU, where bfloat16 is often emulated and slower.
    """
    import torch

    if wanted == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[wanted]
