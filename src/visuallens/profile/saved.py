"""A profile as files: the grid as PNG, the rest as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from visuallens.errors import RequestError
from visuallens.images import display_path
from visuallens.types import Photo, Profile, ProfileCell, Question

IMAGE_FILE = "grid.png"
RECORD_FILE = "profile.json"

_VERSION = 1


def save_profile(profile: Profile, folder: Path) -> tuple[Path, Path]:
    """Write a profile.

    Args:
        profile: with its image.
        folder: made when missing; files of an earlier profile are replaced.

    Returns:
        Paths of the image and of the record. The record holds no position of any photo.

    Raises:
        RequestError: the profile has no image yet, or the folder cannot be written.
    """
    if profile.image is None:
        raise RequestError("The profile has no image yet. Draw it before saving.")
    image, record = folder / IMAGE_FILE, folder / RECORD_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        profile.image.save(image)
        record.write_text(json.dumps(_record(profile), indent=2, ensure_ascii=False), "utf-8")
    except OSError as error:
        raise RequestError(
            f"The profile cannot be written to {folder} ({error.strerror}). "
            "Choose another folder with --out."
        ) from error
    return image, record


def load_profile(folder: Path) -> Profile:
    """Read what `save_profile` wrote.

    Args:
        folder: where it was saved.

    Returns:
        The profile; its embeddings are not saved and come back empty.

    Raises:
        RequestError: there is no readable profile in the folder, or a newer version wrote it.
    """
    try:
        record = json.loads((folder / RECORD_FILE).read_text("utf-8"))
        _check_version(record["version"], folder)
        with Image.open(folder / IMAGE_FILE) as image:
            grid = image.convert("RGB")
        return Profile(
            user_id=record["user_id"],
            question=Question(record["question"], record["category"]),
            cells=tuple(_cell(cell) for cell in record["cells"]),
            aspect_words=tuple(record["aspect_words"]),
            text=record["text"],
            grid_side=record["grid_side"],
            image_side_px=record["image_side_px"],
            embeddings=np.zeros((0, 0), np.float32),
            image=grid,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f"There is no readable profile in {folder}. Make one with: visuallens profile"
        ) from error


def _check_version(version: int, folder: Path) -> None:
    if version > _VERSION:
        raise RequestError(
            f"The profile in {folder} has version {version}, this VisualLens reads up to "
            f"{_VERSION}. Upgrade VisualLens, or make it again with: visuallens profile"
        )


def _record(profile: Profile) -> dict[str, object]:
    return {
        "version": _VERSION,
        "user_id": profile.user_id,
        "question": profile.question.text,
        "category": profile.question.category,
        "grid_side": profile.grid_side,
        "image_side_px": profile.image_side_px,
        "aspect_words": list(profile.aspect_words),
        "text": profile.text,
        "cells": [
            {
                "number": cell.number,
                "photo": cell.photo.id,
                "path": display_path(cell.photo.path),
                "similarity": round(cell.similarity, 6),
                "caption": cell.caption,
                "aspect_words": list(cell.aspect_words),
            }
            for cell in profile.cells
        ],
    }


def _cell(record: dict[str, object]) -> ProfileCell:
    words = record["aspect_words"]
    if not isinstance(words, list):
        raise TypeError("aspect_words is not a list")
    return ProfileCell(
        number=int(str(record["number"])),
        photo=Photo(str(record["photo"]), str(record["path"])),
        similarity=float(str(record["similarity"])),
        caption=str(record["caption"]),
        aspect_words=tuple(str(word) for word in words),
    )
