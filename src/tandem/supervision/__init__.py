"""Keeping sessions alive: one actor an account (the pair), one a slot (the session)."""
