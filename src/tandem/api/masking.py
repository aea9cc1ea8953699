"""Phone numbers as readers without the admin token see them."""

from __future__ import annotations

import re

from tandem.model.ids import masked

_NUMBERS = re.compile(
    r"(?<!\w)\d{5,15}(?=(?::\d+)?@(?:s\.whatsapp\.net|c\.us)\b)"  # an address
    r"|(?<!\w)\+?\d(?:[ ().-]{0,2}\d){6,14}(?![\d@])"  # written by a person
)


def mask(text: str) -> str:
    """Return a text with every phone number in it masked: ``+120****23``. Group ids and LIDs are no phone numbers."""
    return _NUMBERS.sub(lambda found: masked("+" + re.sub(r"\D", "", found[0])), text)


def shown(text: str, *, full: bool) -> str:
    return text if full else mask(text)
