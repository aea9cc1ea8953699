"""The settings as documents, made from ``settings.py`` so that they cannot drift from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

from tandem.settings import Settings

_EXAMPLES = {
    "api_token": "a long random text: openssl rand -hex 32",
    "read_token": "another one",
    "emulator": "127.0.0.1:7700",
    "firebase_service_account": "base64 of the JSON",
    "google_application_credentials": "/etc/tandem/service-account.json",
    "firestore_emulator_host": "127.0.0.1:8080",
    "railway_environment": "production",
    "railway_volume": "/data",
}
_CONFIG = "A settings file in TOML; the environment wins over it."


@dataclass(frozen=True, slots=True)
class Row:
    """``group`` and ``name`` are those of the settings file, ``variable`` is the environment's."""

    group: str
    name: str
    variable: str
    default: object
    description: str


def rows() -> Iterator[Row]:
    """Return every setting, in the order of ``settings.py``."""
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for inner, inner_field in kind.model_fields.items():
                yield _row(name, inner, f"TANDEM_{name}__{inner}".upper(), inner_field)
        else:
            yield _row("", name, _variable(name, field), field)


def _row(group: str, name: str, variable: str, field: FieldInfo) -> Row:
    default = field.get_default()
    return Row(group, name, variable, str(default) if isinstance(default, Path) else default, field.description or "")


def _variable(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return str(alias.choices[0])
    return str(alias or f"TANDEM_{name}".upper())


def markdown() -> str:
    """Return the table of the README."""
    lines = ["| variable | default | meaning |", "|---|---|---|", f"| `TANDEM_CONFIG` |  | {_CONFIG} |"]
    for row in rows():
        default = "" if row.default is None or row.default == "" else f"`{_literal(row.default)}`"
        lines.append(f"| `{row.variable}` | {default} | {row.description} |")
    return "\n".join(lines) + "\n"


def toml() -> str:
    """Return a settings file with every setting in a comment, at its default."""
    lines = [
        "# Every setting of Tandem at its default. Copy this file, uncomment what you change, and name the copy in",
        "# TANDEM_CONFIG. A variable of the environment, named behind each setting, wins over this file.",
        "# Keep tokens and service accounts in the environment rather than in a file.",
        "# Made by: tandem check --settings --toml",
    ]
    group = ""
    for row in rows():
        if row.group != group:
            group = row.group
            lines += ["", f"[{group}]  # {_purpose(group)}"]
        lines += ["", f"# {row.description}  ({row.variable})", f"# {row.name} = {_example(row)}"]
    return "\n".join(lines) + "\n"


def _purpose(group: str) -> str:
    kind = Settings.model_fields[group].annotation
    return (getattr(kind, "__doc__", None) or "").strip().splitlines()[0]


def _example(row: Row) -> str:
    """A setting that is off has no default to show: an example stands in its place."""
    return json.dumps(_EXAMPLES.get(row.name, "") if row.default is None else row.default)


def _literal(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
