"""What can be sent, as it is kept in an outbox row: JSON with a version, readable by every later release."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tandem.model.outbox import Content, MarkRead, Reaction, Reply, Revoke, Target, Text

_VERSION = 1


def dump(content: Content) -> str:
    """Return the durable form. Raises UnicodeEncodeError for text that has no UTF-8 form."""
    form = json.dumps({"v": _VERSION, **_form(content)}, ensure_ascii=False, separators=(",", ":"))
    form.encode()
    return form


def load(form: str) -> Content:
    """Inverse of ``dump``. Raises ValueError for what no release has written."""
    fields = json.loads(form)
    reader = _READERS.get(fields.get("kind"))
    if fields.get("v") != _VERSION or reader is None:
        raise ValueError("an outgoing message of an unknown form")
    return reader(fields)


def _form(content: Content) -> dict[str, object]:
    match content:
        case Text(text):
            return {"kind": "text", "text": text}
        case Reply(text, target):
            return {"kind": "reply", "text": text, "target": _target_form(target)}
        case Reaction(emoji, target, at):
            return {"kind": "reaction", "emoji": emoji, "target": _target_form(target), "at": at}
        case Revoke(message_id):
            return {"kind": "revoke", "id": message_id}
        case MarkRead(targets):
            return {"kind": "read", "targets": [_target_form(target) for target in targets]}


def _target_form(target: Target) -> dict[str, object]:
    return {"id": target.message_id, "author": target.author, "own": target.from_me, "text": target.text}


def _target(fields: Mapping[str, Any]) -> Target:
    return Target(fields["id"], fields["author"], fields["own"], fields["text"])


_READERS: dict[str, Callable[[Mapping[str, Any]], Content]] = {
    "text": lambda fields: Text(fields["text"]),
    "reply": lambda fields: Reply(fields["text"], _target(fields["target"])),
    "reaction": lambda fields: Reaction(fields["emoji"], _target(fields["target"]), fields["at"]),
    "revoke": lambda fields: Revoke(fields["id"]),
    "read": lambda fields: MarkRead(tuple(_target(each) for each in fields["targets"])),
}
