"""Tandem keeps WhatsApp accounts online."""

__version__ = "0.1.0"
