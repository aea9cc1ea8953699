"""The durable queue: one SQLite database, group commit, synchronous=FULL."""
