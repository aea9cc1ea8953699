"""Which store this instance writes to."""

from __future__ import annotations

from tandem.clock import Clock
from tandem.errors import Misconfigured
from tandem.settings import Settings
from tandem.store.port import Store
from tandem.store.sqlite import SqliteStore


def choose_store(settings: Settings, clock: Clock) -> tuple[Store, str]:
    """Return the store that ``TANDEM_STORE`` asks for, not opened yet, and in words why it is that one.

    ``auto`` takes Firestore when it has credentials or an emulator for it, else the embedded store; in production it
    takes nothing less than Firestore unless told so. Raises Misconfigured, without any secret.
    """
    named = {
        "FIREBASE_SERVICE_ACCOUNT": settings.firebase_service_account,
        "GOOGLE_APPLICATION_CREDENTIALS": settings.google_application_credentials,
        "FIRESTORE_EMULATOR_HOST": settings.firestore_emulator_host,
    }
    present = " and ".join(name for name, value in named.items() if value)
    if settings.store == "firestore" or (settings.store == "auto" and present):
        return _firestore(
            settings, clock
        ), f"{present} is set" if settings.store == "auto" else "TANDEM_STORE=firestore"
    if settings.store == "auto" and settings.production:
        raise Misconfigured(
            "no Firestore credentials in production: set FIREBASE_SERVICE_ACCOUNT to the service account's JSON (or "
            "base64 of it), or TANDEM_STORE=sqlite to keep messages in the data directory only"
        )
    why = "no Firestore credentials are set" if settings.store == "auto" else "TANDEM_STORE=sqlite"
    return SqliteStore(settings.data_dir, clock), why


def _firestore(settings: Settings, clock: Clock) -> Store:
    from tandem.store.firestore.store import FirestoreStore  # noqa: PLC0415 - 40 MB of gRPC that the embedded store spares

    wanted = settings.firestore
    return FirestoreStore.of(settings, clock, project=wanted.project, database=wanted.database)
