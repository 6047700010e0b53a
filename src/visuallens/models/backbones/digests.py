"""Short names for the content of weight files, found by reading a sample of them.

A folder of weights has no commit, but stored scores and adapters must still tell which model they
belong to. Reading 20 GB to name it would take longer than loading the model does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

_WINDOWS = 64
_WINDOW_BYTES = 64 * 1024
_LENGTH_BYTES = 8  # a safetensors file begins with the length of its header
_MOST_HEADER_BYTES = 100_000_000  # what readers of safetensors accept
_RECORD_FILE = "visuallens.json"


def folder_digest(folder: Path) -> str:
    """Name the weights in a folder by their content.

    Args:
        folder: of safetensors files, with the record of a merged model where it is one.

    Returns:
        Twelve hexadecimal digits; the same wherever the folder is.

    Choice: each file counts with its name, its size, its header (names, types and shapes of all
        tensors), 64 KiB at 64 places that are evenly spread over the rest, and its end. Files up to
        4 MiB are read whole. Training changes every layer it touches almost everywhere, so two
        models of the same shape differ in what is read.
    """
    digest = hashlib.sha256()
    record = folder / _RECORD_FILE
    for file in [*sorted(folder.glob("*.safetensors")), *([record] if record.is_file() else [])]:
        for piece in _sample(file):
            digest.update(piece)
    return digest.hexdigest()[:12]


def file_digest(file: Path, *more: str) -> str:
    """Name one weight file by its content; see `folder_digest`.

    Args:
        file: of any format.
        *more: what else makes a difference.

    Returns:
        Twelve hexadecimal digits.
    """
    digest = hashlib.sha256("\n".join(more).encode())
    for piece in _sample(file):
        digest.update(piece)
    return digest.hexdigest()[:12]


def _sample(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    yield f"\n{file.name} {size}\n".encode()
    with file.open("rb") as opened:
        if file.suffix == ".safetensors":
            length = opened.read(_LENGTH_BYTES)
            yield length
            yield opened.read(min(int.from_bytes(length, "little"), _MOST_HEADER_BYTES))
        start = opened.tell()
        for window in range(_WINDOWS):
            opened.seek(start + (size - start) * window // _WINDOWS)
            yield opened.read(_WINDOW_BYTES)
        opened.seek(max(start, size - _WINDOW_BYTES))
        yield opened.read(_WINDOW_BYTES)
