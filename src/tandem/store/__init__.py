"""Where messages end up: Firestore, or the embedded SQLite store."""
