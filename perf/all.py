"""Measure everything and rewrite docs/measurements.md.

Run as: make perf
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import abstention
import attention
import backbones
import benchmarks
import encoders
import matching
import runtimes
import speed
import words
from photos import load_all

from visuallens.models.embedded import EmbeddedModel

_PAGE = Path(__file__).resolve().parents[1] / "docs" / "measurements.md"
_HEAD = """# Measurements

Made by `make perf` ({machine}). Machines differ and are noisy: read
ratios and medians. The photos are the project's shared data (Flickr8k, food photos with human tags,
scenes, Yelp businesses), each split once into a development half, on which everything was chosen,
and a test half, which is only reported (`perf/photos.py`).
"""

Section = tuple[str, str, Callable[[], Iterator[str]]]


def main() -> None:
    """Run the sections that were asked for, and write the page when all were."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", help="run the sections whose title has this word, print only")
    arguments = parser.parse_args()
    page = [_HEAD.format(machine=_machine())]
    for title, note, lines in _sections(arguments.data.resolve()):
        if arguments.only and arguments.only.lower() not in title.lower():
            continue
        print(f"{title} ...", file=sys.stderr)
        page += [f"## {title}", "", note, "", *lines(), ""]
    text = "\n".join(page)
    print(text)
    if not arguments.only:
        _PAGE.write_text(text, encoding="utf-8")


def _sections(data: Path) -> Iterator[Section]:
    model = EmbeddedModel()
    photos = load_all(model, data)
    yield (
        "Which space of image and text",
        "Retrieval by text and by example photos; P@20 and R@10 in per cent. The projections were "
        "fitted on the half that is not reported. Of the spaces that may ship, `anchors` is the "
        "default: it leads or nearly leads here, matches as well (below) and needs 1,280 numbers a "
        "photo; side by side with ConSE it retrieves a little better and needs 1,664, without "
        "matching better on the whole. The projection that was trained on Flickr8k and all food "
        "photos finds captions "
        "better, but what is trained on those photos may not ship; `embedded.space = "
        '"projection"` reads one that you fit on your own photos '
        "(`visuallens.models.spaces.fit_projection`). One that was trained on the public-domain "
        "food photos alone finds nothing but food.",
        lambda: encoders.section(model, data, photos),
    )
    yield (
        "Aspect words",
        "Against the curated tags of the food photos; per cent. A word is right when it is a tag, "
        "or one word of it. The classifier knows few foods by name, so it says little; the default "
        "thresholds (0.2, 0.3) trade silence for precision.",
        lambda: words.section(data, photos),
    )
    yield (
        "Abstention",
        abstention.__doc__.split("\n\n")[1].replace("\n", " ") if abstention.__doc__ else "",
        lambda: abstention.section(data, photos),
    )
    yield (
        "Matching without training",
        matching.__doc__.split("\n\n")[1].replace("\n", " ") if matching.__doc__ else "",
        lambda: matching.section(data, photos),
    )
    yield (
        "Runtime of the classifier",
        "96 photos in batches of 16, five rounds in turns. The default is OpenVINO in float32; "
        '`embedded.precision = "auto"` allows bfloat16 on processors that have it. ONNX Runtime is '
        "faster in float32 and not the default: it needs an exporter, of which one got this "
        "network wrong (mean cosine 0.94), and two more packages; taking it for the classifier "
        "alone is open.",
        lambda: runtimes.section(data),
    )
    yield (
        "Indexing",
        "Everything included: reading, hashing, decoding, encoding, words, writing. Decoding alone "
        "and encoding alone each have both cores; indexing shares the cores between them, so it "
        "cannot exceed 1 / (1/decoding + 1/encoding): where decoding is as dear as encoding (12 "
        "megapixels) the ratio stays far below one. Medians of three.",
        lambda: speed.indexing(data),
    )
    yield (
        "10,000 photos",
        "Drawn photos of 640 x 480, each indexed in a process of its own.",
        speed.many_photos,
    )
    yield (
        "Asking a library of 100,000 photos",
        "Synthetic embeddings of 1,280 dimensions, 100 places, ranker `similarity`.",
        speed.asking,
    )
    yield (
        "The backbone nano: one question",
        "64 of 400 Flickr8k photos with captions and aspect words, 50 places of London with their "
        "one-line descriptions; medians of three processes. The library is open before; importing "
        "PyTorch and transformers is part of loading.",
        lambda: backbones.asking(data),
    )
    yield (
        "What nano sees of a grid",
        "A linear probe (ridge, fitted on 20 grids of the development half) tells the scene of "
        "each cell from the piece that stands for it: 1,280 numbers from the grid read as one "
        "image of 260 px, pooled to 8 x 8, or from the cell alone, cut from the 896 px grid and "
        "enlarged to 260 px. Reading cell by cell is kept. The language model is not part of it.",
        lambda: backbones.seeing(data, photos),
    )
    yield (
        "The ranker attention: one question",
        "Drawn embeddings and weights of full size. Embedding the texts of candidates and their "
        "photos, which happens once each, is not part of it; building the profile neither.",
        attention.section,
    )
    yield (
        "Building benchmarks",
        "Synthetic dumps in the schema of Google Local, gzip, two files of reviews and two of "
        "businesses, built as google-review-v with the paper's rules, each in a process of its "
        "own. Memory is that of all processes together.",
        benchmarks.building,
    )
    yield (
        "Parity",
        "`visuallens parity`: six prompts about London with 20 candidates and a drawn grid; "
        "log-probabilities normalised over the candidates. The last row compares with a real "
        "llama-cpp-python server of the same weights (extra `llamacpp`), which keeps them in four "
        "bits and computes in other formats.",
        backbones.agreeing,
    )
    yield (
        "Attacks",
        "An attack text in the description of one of 12 candidates, or on a photo and in its "
        "caption; against a harmless text of the same length in the same place, which names the "
        "candidate where the attack does. Ranks and scores won (log-lift of the label) are means "
        "over three requests. Nano is untrained and likes the first labels whatever stands behind "
        "them, so the score tells more than the rank; the first row of each kind shows how far two "
        "harmless texts are apart.",
        backbones.attacking,
    )
    yield "Starting", "Whole processes; seven runs each.", speed.starting


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
