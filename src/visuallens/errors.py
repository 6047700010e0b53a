"""Every error a user can cause, in one tree.

    VisualLensError
    ├── SettingsError            a setting is unknown or out of range (all problems at once)
    ├── UnknownNameError         a registry has no entry of that name
    ├── MissingPackageError      an optional package or its weights are not installed
    ├── PhotoError               one photo cannot be read; carries a Refusal, never stops a run
    ├── SourceError              a photo folder or manifest cannot be read at all
    ├── PlacesError              a places file cannot be read; names the file, row and column
    ├── LibraryError             the library file
    │   ├── LibraryMissingError      there is no library yet at that path
    │   ├── LibraryVersionError      written by a newer VisualLens, or not a library at all
    │   ├── LibraryReadOnlyError     it can be read but not written
    │   ├── LibraryFullError         the disk is full; what was committed is safe
    │   └── LibraryBusyError         another run is writing to it
    ├── BackboneError            the model that captions, names aspects or matches
    │   ├── WeightsMissingError      its weights are not on this machine
    │   ├── AdapterError             an adapter does not fit its base model or label space
    │   ├── RemoteCodeError          the model brings code of its own, which nobody has allowed
    │   ├── ThinkingModelError       it thinks before it answers, and that cannot be switched off
    │   ├── PromptTooLongError       a prompt does not fit, even after cutting
    │   └── ServerError              a model server
    │       ├── ServerUnreachableError   nobody answers at that address
    │       ├── ServerBusyError          it keeps answering "too many requests" or fails
    │       ├── ServerRefusedError       it refuses the request: key, model name or size
    │       └── ServerAnswerError        its answer is incomplete or not what was asked for
    ├── BenchmarkError           a benchmark and the raw dump it is built from
    │   ├── RawDataError             the dump lacks a file, is broken beyond the limit, or too small
    │   └── BenchmarkFolderError     a folder is not a finished benchmark of this version
    ├── TrainingError            a training run
    │   └── CheckpointError          a checkpoint cannot be written, read, or is of another model
    ├── EvaluationError          an evaluation, or what it is given
    │   └── RunFileError             a run file is broken, or of another benchmark; names the line
    ├── WorkerError              a worker of a long job was killed, or cannot work where it is
    ├── RequestError             a question, category or candidate list cannot be answered
    └── NothingIndexedError      the user has no photos in this library

Errors keep their facts as attributes and end with what to do next. Only the command line turns
them into exit codes and only a service turns them into HTTP statuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visuallens.types import Refusal


class VisualLensError(Exception):
    """Base of every error that a user of VisualLens can cause."""

    def __reduce__(self) -> tuple[object, ...]:
        """Travel between processes with message and facts; `__init__` takes other arguments."""
        return _again, (type(self), self.args, self.__dict__)


def _again(
    kind: type[VisualLensError], args: tuple[object, ...], facts: dict[str, object]
) -> VisualLensError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class SettingsError(VisualLensError):
    """One or more settings are unknown or out of range."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        listed = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"These settings cannot be used:\n{listed}\nCorrect them and run again.")


class UnknownNameError(VisualLensError):
    """A registry has no entry of that name."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.known = tuple(sorted(known))
        super().__init__(f"There is no {kind} named {name!r}. Known: {', '.join(self.known)}.")


class MissingPackageError(VisualLensError):
    """A package that this step needs is not installed."""

    def __init__(self, package: str, purpose: str, command: str) -> None:
        self.package = package
        self.purpose = purpose
        self.command = command
        super().__init__(f"{purpose} needs the package {package!r}. Install it with: {command}")


class PhotoError(VisualLensError):
    """One photo cannot be read; the run goes on without it."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(f"{refusal.path}: {refusal.reason.value} ({refusal.detail})")


class SourceError(VisualLensError):
    """A photo source cannot be read at all."""

    def __init__(self, path: Path | str, problem: str, advice: str) -> None:
        self.path = str(path)
        self.problem = problem
        super().__init__(f"{self.path}: {problem}. {advice}")


