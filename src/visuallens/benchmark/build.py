"""Building a benchmark from a raw dump.

    read        each raw file → rows of one shape, reviews cut into buckets by user
    businesses  each once, with categories and a number
    timelines   each bucket → the reviews of its users in order of time, with their photos
    search      each bucket → examples (Algorithm 1)
    assemble    splits, files, checksums; then the folder gets its name

`steps.py` says how a killed build goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from visuallens import __version__, registry
from visuallens.benchmark import schema
from visuallens.benchmark.assembly import Assembled, assemble
from visuallens.benchmark.base import Job, RawFile, Rules
from visuallens.benchmark.businesses import (
    BusinessCounts,
    BusinessTask,
    number_businesses,
)
from visuallens.benchmark.catalogue import write_catalogue
from visuallens.benchmark.database import database, quoted, target
from visuallens.benchmark.reading import FileReport, ReadTask, read_file
from visuallens.benchmark.search import SearchReport, SearchTask, search
from visuallens.benchmark.splits import Group, Part, parts_of, shares_of
from visuallens.benchmark.steps import Crew, Workshop, opened
from visuallens.benchmark.timelines import TimelineReport, TimelineTask, make_timelines
from visuallens.benchmark.world import COUNTS, WorldPlan, load_world
from visuallens.benchmark.writing import discard, finish, refuse_existing
from visuallens.config import BenchmarkSettings
from visuallens.errors import BenchmarkFolderError, RawDataError
from visuallens.workers import session

_BUCKET_BYTES = 48 << 20
"""Raw reviews, unzipped, that one bucket holds; about 150,000 reviews."""

_MOST_BITS = 8
"""At most 256 buckets, larger ones for larger dumps: every reader holds a file of each open."""

_ZIPPED = 5
"""How much larger a dump gets when it is unzipped, roughly."""


ALONE = Crew()
"""One worker in this process."""


# Any: JSON; `schema.py` says what is in it.
def build(
    name: str,
    raw: Path,
    out: Path,
    settings: BenchmarkSettings,
    *,
    seed: int = 0,
    crew: Crew = ALONE,
) -> Mapping[str, Any]:
    """Build a benchmark from a raw dump.

    Args:
        name: of a registered dataset.
        raw: folder of the dump.
        out: folder of the benchmark; does not exist, or is empty.
        settings: what is None is decided by the dataset.
        seed: decides every draw.
        crew: who does the work.

    Returns:
        What benchmark.json holds.

    Raises:
        RawDataError: the dump lacks a file, is too broken, or gives no example.
        BenchmarkFolderError: there is something at `out`, or another build is at work.
        UnknownNameError: there is no dataset of that name.
    """
    raw, out = raw.resolve(), out.resolve()
    refuse_existing(out)
    kind = registry.load("datasets", name)
    rules = Rules.resolve(settings, kind.defaults)
    job = Job(name, raw, rules, seed, settings.memory_gb, crew.workers)
    files = job.dataset().files()
    plan = _plan(job, files)
    unfinished = out.with_name(out.name + ".building")
    try:
        with opened(unfinished, plan) as folder, session(crew.engine, crew.workers):
            return _Build(job, Workshop(folder, crew)).build(files, plan["bits"], out)
    except OSError as error:
        raise BenchmarkFolderError(
            error.filename or unfinished,
            error.strerror or str(error),
            "Mend that and give the same command again; it goes on where it was.",
        ) from error


# Any: JSON.
def _plan(job: Job, files: Sequence[RawFile]) -> dict[str, Any]:
    """Describe everything that decides what is built."""
    photos = _existing(job.dataset().photos_folder())
    known = [(one.path.name, one.table, one.path.stat()) for one in files]
    size = sum(
        one.path.stat().st_size * (_ZIPPED if one.path.suffix == ".gz" else 1)
        for one in files
        if one.table == "reviews"
    )
    return {
        "visuallens": __version__,
        "format": schema.FORMAT,
        "name": job.name,
        "rules": asdict(job.rules),
        "seed": job.seed,
        "bits": min((size // _BUCKET_BYTES).bit_length(), _MOST_BITS),
        "raw": str(job.raw),
        "photos": None if photos is None else photos.stat().st_mtime_ns,
        "files": [[file, table, stat.st_size, stat.st_mtime_ns] for file, table, stat in known],
    }


def _existing(folder: Path | None) -> Path | None:
    return folder if folder is not None and folder.is_dir() else None


@dataclass(frozen=True, slots=True)
class _Build:
    job: Job
    shop: Workshop

    # Any: JSON.
    def build(self, files: Sequence[RawFile], bits: int, out: Path) -> dict[str, Any]:
        read = self._read(files, bits)
        businesses = self._businesses()
        timelines = self._timelines(range(2**bits))
        parts = parts_of(self.job.rules, _total(one.days for one in timelines))
        plan = self._world(timelines, parts)
        found = self._search(range(2**bits), plan, parts)
        groups = {group: count for report in found for group, count in report.groups}
        dropped = _total(one.dropped for one in found)
        del found
        counts = {
            "businesses": asdict(businesses),
            "reviews": sum(one.reviews for one in timelines),
            "reviews_repeated": sum(one.repeated for one in timelines),
            "reviews_of_unknown_businesses": sum(one.unknown for one in timelines),
            "reviews_of_users_with_few_photos": sum(one.few_photos for one in timelines),
        }
        if not groups:
            self._refuse_nothing(counts, dropped)
        done = self._assemble(range(2**bits), plan, groups)
        about = {
            **self._about(read),
            "counts": {
                **counts,
                "splits": {
                    split: {"examples": done.examples[split], "users": done.users[split]}
                    for split in schema.SPLITS
                },
                "dropped": dict(sorted((Counter(dropped) + done.dropped).items())),
            },
        }
        photos = self.job.dataset().photos_folder() or out / "photos"
        return finish(self.shop.folder / "finished", out, about, photos)

    def _read(self, files: Sequence[RawFile], bits: int) -> list[FileReport]:
        tasks = [
            ReadTask(self.job, file, number, self.shop.step("rows"), bits)
            for number, file in enumerate(files)
        ]
        return self.shop.run("read", read_file, tasks, FileReport)

    def _businesses(self) -> BusinessCounts:
        task = BusinessTask(self.job, self.shop.step("rows"), self.shop.step("tables"))
        return self.shop.run("businesses", number_businesses, [task], BusinessCounts)[0]

    def _timelines(self, buckets: Iterable[int]) -> list[TimelineReport]:
        rows, tables = self.shop.step("rows"), self.shop.step("tables")
        tasks = [TimelineTask(self.job, rows, tables, bucket) for bucket in buckets]
        return self.shop.run("timelines", make_timelines, tasks, TimelineReport)

    def _world(self, timelines: Sequence[TimelineReport], parts: Sequence[Part]) -> WorldPlan:
        tables = self.shop.step("tables")
        with database(tables, memory_gb=self.job.memory_gb) as connection:
            connection.execute(
                "COPY (SELECT business, sum(reviews)::BIGINT AS reviews "
                f"FROM read_parquet({quoted(tables / 'counts-*.parquet')}) "
                f"GROUP BY business ORDER BY business) TO {target(tables / COUNTS)}"
            )
        reviews = _total(one.category_reviews for one in timelines)
        return WorldPlan(
            tables,
            self._categories(reviews),
            self.job.dataset().distance,
            tuple(dict.fromkeys(part.half for part in parts)),
            self.job.seed,
        )

    def _categories(self, reviews: Mapping[str, int]) -> frozenset[str]:
        """Choose the categories that are asked about, by their numbers of reviews."""
        rules = self.job.rules
        floor = max(rules.min_category_reviews, 1)
        large = frozenset(category for category, count in reviews.items() if count >= floor)
        if absent := sorted(set(rules.categories) - large):
            raise RawDataError(
                self.job.raw,
                f"no category {', '.join(map(repr, absent))} has {floor:,} reviews or more",
                "Name others in benchmark.categories. There are: "
                f"{', '.join(sorted(large)) or 'none'}.",
            )
        return large.intersection(rules.categories) if rules.categories else large

    def _search(
        self, buckets: Iterable[int], plan: WorldPlan, parts: tuple[Part, ...]
    ) -> list[SearchReport]:
        tasks = [SearchTask(self.job, plan.folder, bucket, plan, parts) for bucket in buckets]
        return self.shop.run("search", search, tasks, SearchReport)

    def _assemble(
        self, buckets: Sequence[int], plan: WorldPlan, groups: Mapping[Group, int]
    ) -> Assembled:
        finished = self.shop.folder / "finished"
        discard(finished)
        finished.mkdir()
        shares = shares_of(groups, self.job.rules, self.job.seed)
        done = assemble(self.job, plan.folder, finished, buckets, shares, self.shop.progress)
        write_catalogue(self.job, plan.folder, finished, load_world(plan), done.recommended)
        return done

    # Any: JSON.
    def _about(self, read: Sequence[FileReport]) -> dict[str, Any]:
        dataset = self.job.dataset()
        card = asdict(dataset.card)
        known = card.pop("checksums")
        sources = [
            {**asdict(one), "known_edition": known.get(one.file) == one.sha256} for one in read
        ]
        return {
            "name": self.job.name,
            "visuallens": __version__,
            "card": card,
            "distance": dataset.distance,
            "settings": asdict(self.job.rules),
            "seed": self.job.seed,
            "sources": sources,
        }

    def _refuse_nothing(self, counts: Mapping[str, object], dropped: Mapping[str, int]) -> None:
        ordered = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
        reasons = ", ".join(f"{count:,} x {reason}" for reason, count in ordered)
        raise RawDataError(
            self.job.raw,
            f"none of {counts['reviews']:,} reviews gives an example"
            + (f" ({reasons})" if reasons else ""),
            "Check that the dump is whole. For a small one, lower benchmark.min_category_reviews, "
            f"which is {self.job.rules.min_category_reviews:,}, or what the first reason names.",
        )


Key = TypeVar("Key")


def _total(counts: Iterable[Mapping[Key, int]]) -> dict[Key, int]:
    total: Counter[Key] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)
