"""Telling endpoints outside: signed, durable, in order, and never to an address inside."""