class PlacesError(VisualLensError):
    """A places file cannot be understood; names the row (from 1) and column where it is in one."""

    def __init__(
        self,
        path: Path | str,
        problem: str,
        advice: str,
        *,
        row: int | None = None,
        column: str | None = None,
    ) -> None:
        self.path = str(path)
        self.problem = problem
        self.row = row
        self.column = column
        where = "".join(
            (
                f", row {row}" if row is not None else "",
                f", column {column!r}" if column is not None else "",
            )
        )
        super().__init__(f"{self.path}{where}: {problem}. {advice}")


class LibraryError(VisualLensError):
    """Something is wrong with the library file."""

    def __init__(self, path: Path | str, message: str) -> None:
        self.path = str(path)
        super().__init__(f"{self.path}: {message}")


class LibraryMissingError(LibraryError):
    """There is no library at the given path."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(
            path, "there is no library here yet. Make one with: visuallens index PHOTOS"
        )


class LibraryVersionError(LibraryError):
    """The file is not a library that this version can open."""

    def __init__(self, path: Path | str, found: str, supported: int) -> None:
        self.found = found
        self.supported = supported
        super().__init__(
            path,
            f"its schema version is {found}, this VisualLens reads up to {supported}. "
            "Upgrade VisualLens, or choose another file with --library.",
        )


class LibraryReadOnlyError(LibraryError):
    """The library cannot be written."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(
            path,
            "the library cannot be written. Give yourself write permission on the file and its "
            "folder, or choose another file with --library.",
        )


class LibraryFullError(LibraryError):
    """The disk is full; everything committed before stays."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(
            path,
            "the disk is full. What was indexed so far is safe; free some space and run the same "
            "command again, it goes on where it stopped.",
        )


class LibraryBusyError(LibraryError):
    """Another run is writing to the library."""

    def __init__(self, path: Path | str, waited_s: float) -> None:
        self.waited_s = waited_s
        super().__init__(
            path,
            f"another run is still writing to this library (waited {waited_s:.0f} s). "
            "Let it finish and run the same command again.",
        )


class BackboneError(VisualLensError):
    """Something is wrong with a backbone, named by its name or model id; base of those below."""

    def __init__(self, backbone: str, message: str) -> None:
        self.backbone = backbone
        super().__init__(f"{backbone}: {message}")


class WeightsMissingError(BackboneError):
    """The weights of a model are not on this machine."""

    def __init__(self, backbone: str, looked_for: str, advice: str) -> None:
        self.looked_for = looked_for
        super().__init__(backbone, f"its weights are not on this machine ({looked_for}). {advice}")


class AdapterError(BackboneError):
    """An adapter does not fit the base model, tokenizer or label space it is loaded into."""

    def __init__(self, backbone: str, folder: Path | str, problem: str, advice: str) -> None:
        self.folder = str(folder)
        self.problem = problem
        super().__init__(
            backbone, f"the adapter in {self.folder} cannot be used: {problem}. {advice}"
        )


class RemoteCodeError(BackboneError):
    """The model needs code that comes with its weights, which must be allowed and pinned."""

    def __init__(self, backbone: str, problem: str) -> None:
        self.problem = problem
        super().__init__(
            backbone,
            f"{problem}. This model runs code that comes with its weights. Read that code at one "
            "revision, then allow exactly it: --set backbone.allow_remote_code=true "
            "--set backbone.revision=COMMIT (40 hexadecimal digits).",
        )


class ThinkingModelError(BackboneError):
    """The model thinks before it answers, so its first token is no label."""

    def __init__(self, backbone: str, how_seen: str) -> None:
        self.how_seen = how_seen
        super().__init__(
            backbone,
            f"it thinks before it answers ({how_seen}), so its first token says nothing about the "
            "candidates and captions would be thoughts. Choose its instruct edition.",
        )


class PromptTooLongError(BackboneError):
    """A prompt does not fit the backbone."""

    def __init__(self, backbone: str, tokens: int, max_tokens: int, advice: str) -> None:
        self.tokens = tokens
        self.max_tokens = max_tokens
        super().__init__(
            backbone, f"the prompt has {tokens:,} tokens, at most {max_tokens:,} fit. {advice}"
        )


class ServerError(BackboneError):
    """A model server cannot be used; base of the errors below."""

    def __init__(self, backbone: str, url: str, message: str) -> None:
        self.url = url
        super().__init__(backbone, f"{url}: {message}")


class ServerUnreachableError(ServerError):
    """Nobody answers at the server's address, or not in time."""


