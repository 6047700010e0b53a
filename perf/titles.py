"""Write the titles of MovieLens films as captions of their posters.

Run as: python perf/titles.py RAW --out titles.csv
Then: visuallens index titles.csv --library posters
A poster says its title in print, which large captioners read and the packaged ones cannot. RAW is
the raw folder of `movielens-v`; paths in the table are absolute.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    posters = (given.raw / "posters").resolve()
    lines = (given.raw / "movies.jsonl").read_text("utf-8").splitlines()
    with given.out.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "caption"))
        for film in map(json.loads, lines):
            path = posters / f"{film['id']}.jpg"
            if path.exists():
                table.writerow((path, film["title"]))


if __name__ == "__main__":
    main()
