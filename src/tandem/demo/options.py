"""What a demo run is told."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """``rate``: messages a second from contacts, over all accounts; a quarter as many are sent. ``duration``: seconds.

    ``port``: of the daemon's page, None for any free one. ``json``: one JSON object on stdout and nothing else there.
    """

    accounts: int = 3
    rate: float = 20.0
    duration: float = 60.0
    chaos: bool = False
    json: bool = False
    store: str = "sqlite"
    port: int | None = None

    def checked(self) -> DemoOptions:
        """Raise Misconfigured for what cannot be run."""
        if not 1 <= self.accounts <= 30:  # noqa: PLR2004 - what two cores can show
            raise Misconfigured("--accounts must be between 1 and 30")
        if not 0 < self.rate <= 500:  # noqa: PLR2004 - the same
            raise Misconfigured("--rate must be above 0 and at most 500 messages a second")
        if not 5 <= self.duration <= 3600:  # noqa: PLR2004 - shorter shows nothing
            raise Misconfigured("--duration must be between 5 and 3600 seconds")
        if self.store not in {"sqlite", "firestore"}:
            raise Misconfigured("--store must be sqlite or firestore")
        return self