class ServerBusyError(ServerError):
    """The server keeps refusing for load or failing, after all retries."""


class ServerRefusedError(ServerError):
    """The server refuses the request: its key, its model name or its size."""

    def __init__(self, backbone: str, url: str, message: str, *, status: int) -> None:
        self.status = status
        super().__init__(backbone, url, message)


class ServerAnswerError(ServerError):
    """The server's answer is incomplete, or does not hold what was asked for."""


class BenchmarkError(VisualLensError):
    """Something is wrong with a benchmark or what it is made of; names the path."""

    def __init__(self, path: Path | str, problem: str, advice: str) -> None:
        self.path = str(path)
        self.problem = problem
        super().__init__(f"{self.path}: {problem}. {advice}")


class RawDataError(BenchmarkError):
    """A raw dump cannot be used; names the file, and the line (from 1) where there is one."""

    def __init__(
        self, path: Path | str, problem: str, advice: str, *, line: int | None = None
    ) -> None:
        self.line = line
        super().__init__(path if line is None else f"{path}, line {line}", problem, advice)


class BenchmarkFolderError(BenchmarkError):
    """A folder is not a finished benchmark, or not one that this version reads."""


class TrainingError(VisualLensError):
    """Something is wrong with a training run or what it is given."""

    def __init__(self, problem: str, advice: str) -> None:
        self.problem = problem
        super().__init__(f"{problem}. {advice}")


class CheckpointError(TrainingError):
    """A checkpoint cannot be used; the last good one is never touched."""

    def __init__(self, path: Path | str, problem: str) -> None:
        self.path = str(path)
        super().__init__(
            f"{path}: {problem}",
            "The last good checkpoint is untouched. Free space or mend the folder and run the same "
            "command again, or delete the run's folder to begin anew.",
        )


class EvaluationError(VisualLensError):
    """Something is wrong with an evaluation or what it is given."""

    def __init__(self, problem: str, advice: str) -> None:
        self.problem = problem
        super().__init__(f"{problem}. {advice}")


class RunFileError(EvaluationError):
    """A run file cannot be used; names the file, and the line (from 1) where there is one."""

    def __init__(
        self, path: Path | str, problem: str, advice: str, *, line: int | None = None
    ) -> None:
        self.path = str(path)
        self.line = line
        where = self.path if line is None else f"{self.path}, line {line}"
        super().__init__(f"{where}: {problem}", advice)


class WorkerError(VisualLensError):
    """A worker of a long job was killed, or cannot work where it is; what was done is kept."""

    def __init__(self, problem: str, advice: str) -> None:
        self.problem = problem
        super().__init__(f"{problem}. {advice}")


class RequestError(VisualLensError):
    """A question, its category or its candidates cannot be answered."""


class NothingIndexedError(VisualLensError):
    """The user has no photos in this library, or none that the chosen encoder has read."""

    def __init__(self, user_id: str, known_users: Sequence[str]) -> None:
        self.user_id = user_id
        self.known_users = tuple(known_users)
        if user_id in self.known_users:
            super().__init__(
                f"The encoder that the settings name has read no photo of user {user_id!r}. Run "
                "visuallens index PHOTOS with the same settings; only what is missing is computed."
            )
            return
        others = f" Users with photos: {', '.join(self.known_users)}." if known_users else ""
        super().__init__(
            f"User {user_id!r} has no photos in this library.{others} "
            "Add some with: visuallens index PHOTOS --user USER"
        )
