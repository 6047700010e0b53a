"""Rows of numbers that were computed before, such as what is known of a photo."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from threading import Lock

import torch
from torch import Tensor


class LastRows:
    """Remembers rows of numbers by key, the last ones; several threads may ask.

    Args:
        width: of a row.
        most: rows that are kept, and a call may ask for more.
    """

    def __init__(self, width: int, most: int = 50_000) -> None:
        self._width, self._most = width, most
        self._rows: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._lock = Lock()

    def forget(self) -> None:
        """Remember nothing any more."""
        with self._lock:
            self._rows.clear()

    def take(self, keys: Sequence[Hashable], read: Callable[[Sequence[int]], Tensor]) -> Tensor:
        """Give the rows of keys.

        Args:
            keys: any number.
            read: computes the rows of the keys at some places of `keys`.

        Returns:
            (keys, width).
        """
        if not keys:
            return torch.zeros((0, self._width))
        with self._lock:
            known = {key: self._rows[key] for key in keys if key in self._rows}
        missing = {key: at for at, key in enumerate(keys) if key not in known}
        if missing:
            read_now = read([*missing.values()])
            # Copies, for a row of a batch would keep the whole batch.
            known |= {key: row.clone() for key, row in zip(missing, read_now, strict=True)}
        with self._lock:
            for key in keys:
                self._rows[key] = known[key]
                self._rows.move_to_end(key)
            while len(self._rows) > self._most:
                self._rows.popitem(last=False)
        return torch.stack([known[key] for key in keys])
