"""Seeds: one number in the config, an independent stream for each thing that draws at random."""

from __future__ import annotations

import hashlib


def derive(seed: int, *path: str | int) -> int:
    """A seed in [0, 2^63) for one purpose, such as ``derive(seed, "order", epoch)``.

    A hash of the whole path: streams of different purposes, epochs and seeds share nothing, and a value depends on nothing
    but its arguments, so a resumed run draws what the uninterrupted one would have drawn.
    """
    text = "/".join(str(part) for part in (seed, *path))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
