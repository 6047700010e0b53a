"""A folder of photos, with everything below it, or a single photo, as a visual history (§3)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from visuallens.errors import SourceError
from visuallens.formats import refuse_by_name
from visuallens.images import display_path, explain_os_error
from visuallens.sources.base import FoundFile
from visuallens.types import Refusal, RefusalReason

_SKIPPED_NAMES = frozenset(("@eadir", "__macosx", "thumbs.db"))


@dataclass(frozen=True, slots=True)
class _OpenFolder:
    """A folder in the middle of being walked.

    Attributes:
        key: (device, inode).
        names: entries still to visit, the next one last.
    """

    path: Path
    key: tuple[int, int]
    names: list[str]


class FolderSource:
    """Photos below a folder, depth first, by name; or one file.

    Choice: links are followed, for libraries are often put together of them. Each folder is
        searched once: a second way to it is refused and named, for it would either never end or
        count the same photos twice. Hidden names and the folders of thumbnails that NAS and
        archive software leave behind are skipped silently, because no person put them there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self) -> Iterator[FoundFile | Refusal]:
        """Find the files below the folder, or the one file.

        Returns:
            A lazy iterator that holds no more than the names of the folders it is in.

        Raises:
            SourceError: there is nothing at the path, or it cannot be listed.
        """
        try:
            facts = self._path.stat()
            if not stat.S_ISDIR(facts.st_mode):
                return iter((_judge(self._path, facts),))
            names = _list_folder(self._path)
        except (OSError, ValueError) as error:
            raise _unusable(self._path, error) from error
        return _walk(_OpenFolder(self._path, (facts.st_dev, facts.st_ino), names))


def _unusable(path: Path, error: OSError | ValueError) -> SourceError:
    shown = display_path(path)
    if not isinstance(error, OSError):
        return SourceError(shown, "this path cannot be used", "Check how it is written.")
    reason, detail = explain_os_error(error)
    if reason is RefusalReason.MISSING:
        problem = "there is no such file or folder"
        return SourceError(shown, problem, "Check the path; is the drive connected?")
    return SourceError(shown, detail, "Check its permissions, or choose another folder.")


def _walk(root: _OpenFolder) -> Iterator[FoundFile | Refusal]:
    """Visit everything below a folder; a stack instead of recursion, so depth has no limit."""
    stack, searched = [root], {root.key}
    while stack:
        folder = stack[-1]
        if not folder.names:
            stack.pop()
            continue
        name = folder.names.pop()
        if name.startswith(".") or name.lower() in _SKIPPED_NAMES:
            continue
        path = folder.path / name
        try:
            facts = path.stat()
            if not stat.S_ISDIR(facts.st_mode):
                yield _judge(path, facts)
                continue
            key = (facts.st_dev, facts.st_ino)
            if key in searched:
                yield _second_way(path, is_loop=any(key == above.key for above in stack))
                continue
            searched.add(key)
            stack.append(_OpenFolder(path, key, _list_folder(path)))
        except OSError as error:
            yield _explain(path, error)


def _list_folder(path: Path) -> list[str]:
    """List the names in a folder, last one first, so that `pop` gives them in order."""
    with os.scandir(path) as entries:
        return sorted((entry.name for entry in entries), reverse=True)


def _judge(path: Path, facts: os.stat_result) -> FoundFile | Refusal:
    if not stat.S_ISREG(facts.st_mode):
        detail = "a device or pipe, not a file"
        return Refusal(display_path(path), RefusalReason.UNREADABLE, detail)
    if refusal := refuse_by_name(path.name):
        return Refusal(display_path(path), *refusal)
    return FoundFile(path, facts.st_size, facts.st_mtime_ns)


def _second_way(path: Path, *, is_loop: bool) -> Refusal:
    detail = (
        "this link leads back to a folder above it"
        if is_loop
        else "another way to a folder that is already searched; its photos count once"
    )
    return Refusal(display_path(path), RefusalReason.SYMLINK_LOOP, detail)


def _explain(path: Path, error: OSError) -> Refusal:
    reason, detail = explain_os_error(error)
    if reason is RefusalReason.MISSING and path.is_symlink():
        detail = "a broken link: what it points to is gone"
    return Refusal(display_path(path), reason, detail)
