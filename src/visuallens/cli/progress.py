"""The progress bar of long commands: rate and remaining time, on standard error."""

from __future__ import annotations

import sys
from typing import Never

from tqdm import tqdm


class Bar:
    """Shows an index run. Silent when standard error is not a terminal."""

    def __init__(self) -> None:
        self._bar: tqdm[Never] | None = None

    def total(self, count: int) -> None:
        """Start the bar."""
        self._bar = tqdm(total=count, unit="photo", disable=None, smoothing=0.1)

    def advance(self, count: int) -> None:
        """Move the bar on."""
        if self._bar is not None:
            self._bar.update(count)

    def note(self, text: str) -> None:
        """Show one line above the bar."""
        tqdm.write(text, file=sys.stderr)

    def close(self) -> None:
        """Leave the bar where it is."""
        if self._bar is not None:
            self._bar.close()
