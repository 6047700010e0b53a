"""The backbone nano, measured: time and memory of a question, what it sees, parity, attacks."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import attacks
import numpy as np
from numpy.typing import NDArray
from photos import SCENES, Photos
from PIL import Image

from visuallens import registry
from visuallens.api import VisualLens
from visuallens.config import BackboneSettings, MatchingSettings, Settings, load_settings
from visuallens.models.backbones.local import LocalBackbone
from visuallens.models.backbones.nano_vision import NanoVision
from visuallens.models.base import Backbone, PromptImage
from visuallens.models.embedded import EmbeddedModel
from visuallens.models.weights import smollm2_file
from visuallens.places import bundled_city
from visuallens.profile.grid import gridify
from visuallens.rankers.base import RankerResources
from visuallens.rankers.visuallens import VisualLensRanker
from visuallens.types import (
    Candidate,
    FloatArray,
    Photo,
    Profile,
    ProfileCell,
    Question,
    Ranking,
    RankingRequest,
    VisualHistory,
)

_VISUALLENS = str(Path(sys.executable).with_name("visuallens"))
_PROCESSES = 3
_PATIENCE_S = 60
_RANKED = 50
_GRIDS = 20
_RIDGE = 1e4
_ATTACKED = 3
_ATTACKED_CANDIDATES = 12


def asking(data: Path) -> Iterator[str]:
    """Ask nano about 50 candidates, in processes of their own."""
    with tempfile.TemporaryDirectory() as scratch:
        library = Path(scratch) / "library"
        photos = sorted((data / "flickr8k/images").iterdir())[:400]
        VisualLens(library, settings=Settings()).index(photos)
        command = [sys.executable, __file__, str(library)]
        runs = [
            json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
            for _ in range(_PROCESSES)
        ]
    middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    yield f"- loading the weights: {middle['load_s']:.1f} s"
    yield (
        f"- first question, {middle['tokens']:.0f} tokens, with reading 64 photos: "
        f"{middle['cold_s']:.1f} s"
    )
    yield f"- {_RANKED} other candidates for the same profile: {middle['next_s']:.1f} s"
    yield f"- the same without the kept prefix: {middle['anew_s']:.1f} s"
    yield f"- peak memory of the process: {middle['peak_mb']:,.0f} MB"


def _ask(library: str) -> dict[str, float]:
    """Measure one process."""
    places = [replace(place, categories=("sight",)) for place in bundled_city("london")]
    some, others = places[:_RANKED], places[_RANKED : 2 * _RANKED]
    with VisualLens(library, settings=load_settings()) as lens:
        lens.open_user()
        start = time.perf_counter()
        backbone = lens.backbone
        load_s = time.perf_counter() - start

        def seconds(candidates: Sequence[Candidate]) -> float:
            start = time.perf_counter()
            lens.recommend("a sight", candidates, ranker="visuallens", anyway=True)
            return time.perf_counter() - start

        cold_s, next_s = seconds(some), seconds(others)
        if isinstance(backbone, LocalBackbone):
            backbone.forget_prefix()
        anew_s = seconds(some)
        profile = lens.profile("a sight", candidates=some)
    grid = None if profile.image is None else PromptImage(profile.image, profile.grid_side)
    lines = [f"A: {place.name}, {place.description}" for place in some]
    text = f"{profile.text}\n" + "\n".join(lines)
    peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    return {
        "load_s": load_s,
        "cold_s": cold_s,
        "next_s": next_s,
        "anew_s": anew_s,
        "tokens": backbone.count_tokens([text], image=grid)[0],
        "peak_mb": int(peak) / 1024,
    }


def seeing(data: Path, photos: dict[str, Photos]) -> Iterator[str]:
    """Tell what a cell shows from its piece: a linear probe on grids of 64 scene photos."""
    yield "| a grid is read | half | cells | right | chance | one grid takes |"
    yield "|---|---|---|---|---|---|"
    scenes = photos["scenes"]
    for by_cell, title in ((False, "as one image"), (True, "cell by cell")):
        vision = NanoVision(by_cell=by_cell)
        read = {
            half: _read_grids(data, scenes, vision, scenes.is_test == (half == "test"))
            for half in ("development", "test")
        }
        pieces, classes, _ = read["development"]
        weights, mean = _probe(pieces, classes)
        for half, (found, truth, seconds) in read.items():
            guessed = ((found - mean) @ weights).argmax(axis=1)
            right = (guessed == truth).mean()
            yield (
                f"| {title} | {half} | {len(truth)} | {100 * right:.1f} % | "
                f"{100 / len(SCENES):.1f} % | {seconds:.2f} s |"
            )


def _read_grids(
    data: Path, scenes: Photos, vision: NanoVision, mask: NDArray[np.bool_]
) -> tuple[FloatArray, NDArray[np.int64], float]:
    """Read grids of one half: (cells, 1280) pieces, their classes, seconds of one grid."""
    names = scenes.where(mask).names
    generator = np.random.default_rng(0)
    pieces, classes, times = [], [], []
    for _ in range(_GRIDS):
        chosen = [names[at] for at in generator.choice(len(names), 64, replace=False)]
        cells = [Image.open(data / "scenes" / name).convert("RGB") for name in chosen]
        grid = PromptImage(gridify(cells, grid_side=8, image_side_px=896), 8)
        start = time.perf_counter()
        pieces.append(vision([grid]))
        times.append(time.perf_counter() - start)
        classes += [SCENES.index(name.partition("/")[0]) for name in chosen]
    return np.concatenate(pieces), np.array(classes), statistics.median(times)


def _probe(pieces: FloatArray, classes: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """Fit a ridge regression to one-hot classes."""
    mean = pieces.mean(axis=0)
    centred = (pieces - mean).astype(np.float64)
    targets = np.eye(len(SCENES))[classes]
    covariance = centred.T @ centred + _RIDGE * np.eye(centred.shape[1])
    weights = np.linalg.solve(covariance, centred.T @ targets)
    return weights.astype(np.float32), mean


def agreeing() -> Iterator[str]:
    """Compare nano with itself in other forms, and with its weights in llama.cpp."""
    yield "| first | second | Kendall's tau | worst prompt | largest difference | same best |"
    yield "|---|---|---|---|---|---|"
    settings = {
        "one prompt at a time": ("backbone.batch_size=1", "backbone.keep_prefix=false"),
        "bfloat16": ("backbone.dtype=bfloat16",),
        "float16": ("backbone.dtype=float16",),
    }
    for title, changed in settings.items():
        overrides = [word for setting in changed for word in ("--set-second", setting)]
        yield _agreement("nano, float32", f"nano, {title}", "nano", "nano", *overrides)
    if find_spec("llama_cpp") is None:
        yield "| nano, text only | llama.cpp, needs the extra `llamacpp` | | | | |"
        return
    with _llama_server() as url:
        server = ("--no-image", "--set-second", f"backbone.server.url={url}")
        title = "SmolLM2 in llama.cpp (Q4_1)"
        yield _agreement("nano, text only, float32", title, "nano", "server", *server)


def _agreement(first_title: str, second_title: str, *arguments: str) -> str:
    command = [_VISUALLENS, "parity", *arguments, "--json"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return (
        f"| {first_title} | {second_title} | {found['kendall_tau']:.3f} | "
        f"{found['least_kendall_tau']:.3f} | {found['largest_difference']:.1e} | "
        f"{100 * found['same_first']:.0f} % |"
    )


@contextmanager
def _llama_server() -> Iterator[str]:
    """Serve the packaged SmolLM2 with llama-cpp-python until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "llama_cpp.server", "--model", str(smollm2_file())),
        *("--n_ctx", "8192", "--logits_all", "true", "--port", str(port)),
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(_PATIENCE_S):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait()


