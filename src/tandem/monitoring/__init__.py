"""Telling people: the stream of domain events and its readers."""
