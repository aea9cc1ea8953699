"""Where messages end up: Firestore, or the embedded SQLite store."""

from tandem.store.choice import choose_store

__all__ = ["choose_store"]