def attacking() -> Iterator[str]:
    """Attack nano, which follows no training here: through descriptions and through a photo."""
    backbone: Backbone = registry.load("backbones", "nano")(BackboneSettings())
    requests = [_request(seed) for seed in range(_ATTACKED)]
    profiles = [_profile(request) for request in requests]

    def rank(request: RankingRequest) -> Ranking:
        return rank_profile(request, profiles[int(request.id)])

    def rank_profile(request: RankingRequest, profile: Profile) -> Ranking:
        resources = RankerResources(
            profile=lambda _request: profile,
            texts=EmbeddedModel(),
            sentences=EmbeddedModel().sentences,
            images=lambda _paths: {},
            backbone=lambda: backbone,
            matching=MatchingSettings(),
        )
        return VisualLensRanker(resources).rank(request)

    yield from attacks.section(rank, requests, rank_profile, profiles)


def _request(seed: int) -> RankingRequest:
    generator = np.random.default_rng(seed)
    places = bundled_city("london")
    chosen = generator.choice(len(places), _ATTACKED_CANDIDATES, replace=False)
    question = Question("a sight", "sight")
    candidates = tuple(places[at] for at in chosen)
    return RankingRequest(str(seed), question, VisualHistory("me", ()), candidates, seed=seed)


def _profile(request: RankingRequest) -> Profile:
    """Draw a profile of a few coloured photos with captions."""
    words = ("palace", "clock", "ship", "garden", "painting", "train", "flower", "castle", "sea")
    generator = np.random.default_rng(request.seed)
    chosen = [str(word) for word in generator.permutation(words)]
    cells = tuple(
        ProfileCell(number, Photo(word, f"{word}.jpg"), 0.5, f"A {word}", (word,))
        for number, word in enumerate(chosen, start=1)
    )
    pixels = generator.integers(0, 256, (len(cells), 2, 2, 3), dtype=np.uint8)
    photos = [Image.fromarray(picture).resize((112, 112)) for picture in pixels]
    return Profile(
        user_id="me",
        question=request.question,
        cells=cells,
        aspect_words=tuple(chosen),
        text="",
        grid_side=4,
        image_side_px=448,
        embeddings=np.zeros((len(cells), 1), np.float32),
        image=gridify(photos, grid_side=4, image_side_px=448),
    )


if __name__ == "__main__":
    print(json.dumps(_ask(sys.argv[1])))
