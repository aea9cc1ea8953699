"""When the phone that an account belongs to was last seen to be there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Proof(StrEnum):
    """What showed that the phone was there. ``NONE``: nothing yet, the time is when we began to count."""

    NONE = "none"
    LINKED = "linked"
    MESSAGE = "message"
    RECEIPT = "receipt"


@dataclass(frozen=True, slots=True)
class Presence:
    """``at`` in Unix seconds; ``told`` is the number of days that people were warned of since, 0 for none."""

    at: float
    proof: Proof = Proof.NONE
    told: int = 0

    @property
    def seen_at(self) -> float | None:
        """When the phone was last seen, in Unix seconds; None if it never was."""
        return None if self.proof is Proof.NONE else self.at
