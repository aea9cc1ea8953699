"""Hosts the real library for one linked device, pointed at an emulator; commands and events are JSON lines.

Arguments: database file, emulator port, root key in hex[, keep-alive timings as four seconds joined by commas].
It fails closed: the library is started only after ``redirect`` has returned.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
from typing import Any

from wa_library import package, redirect
from wa_library.timings import KeepAliveTimings, Timings

EVENTS = {
    2: "PairStatus", 3: "Connected", 4: "KeepAliveTimeout", 5: "KeepAliveRestored", 6: "LoggedOut",
    7: "StreamReplaced", 8: "TemporaryBan", 9: "ConnectFailure", 10: "ClientOutdated", 11: "StreamError",
    12: "Disconnected", 17: "Message", 18: "Receipt", 26: "OfflineSyncPreview", 27: "OfflineSyncCompleted",
    44: "UndecryptableMessage",
}  # fmt: skip
UUID = b"device"

_out = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # the library prints to stdout
_lock = threading.Lock()


def tell(kind: str, **values: Any) -> None:
    with _lock:
        _out.write(json.dumps({"kind": kind, **values}) + "\n")


def details(code: int, raw: bytes) -> dict[str, Any]:
    """Return what tests look at. (Parsing is left until the binding and its protobuf classes are loaded.)"""
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415

    messages = package.proto("Neonize_pb2")
    return dict(MessageToDict(getattr(messages, EVENTS[code]).FromString(raw)))


def on_event(code: int, raw: bytes) -> None:
    if code in EVENTS:
        tell("event", name=EVENTS[code], data=details(code, raw))


def run(database: str, binding: Any) -> None:
    go = binding.gocode
    callbacks = (
        binding.func_string(lambda _id, at: tell("qr", text=ctypes.string_at(at).decode())),
        binding.func_string(lambda _id, at: tell("login", status=ctypes.string_at(at).decode())),
        binding.func_callback_bytes(lambda _id, at, size, code: on_event(code, ctypes.string_at(at, size))),
        binding.func_callback_bytes2(lambda _at, _size: None),
    )
    wanted = bytes(EVENTS)
    level = os.environ.get("LIBRARY_LOG", "ERROR").encode()
    end = go.Neonize(database.encode(), UUID, b"", 0, 0, level, *callbacks, wanted, len(wanted), b"", 0, b"", 0, None)
    reason = end if isinstance(end, bytes) else ctypes.string_at(end)
    tell("end", reason=reason.decode() if reason else "")


def call(go: Any, command: dict[str, Any]) -> Any:
    messages = package.proto("Neonize_pb2")
    if command["do"] == "send":
        to = messages.JID(
            User=command["to"], Server="s.whatsapp.net", RawAgent=0, Device=0, Integrator=0, IsEmpty=False
        )
        body = package.proto("waE2E.WAWebProtobufsE2E_pb2").Message(conversation=command["text"])
        jid, message = to.SerializeToString(), body.SerializeToString()
        answer = go.SendMessage(UUID, jid, len(jid), message, len(message))
        result = messages.SendMessageReturnFunction.FromString(answer)
        return {"id": result.SendResponse.ID, "error": result.Error}
    if command["do"] == "pair-phone":
        wish = messages.PairPhoneParams(
            phone=command["number"], showPushNotification=True, clientDisplayName="Chrome (Linux)", clientType=1
        ).SerializeToString()
        result = messages.PairPhoneReturnFunction.FromString(go.PairPhone(UUID, wish, len(wish)))
        return {"code": result.Code, "error": result.Error}
    if command["do"] == "disconnect":
        go.Disconnect(UUID)
        return {}
    if command["do"] == "logout":
        go.Logout(UUID)
        return {}
    raise ValueError(command["do"])


def answer(go: Any, command: dict[str, Any]) -> None:
    tell("answer", number=command["number_of_call"], result=call(go, command))


def main() -> None:
    database, port, root_key, *timings = sys.argv[1:]
    binding = package.binding()
    redirect.redirect(int(port), bytes.fromhex(root_key))
    if timings:
        KeepAliveTimings().write(Timings(*(float(seconds) for seconds in timings[0].split(","))))
    threading.Thread(target=run, args=(database, binding), daemon=True).start()
    for line in sys.stdin:
        threading.Thread(target=answer, args=(binding.gocode, json.loads(line)), daemon=True).start()
    os._exit(0)


if __name__ == "__main__":
    main()
