"""How many messages go into one write.

No timer decides: a batch is taken as soon as nothing is in flight, so a lone message waits for nobody and messages that
come while a write is in flight share the next one (group commit). Only caps bound a batch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caps:
    """Most messages and most bytes of one batch. A single message may be larger: it has to go alone."""

    documents: int
    bytes: int

    def fits(self, count: int, size: int, following: int) -> bool:
        """Whether a message of ``following`` bytes may join a batch of ``count`` messages and ``size`` bytes."""
        return count == 0 or (count < self.documents and size + following <= self.bytes)


def caps(*, batching: bool, documents: int, size: int) -> Caps:
    """Without batching every message goes alone, the same way."""
    return Caps(documents if batching else 1, size)


def halves(count: int) -> tuple[int, int]:
    """How a batch that was refused as a whole is split to find what is wrong in it: two parts, both shorter."""
    return count - count // 2, count // 2
