"""Which store this instance writes to."""

from __future__ import annotations

import structlog

from tandem.clock import Clock
from tandem.errors import Misconfigured
from tandem.settings import Settings
from tandem.store.port import Store
from tandem.store.sqlite import SqliteStore

_log = structlog.get_logger(__name__)


def choose_store(settings: Settings, clock: Clock) -> Store:
    """Return the store that ``TANDEM_STORE`` asks for, not opened yet, and say in one log line which and why.

    Raises Misconfigured for a store that this release does not have.
    """
    if settings.store == "firestore":
        raise Misconfigured(
            "the Firestore store is not built yet: set TANDEM_STORE=sqlite (or leave it out) to use the embedded store"
        )
    why = "TANDEM_STORE=sqlite" if settings.store == "sqlite" else _why_automatic(settings)
    _log.info("store_chosen", store="sqlite", reason=why)
    return SqliteStore(settings.data_dir, clock)


def _why_automatic(settings: Settings) -> str:
    named = {
        "FIREBASE_SERVICE_ACCOUNT": settings.firebase_service_account,
        "GOOGLE_APPLICATION_CREDENTIALS": settings.google_application_credentials,
        "FIRESTORE_EMULATOR_HOST": settings.firestore_emulator_host,
    }
    present = [name for name, value in named.items() if value]
    if present:
        return f"{' and '.join(present)} is set, but the Firestore store is not built yet"
    return "no Firestore credentials are set"
