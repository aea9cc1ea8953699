"""Which database to talk to, and as whom.

No text raised here holds a secret, and no exception here is chained to one that does: Google's own library answers a
key in the wrong place with a message that repeats the whole key.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.auth.exceptions import GoogleAuthError
from google.oauth2 import service_account

from tandem.errors import Misconfigured
from tandem.settings import Settings

DEFAULT_DATABASE = "(default)"
EMULATOR_PROJECT = "demo-tandem"
_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address, no token
_NEEDED = ("project_id", "client_email", "private_key")
_LONGEST_PATH = 255
_HOW = (
    "set FIREBASE_SERVICE_ACCOUNT to the JSON of a service account (or its base64), or "
    "GOOGLE_APPLICATION_CREDENTIALS to the path of its file"
)


@dataclass(frozen=True, slots=True)
class Target:
    """A database and the way into it: ``emulator`` (host:port, nobody checks who asks) or ``credentials``."""

    project: str
    database: str = DEFAULT_DATABASE
    emulator: str | None = None
    credentials: Any = field(default=None, repr=False)

    @property
    def path(self) -> str:
        return f"projects/{self.project}/databases/{self.database}"


def target_of(settings: Settings, *, project: str = "", database: str = DEFAULT_DATABASE) -> Target:
    """Return the target that the settings name; ``project`` overrides the service account's own.

    Raises Misconfigured, saying what to change, if there are no credentials, if they are broken, or if an emulator is
    named in production: nothing that is written there would last.
    """
    if settings.firestore_emulator_host:
        if settings.production:
            raise Misconfigured(
                "FIRESTORE_EMULATOR_HOST is set in production, where an emulator would lose every message: remove it"
            )
        return Target(project or EMULATOR_PROJECT, database, emulator=settings.firestore_emulator_host)
    name, info = _service_account(settings)
    return Target(project or str(info["project_id"]), database, credentials=_credentials(name, info))


def _service_account(settings: Settings) -> tuple[str, Mapping[str, Any]]:
    """The service account, and the variable that it came from."""
    if settings.firebase_service_account is not None:
        name = "FIREBASE_SERVICE_ACCOUNT"
        text = settings.firebase_service_account.get_secret_value()
    elif settings.google_application_credentials is not None:
        name = "GOOGLE_APPLICATION_CREDENTIALS"
        text = _file_text(str(settings.google_application_credentials))
    else:
        raise Misconfigured(f"there are no credentials for Firestore: {_HOW}")
    return name, _checked(name, _parsed(text))


def _file_text(path: str) -> str:
    if path.lstrip().startswith(("{", '"', "'")):
        raise Misconfigured(
            "GOOGLE_APPLICATION_CREDENTIALS holds the credentials themselves, but has to name a file: "
            "put the JSON into FIREBASE_SERVICE_ACCOUNT instead"
        )
    text = _read(Path(path))
    if text is None:
        shown = path if len(path) <= _LONGEST_PATH else "something much longer than a path"
        raise Misconfigured(f"GOOGLE_APPLICATION_CREDENTIALS names {shown}, which cannot be read as a file")
    return text


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None  # the caller raises, so that no context of the exception repeats a misplaced key


def _parsed(text: str) -> object:
    """The JSON in the text or in its base64, None if there is none."""
    text = text.strip().strip("'\"").strip()
    try:
        if not text.startswith("{"):
            compact = "".join(text.split()).replace("-", "+").replace("_", "/")
            text = base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True).decode()
        return json.loads(text, strict=False)  # keys are pasted with real line breaks, too
    except (binascii.Error, ValueError):
        return None


def _checked(name: str, info: object) -> Mapping[str, Any]:
    if not isinstance(info, dict):
        raise Misconfigured(f"{name} is neither JSON nor base64 of it: {_HOW}")
    kind = info.get("type")
    if kind != "service_account":
        known = kind if kind in {"authorized_user", "external_account", "impersonated_service_account"} else "another"
        raise Misconfigured(f"{name} is of type {known}, not service_account: {_HOW}")
    missing = [field for field in _NEEDED if not isinstance(info.get(field), str) or not info[field].strip()]
    if missing:
        raise Misconfigured(f"{name} lacks {', '.join(missing)}: download the service account's key again")
    return info


def _credentials(name: str, info: Mapping[str, Any]) -> Any:
    # Dashboards and shells turn line breaks into the two characters backslash and n.
    repaired = {"token_uri": _TOKEN_URI, **info, "private_key": str(info["private_key"]).replace("\\n", "\n")}
    credentials = _built(repaired)
    if credentials is None:
        raise Misconfigured(f"the private key in {name} is damaged: download the service account's key again")
    return credentials


def _built(info: Mapping[str, Any]) -> Any:
    try:
        return service_account.Credentials.from_service_account_info(info)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, GoogleAuthError):
        return None
