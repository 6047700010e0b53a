"""Finding the weights of a backbone or encoder here, and refusing what must not be run.

Weights are safetensors from a folder or from the hub's local cache; nothing is downloaded here
(`visuallens models pull` does that). Code that comes with weights runs only when the user allows it
for one pinned revision.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from visuallens.config import BackboneSettings, EncoderSettings
from visuallens.errors import BackboneError, RemoteCodeError, WeightsMissingError
from visuallens.models.backbones.family import Checkpoint, Source

if TYPE_CHECKING:
    import torch

_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGESTED_BYTES = 4_000_000  # names and shapes of all tensors, and the first of them
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
    checkpoint = next((c for c in family.checkpoints if c.model == name), family.checkpoints[0])
    remote = checkpoint.remote_code
    if remote:
        _check_remote_code(name, settings)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = _cached(family, name, settings)
    if Path(name).expanduser().is_dir():
        name = folder.name  # a folder may move, so its place is no part of what it is
    return Source(folder, f"{name}@{_revision(folder)}", checkpoint, remote)


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


def _check_remote_code(name: str, settings: WeightSettings) -> None:
    if not (isinstance(settings, BackboneSettings) and settings.allow_remote_code):
        raise RemoteCodeError(name, "remote code is not allowed")
    if not _COMMIT.fullmatch(settings.revision or "") and not Path(name).is_dir():
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


def _revision(folder: Path) -> str:
    """Name what is in a folder: the hub's commit, else a digest of the weights' beginnings."""
    if _COMMIT.fullmatch(folder.name):
        return folder.name[:12]
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(f"{file.name} {file.stat().st_size}".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(_DIGESTED_BYTES))
    return f"local-{digest.hexdigest()[:12]}"


def load_tokenizer(folder: Path) -> Any:  # noqa: ANN401 - Hugging Face tokenizers
    """Load the tokenizer of a model that sees, with the chat template of its processor.

    Args:
        folder: of the weights.

    Returns:
        The tokenizer. Older folders keep the processor's template in a file of its own
        (`chat_template.json`), which tokenizers do not read; it wins over a text-only one.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
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
