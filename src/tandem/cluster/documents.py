"""Heartbeats and leases as Firestore documents and back. Every document carries ``schemaVersion``.

instances/{instance}   an instance's last heartbeat
leases/{account}       who runs an account

A document is always written whole, on the condition that it is still as it was seen. Times are milliseconds, as their
names say. Fields that an older release does not know do not disturb it; a ``schemaVersion`` beyond its own means that
it would misunderstand the rest, and must not.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar

from tandem.cluster.port import Put, SeenInstance, SeenLease, Version
from tandem.model.cluster import AccountStanding, Fitness, Instance, InstanceId, Lease, SlotStanding
from tandem.model.ids import AccountId
from tandem.model.states import SessionState, Slot
from tandem.store.firestore.documents import Names
from tandem.store.firestore.values import Write, fields_of, fill

SCHEMA_VERSION = 1
INSTANCES, LEASES = "instances", "leases"

_T = TypeVar("_T")
_E = TypeVar("_E", bound=Enum)
_FITNESS = {fitness: fitness.name.lower() for fitness in Fitness}
_FITNESS_OF = {text: fitness for fitness, text in _FITNESS.items()}


class Unreadable(ValueError):  # noqa: N818 - says what the document is
    """Not a document that this release can read. The text names what is wrong in it and nothing of its content."""


def instance_name(names: Names, instance: InstanceId) -> str:
    return f"{names.root}/{INSTANCES}/{instance}"


def lease_name(names: Names, account: AccountId) -> str:
    return f"{names.root}/{LEASES}/{account}"


def collection_of(name: str) -> str:
    """Return which collection a document of this full name is in."""
    return name.rsplit("/", 2)[-2]


def id_of(name: str) -> str:
    return name.rpartition("/")[2]


def version_of(time: Any) -> Version:
    """Return the version that an update time of Firestore stands for."""
    return (time.seconds, time.nanos)


def write_of(names: Names, put: Put) -> Any:
    """Return the write that overwrites the whole document if it still is in the expected state.

    Raises PoisonMessage for what Firestore could never hold.
    """
    document = put.document
    write = Write()
    if isinstance(document, Instance):
        write.update.name = instance_name(names, document.id)
        fill(write.update, _instance_fields(document))
    else:
        write.update.name = lease_name(names, document.account)
        fill(write.update, _lease_fields(document))
    if put.expected is None:
        write.current_document.exists = False
    else:
        write.current_document.update_time.seconds, write.current_document.update_time.nanos = put.expected
    return write


def instance_of(document: Any) -> SeenInstance:
    """Raises Unreadable."""
    fields = _fields(document)
    accounts = _mapping(_take(fields, "accounts", dict))
    instance = Instance(
        id=InstanceId(id_of(document.name)),
        name=_take(fields, "name", str),
        term=_take(fields, "term", int),
        beat=_take(fields, "beat", int),
        every=_seconds(fields, "everyMs"),
        region=_take(fields, "region", str),
        url=_take(fields, "url", str),
        version=_take(fields, "version", str),
        origin=_take(fields, "origin", str),
        deposed=_take(fields, "deposed", bool),
        draining=_take(fields, "draining", bool),
        at=_seconds(fields, "atMs"),
        accounts={AccountId(name): _standing_of(value) for name, value in accounts.items()},
    )
    return SeenInstance(instance, version_of(document.update_time))


def lease_of(document: Any) -> SeenLease:
    """Raises Unreadable."""
    fields = _fields(document)
    lease = Lease(
        account=AccountId(id_of(document.name)),
        holder=InstanceId(_take(fields, "holder", str)),
        term=_take(fields, "term", int),
        generation=_take(fields, "generation", int),
        wanted=InstanceId(_take(fields, "wanted", str)),
        reason=_take(fields, "reason", str),
        since=_seconds(fields, "sinceMs"),
        removed=_take(fields, "removed", bool),
    )
    return SeenLease(lease, version_of(document.update_time))


def _instance_fields(instance: Instance) -> dict[str, object]:
    return {
        "schemaVersion": SCHEMA_VERSION,
        "name": _sound(instance.name),
        "term": instance.term,
        "beat": instance.beat,
        "everyMs": _milliseconds(instance.every),
        "region": _sound(instance.region),
        "url": _sound(instance.url),
        "version": _sound(instance.version),
        "origin": _sound(instance.origin),
        "deposed": instance.deposed,
        "draining": instance.draining,
        "atMs": _milliseconds(instance.at),
        "accounts": {str(account): _standing_fields(each) for account, each in instance.accounts.items()},
    }


def _standing_fields(standing: AccountStanding) -> dict[str, object]:
    return {
        "fitness": _FITNESS[standing.fitness],
        "slots": {str(slot): _slot_fields(each) for slot, each in standing.slots.items()},
        # Down, never up: rounded up it would promise that what came in the last part of a millisecond is stored.
        "durableThroughMs": int(standing.durable_through * 1000),
    }


def _slot_fields(slot: SlotStanding) -> dict[str, object]:
    return {
        "state": str(slot.state),
        "reason": _sound(slot.reason),
        "device": _sound(slot.device),
        "sinceMs": _milliseconds(slot.since),
    }


def _lease_fields(lease: Lease) -> dict[str, object]:
    return {
        "schemaVersion": SCHEMA_VERSION,
        "holder": str(lease.holder),
        "term": lease.term,
        "generation": lease.generation,
        "wanted": str(lease.wanted),
        "reason": _sound(lease.reason),
        "sinceMs": _milliseconds(lease.since),
        "removed": lease.removed,
    }


def _standing_of(value: Mapping[str, Any]) -> AccountStanding:
    fitness = _FITNESS_OF.get(_take(value, "fitness", str))
    if fitness is None:
        raise Unreadable("its fitness is none that this release knows")
    slots = _mapping(_take(value, "slots", dict))
    known = ((_known(Slot, name), _slot_of(each)) for name, each in slots.items())
    return AccountStanding(
        fitness=fitness,
        slots={slot: each for slot, each in known if slot is not None and each is not None},
        durable_through=_seconds(value, "durableThroughMs"),
    )


def _slot_of(value: Mapping[str, Any]) -> SlotStanding | None:
    """None for a state of a later release: what a slot of another instance does is for people, and decides nothing."""
    state = _known(SessionState, _take(value, "state", str))
    if state is None:
        return None
    return SlotStanding(state, _take(value, "reason", str), _take(value, "device", str), _seconds(value, "sinceMs"))


def _fields(document: Any) -> dict[str, Any]:
    fields = fields_of(document)
    if _take(fields, "schemaVersion", int) > SCHEMA_VERSION:
        raise Unreadable("it is of a later release")
    return fields


def _take(fields: Mapping[str, Any], name: str, kind: type[_T]) -> _T:
    value = fields.get(name)
    if type(value) is not kind:  # a bool is no int here
        raise Unreadable(f"its {name} is missing or of a wrong type")
    return value


def _mapping(value: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    if not all(isinstance(inner, dict) for inner in value.values()):
        raise Unreadable("an entry in it is no map")
    return value


def _known(kind: type[_E], text: str) -> _E | None:
    try:
        return kind(text)
    except ValueError:
        return None


def _seconds(fields: Mapping[str, Any], name: str) -> float:
    return _take(fields, name, int) / 1000


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _sound(text: str) -> str:
    """Without lone surrogates, which the environment of a process may hold and Firestore refuses."""
    return text.encode(errors="replace").decode()
