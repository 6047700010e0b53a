"""Stage 2: iterative aspect word refinement (§5.2), round by round, each kept in a file.

    RUN/round-J.jsonl      W^(J) of every photo, who chose it, and from which round
    RUN/diagnostics.json   what each round changed, and whether the run is finished
    RUN/inputs.json        the benchmark and the selector that it is made with

A killed run goes on with the photos that its last round had not reached.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from visuallens.benchmark.folder import Benchmark
from visuallens.config.training import AspectTrainingSettings
from visuallens.errors import TrainingError
from visuallens.prompts import PROMPT_VERSION
from visuallens.training.photo_uses import Beginning, Words, sample_photos, sample_uses
from visuallens.training.selectors import Offered, Selector

DIAGNOSTICS, INPUTS = "diagnostics.json", "inputs.json"
_LISTED_WORDS = 20

# Any: JSON.
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Round:
    """What one round came to.

    Attributes:
        round: j; 0 is what the run began with.
        photos: how many.
        mean_words: of a photo.
        empty_photos: photos without a word left.
        kept_share: of all words of the round before, the share that is left; None for round 0.
        jaccard: mean Jaccard index of a photo's words and those of the round before; two empty
            sets are the same. None for round 0.
        asked: judgements that were asked for.
        read: judgements that could be read.
        dropped: words that were dropped from most photos, with their numbers.
        kept: words that were kept by most photos, with their numbers.
    """

    round: int
    photos: int
    mean_words: float
    empty_photos: int
    kept_share: float | None = None
    jaccard: float | None = None
    asked: int = 0
    read: int = 0
    dropped: tuple[tuple[str, int], ...] = ()
    kept: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The photos of a run and who judges them.

    Attributes:
        words: W^(0).
        makers: photo → model id of what made them.
        uses: photo → numbers of the training examples that judge its words.
        without_words: photos of training profiles that have none.
    """

    words: Words
    makers: Mapping[str, str]
    uses: Mapping[str, tuple[int, ...]]
    without_words: int

    @property
    def calls(self) -> int:
        """Judgements of the first round; later rounds ask for no more."""
        return sum(len(self.uses[photo]) for photo in self.words)


def plan_refinement(beginning: Beginning, settings: AspectTrainingSettings, seed: int) -> Plan:
    """Draw the photos of a run and the examples that judge them.

    Args:
        beginning: of the benchmark.
        settings: `sampled_photos` and `examples_per_photo`.
        seed: of the draws.

    Returns:
        The plan, the same for the same seed.
    """
    photos = sample_photos(beginning.words, settings.sampled_photos, seed)
    uses = sample_uses(beginning.examples, photos, settings.examples_per_photo, seed)
    words = {photo: beginning.words[photo] for photo in photos}
    return Plan(words, beginning.makers, uses, beginning.without_words)


def refine(
    benchmark: Benchmark,
    plan: Plan,
    selector: Selector,
    settings: AspectTrainingSettings,
    folder: Path,
    *,
    advance: Callable[[int], None] = lambda _: None,
) -> list[Round]:
    """Refine aspect words round by round, or go on with a run that was stopped.

    Args:
        benchmark: that the plan is of; named in the record.
        plan: photos, first words, and who judges them.
        selector: chooses the words.
        settings: `max_rounds`, `same_from` and `batch_photos`.
        folder: of the run.
        advance: told of photos that are done, of every round.

    Returns:
        All rounds from 0; the last one is the training target W_i of stage 3.

    Raises:
        TrainingError: the folder has a run that began otherwise, is damaged or cannot be written.
        BackboneError: a model cannot answer; what it answered before is kept.

    Source: §5.2: W^(j) is selected from W^(j-1); the target is W^(4).
    Choice: rounds end early when the sets of two rounds are alike, by the mean Jaccard index.
    """
    try:
        _write_inputs(folder, benchmark, selector)
        _write_first(folder, plan)
        rounds = [_compare(0, {}, _read_round(folder, 0))]
        for number in range(1, settings.max_rounds + 1):
            before = _words(_read_round(folder, number - 1))
            if not _file(folder, number).exists():
                _run_round(folder, number, _Task(plan, before, selector, settings, advance))
            else:
                advance(len(before))
            rounds.append(_compare(number, before, _read_round(folder, number)))
            _write_diagnostics(folder, rounds, is_finished=False)
            if (rounds[-1].jaccard or 0.0) >= settings.same_from:
                break
        _write_diagnostics(folder, rounds, is_finished=True)
    except OSError as error:
        raise TrainingError(
            f"{folder} cannot be written ({error})",
            "What was refined so far is kept. Free some space and run the same command again.",
        ) from error
    return rounds


def read_refined(folder: Path, round_number: int | None = None) -> Words:
    """Read the words of a round.

    Args:
        folder: of a run.
        round_number: j; None: the last of a finished run.

    Returns:
        Photo, by its path below the benchmark's photos folder → words; none where no word of a
        photo was useful.

    Raises:
        TrainingError: there is no such round, it is damaged, or the run is not finished.
    """
    if round_number is None:
        record = _read_json(folder / DIAGNOSTICS)
        if not record or not record.get("finished"):
            raise TrainingError(
                f"{folder} holds no finished refinement of aspect words",
                "Run visuallens train aspects with it as --out until it ends.",
            )
        round_number = int(record["rounds"][-1]["round"])
    if not _file(folder, round_number).is_file():
        raise TrainingError(f"{folder} has no round {round_number}", "Choose an earlier round.")
    return _words(_read_round(folder, round_number))


