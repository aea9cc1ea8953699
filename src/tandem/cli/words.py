"""How answers look in a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import typer

_JOINS = frozenset("\u200d")  # holds an emoji together


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns, the header first."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def when(milliseconds: int) -> str:
    """Return a time as the clock on the wall shows it; the bare number if no calendar reaches that far."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(milliseconds)


def harmless(text: str) -> str:
    """Return a stranger's text on one line, without anything a terminal would obey."""
    return "".join(
        each if each.isprintable() or each in _JOINS else each.encode("unicode_escape").decode() for each in text
    )


def identity(account: str) -> str:
    """Return the account's id, made from the number if that was given."""
    if re.fullmatch(r"[0-9a-f]{16}", account):
        return account
    from tandem.errors import Rejected  # noqa: PLC0415 - seldom needed
    from tandem.model.ids import InvalidNumber, account_id, canonical_number  # noqa: PLC0415 - heavy

    try:
        return account_id(canonical_number(account))
    except InvalidNumber:
        raise Rejected("neither an account's id nor a phone number; 'tandem accounts list' shows the ids") from None
