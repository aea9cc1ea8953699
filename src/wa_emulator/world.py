"""Everything that a state file holds, put together: made anew, or restored."""

from __future__ import annotations

import json
from dataclasses import dataclass

from wa_emulator.codec import Codec
from wa_emulator.directory import Directory, Queued
from wa_emulator.journal import Forgetful, Journal
from wa_emulator.keys import KeyPair
from wa_emulator.ledger import Ledger
from wa_emulator.participant import Address, Participant
from wa_emulator.persistence import StateFile
from wa_emulator.relay import queue_key


@dataclass(frozen=True, slots=True)
class World:
    """The emulator's lasting objects."""

    root: KeyPair
    """Its public half is what clients must trust."""
    server: KeyPair
    directory: Directory
    ledger: Ledger


def fresh(codec: Codec) -> World:
    """Return a world that lives in memory only."""
    return _world(KeyPair(), KeyPair(), Forgetful(), codec)


def restored(state: StateFile, codec: Codec) -> World:
    """Return the world of a state file; an empty file gets a new one's keys."""
    world = _world(_key(state, "root"), _key(state, "server"), state, codec)
    participants = {
        name: Participant.restore(name, state, record) for name, record in state.load("participant")
    }  # fmt: skip
    for number, record in state.load("account"):
        world.directory.restore_account(number, record, participants[number])
    for key, record in state.load("device"):
        world.directory.restore_device(key, record)
    for key, record in state.load("session"):
        name, lid, device = key.split("/")
        participants[name].restore_sessions(Address(lid, int(device)), record)
    for _, record in state.load("ledger"):
        world.ledger.restore(record)
    for key, record in state.load("queue"):
        _restore_queued(world, codec, key, record)
    return world


def _world(root: KeyPair, server: KeyPair, journal: Journal, codec: Codec) -> World:
    directory = Directory(journal, lambda queued: _queue_record(queued, codec))
    return World(root, server, directory, Ledger(journal))


def _queue_record(queued: Queued, codec: Codec) -> bytes:
    """Return a queued stanza for the state file: a line of JSON about it, and its encoding."""
    about = {"entry": queued.entry.key if queued.entry else None, "stale_acks": queued.stale_acks}
    return json.dumps(about).encode() + b"\n" + codec.encode(queued.node)


def _restore_queued(world: World, codec: Codec, key: str, record: bytes) -> None:
    number, device_id, *_ = json.loads(key)
    line, _, encoded = record.partition(b"\n")
    about = json.loads(line)
    node = codec.decode(encoded)
    entry = world.ledger.find(*about["entry"]) if about["entry"] else None
    account = world.directory.known(number)
    device = account.devices.get(device_id) if account else None
    if device is not None:
        device.queue[queue_key(node)] = Queued(node, entry, about["stale_acks"])


def _key(state: StateFile, name: str) -> KeyPair:
    """Return a key pair of the emulator itself, made on first use."""
    found = dict(state.load("key")).get(name)
    pair = KeyPair(found)
    if found is None:
        state.save("key", name, lambda: pair.private)
    return pair