@dataclass(frozen=True, slots=True)
class _Task:
    plan: Plan
    before: Words
    selector: Selector
    settings: AspectTrainingSettings
    advance: Callable[[int], None]


def _run_round(folder: Path, number: int, task: _Task) -> None:
    """Select the words of all photos; the file gets its name when it is whole."""
    part = _file(folder, number).with_suffix(".part")
    done = _continue(part)
    task.advance(len(done))
    left = [photo for photo in task.before if photo not in done]
    if left:
        task.selector.begin(task.before)
    with part.open("a", encoding="utf-8") as file:
        for start in range(0, len(left), task.settings.batch_photos):
            batch = left[start : start + task.settings.batch_photos]
            offered = [Offered(one, task.before[one], task.plan.uses[one]) for one in batch]
            selected = task.selector.select(offered)
            for one, selection in zip(offered, selected, strict=True):
                record = {
                    "photo": one.photo,
                    "words": [word for word in selection.words if word in one.words],
                    "selector": task.selector.name,
                    "model": task.selector.id,
                    "from_round": number - 1,
                    "examples": list(one.examples),
                    "asked": selection.asked,
                    "read": selection.read,
                }
                file.write(_line(record))
            file.flush()
            task.advance(len(batch))
    part.replace(_file(folder, number))


def _continue(part: Path) -> set[str]:
    """Drop the line at which a run was killed; return the photos of those before it."""
    if not part.exists():
        return set()
    done, whole = set(), 0
    content = part.read_bytes()
    for line in content.splitlines(keepends=True):
        try:
            photo: str = json.loads(line)["photo"]
        except (ValueError, KeyError, TypeError):
            break
        if not line.endswith(b"\n"):
            break
        done.add(photo)
        whole += len(line)
    if whole < len(content):
        with part.open("r+b") as file:
            file.truncate(whole)
    return done


def _write_first(folder: Path, plan: Plan) -> None:
    """Write W^(0), or refuse a run that began with other words."""
    lines = [
        _line(
            {
                "photo": photo,
                "words": list(words),
                "selector": None,
                "model": plan.makers.get(photo),
                "from_round": None,
            }
        )
        for photo, words in plan.words.items()
    ]
    _write_once(
        _file(folder, 0),
        "".join(lines),
        "it began with other aspect words or photos",
    )


def _write_inputs(folder: Path, benchmark: Benchmark, selector: Selector) -> None:
    """Write what the run is made with, or refuse a run that is made with something else."""
    record = {
        "benchmark": benchmark.name,
        "checksum": benchmark.about["checksum"],
        "selector": selector.name,
        "model": selector.id,
        "prompts": PROMPT_VERSION,
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    _write_once(folder / INPUTS, text, "it was begun with another benchmark, selector or model")


def _write_once(path: Path, text: str, problem: str) -> None:
    if not path.exists():
        _write(path, text)
    elif path.read_text("utf-8") != text:
        raise TrainingError(f"{path.parent}: {problem}", "Choose another --out.")


def _write_diagnostics(folder: Path, rounds: Sequence[Round], *, is_finished: bool) -> None:
    record = {"finished": is_finished, "rounds": [asdict(one) for one in rounds]}
    _write(folder / DIAGNOSTICS, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".new")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _compare(number: int, before: Words, lines: Sequence[Record]) -> Round:
    """Describe a round and what it changed."""
    now = _words(lines)
    total = sum(map(len, now.values()))
    photos = max(len(now), 1)
    found = Round(number, len(now), total / photos, sum(not own for own in now.values()))
    if not before:
        return found
    pairs = [(set(before[photo]), set(own)) for photo, own in now.items()]
    dropped = Counter(word for old, new in pairs for word in sorted(old - new))
    kept = Counter(word for _, new in pairs for word in sorted(new))
    return replace(
        found,
        kept_share=total / max(sum(len(old) for old, _ in pairs), 1),
        jaccard=sum(_jaccard(old, new) for old, new in pairs) / photos,
        asked=sum(line["asked"] for line in lines),
        read=sum(line["read"] for line in lines),
        dropped=tuple(_most(dropped)),
        kept=tuple(_most(kept)),
    )


def _jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other) if one | other else 1.0


def _most(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:_LISTED_WORDS]


def _read_round(folder: Path, number: int) -> list[Record]:
    path = _file(folder, number)
    try:
        return list(_parsed(path.read_text("utf-8").strip().split("\n")))
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{path} is damaged ({error!r})", "Delete it and all later rounds, and run again."
        ) from error


def _parsed(lines: Sequence[str]) -> Iterator[Record]:
    for line in lines:
        record = json.loads(line)
        yield {**record, "photo": str(record["photo"]), "words": list(map(str, record["words"]))}


def _words(lines: Sequence[Record]) -> Words:
    return {line["photo"]: tuple(line["words"]) for line in lines}


def _read_json(path: Path) -> Record | None:
    try:
        record = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read ({error})", "Run the stage again.") from error
    return record if isinstance(record, dict) else None


def _file(folder: Path, number: int) -> Path:
    return folder / f"round-{number}.jsonl"


def _line(record: Mapping[str, object]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"
