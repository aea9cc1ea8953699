from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.virtual_time import SeededRandom, VirtualClock, run_virtually
from tandem.errors import NotOnline, PoisonMessage, StoreUnavailable
from tandem.inbound.intake import Decoded
from tandem.inbound.pipeline import Pipeline
from tandem.model import signals
from tandem.model.event import EventType
from tandem.model.ids import Jid
from tandem.model.message import DecodedMessage, DecodedReceipt, RawEvent
from tandem.model.self_probe import probe_of
from tandem.model.states import OutboxState, Slot
from tandem.queue.queue import Queue
from unit.queue.parts import ACCOUNT, ANN, NUMBER, START_MS, Told, accept_text, open_queue, waiting

ANN_JID = Jid("12025550101", "s.whatsapp.net")


def decode(event: RawEvent) -> Decoded:
    """The payload is JSON: what the event is, and what differs from an ordinary message."""
    content = json.loads(event.payload)
    match content.pop("sort", "message"):
        case "receipt":
            return DecodedReceipt(tuple(content["ids"]), ANN_JID, ANN_JID, from_me=False, kind="delivered", timestamp=1)
        case "signal":
            return signals.Connected()
        case "poison":
            raise PoisonMessage("a message event that does not parse")
        case "bug":
            raise RuntimeError("confidential")
    secret = bytes.fromhex(content.pop("secret", ""))
    fields: dict[str, Any] = {
        "message_id": "ID", "chat": ANN_JID, "sender": ANN_JID, "sender_alt": None, "recipient_alt": None,
        "from_me": False, "is_group": False, "push_name": "", "timestamp": START_MS, "kind": "text", "text": "",
        "has_media": False, "reply_to": "", "raw": b"",
    }  # fmt: skip
    return DecodedMessage(**(fields | content), secret=secret)


def event(sequence: int, slot: Slot = Slot.PRIMARY, generation: int = 1, **content: Any) -> RawEvent:
    described = {"message_id": f"ID{sequence}", "text": str(sequence)} | content
    payload = json.dumps(described).encode()
    return RawEvent(ACCOUNT, slot, generation, sequence, 7, payload, START_MS / 1000 + sequence)


@dataclass
class Rig:
    """A pipeline on a real queue, with what it told and acknowledged."""

    queue: Queue
    pipeline: Pipeline
    told: Told
    acknowledged: list[tuple[Slot, int, int]] = field(default_factory=list)
    overflowed: list[RawEvent] = field(default_factory=list)

    async def settled(self) -> None:
        assert await self.pipeline.drain(1_000) == 0


def run(directory: Path, scenario: Callable[[Rig], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def whole() -> None:
        told = Told()
        settings = {name: options.pop(name) for name in ("max_inbox",) if name in options}
        async with open_queue(directory, told, **settings) as queue:

            def acknowledge(raw: RawEvent) -> None:
                rig.acknowledged.append((raw.slot, raw.generation, raw.sequence))
                if raw.generation == 13:
                    raise NotOnline("the host is gone")

            pipeline = Pipeline(
                queue,
                decode,
                acknowledge,
                lambda _: NUMBER,
                clock=VirtualClock(),
                random=SeededRandom(3),
                publish=told,
                overflowed=lambda raw: rig.overflowed.append(raw),  # noqa: PLW0108 - it is made below
                **options,
            )
            rig = Rig(queue, pipeline, told)
            await scenario(rig)

    run_virtually(whole())


class Refusal:
    """Makes the queue's disk refuse for a while."""

    def __init__(self, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refused = 0
        self.on = True
        real = queue.database._run

        def run(operations: Any) -> Any:
            if self.on:
                self.refused += 1
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return real(operations)

        monkeypatch.setattr(queue.database, "_run", run)


def test_each_message_once_from_both_slots_and_every_event_acknowledged(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        for sequence in range(1, 601):
            rig.pipeline.receive(event(sequence))
            rig.pipeline.receive(event(sequence, Slot.BACKUP))
        await rig.settled()

        assert await waiting(rig.queue) == [str(number) for number in range(1, 601)]
        assert {slot: sequence for slot, _, sequence in rig.acknowledged} == {Slot.PRIMARY: 600, Slot.BACKUP: 600}
        counts = rig.pipeline.counts
        assert (counts.received, counts.first, counts.duplicate) == (1200, 600, 600)
        assert (rig.pipeline.received[ACCOUNT], rig.pipeline.duplicates[ACCOUNT]) == (600, 600)
        assert rig.pipeline.pair_lag_ms.count == 600

    run(tmp_path, scenario)


def test_nothing_is_acknowledged_before_it_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(rig: Rig) -> None:
        refusal = Refusal(rig.queue, monkeypatch)
        for sequence in range(1, 4):
            rig.pipeline.receive(event(sequence))
        await asyncio.sleep(60)
        assert refusal.refused > 5
        assert rig.acknowledged == []
        rig.pipeline.receive(event(4))

        refusal.on = False
        await rig.settled()
        assert await waiting(rig.queue) == ["1", "2", "3", "4"]
        assert rig.acknowledged[-1] == (Slot.PRIMARY, 1, 4)
        assert rig.pipeline.counts.dead_lettered == 0

    run(tmp_path, scenario)


def test_acknowledgements_are_in_order_and_those_of_each_generation_its_own(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        for sequence in (1, 2):
            rig.pipeline.receive(event(sequence, generation=1))
        rig.pipeline.receive(event(3, generation=2))
        await rig.settled()
        assert rig.acknowledged == [(Slot.PRIMARY, 1, 2), (Slot.PRIMARY, 2, 3)]

    run(tmp_path, scenario)


def test_a_host_that_is_gone_when_its_event_is_durable_hurts_nobody(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.pipeline.receive(event(1, generation=13))
        await rig.settled()
        rig.pipeline.receive(event(2, generation=14))
        await rig.settled()
        assert await waiting(rig.queue) == ["1", "2"]

    run(tmp_path, scenario)


def test_what_is_neither_message_nor_receipt_is_acknowledged_and_leaves_nothing(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.pipeline.receive(event(1, sort="signal"))
        rig.pipeline.receive(event(0, sort="signal"))  # not journaled: there is nothing to acknowledge
        await rig.settled()
        assert rig.acknowledged == [(Slot.PRIMARY, 1, 1)]
        assert await waiting(rig.queue) == []

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"sort": "poison"}, "a message event that does not parse"),
        ({"sort": "bug"}, "it cannot be decoded (RuntimeError)"),
        ({"message_id": ""}, "a message without an id"),
        ({"text": "confidential \ud83c"}, "it cannot be queued (UnicodeEncodeError)"),
    ],
)
def test_what_cannot_be_understood_becomes_a_dead_letter_and_is_acknowledged(
    tmp_path: Path, content: dict[str, Any], reason: str
) -> None:
    async def scenario(rig: Rig) -> None:
        rig.pipeline.receive(event(1))
        rig.pipeline.receive(event(2, **content))
        rig.pipeline.receive(event(3))
        await rig.settled()
        assert await waiting(rig.queue) == ["1", "3"]
        assert rig.acknowledged[-1] == (Slot.PRIMARY, 1, 3)
        [letter] = await rig.queue.dead_letters.list()
        assert (letter.reason, letter.payload) == (reason, event(2, **content).payload)
        assert rig.pipeline.counts.dead_lettered == 1
        [told] = rig.told.of(EventType.DEAD_LETTER)
        assert "confidential" not in str(told)

    run(tmp_path, scenario)


def test_an_unreadable_copy_is_replaced_by_the_partners(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.pipeline.receive(event(1, undecryptable=True, text=""))
        await rig.settled()
        assert await waiting(rig.queue) == []
        assert rig.acknowledged == [(Slot.PRIMARY, 1, 1)]
        rig.pipeline.receive(event(1, Slot.BACKUP))
        await rig.settled()
        assert await waiting(rig.queue) == ["1"]
        assert (rig.pipeline.counts.undecryptable, rig.pipeline.counts.first) == (1, 1)

    run(tmp_path, scenario)


def test_echoes_and_receipts_reach_the_outbox_and_are_told_once(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        row, _ = await accept_text(rig.queue, ANN, "hi")
        await rig.queue.outbox.mark_sending(row.id, Slot.PRIMARY)
        secret = row.secret.hex()
        rig.pipeline.receive(event(1, Slot.BACKUP, message_id="OWN", from_me=True, text="hi", secret=secret))
        await rig.settled()
        assert (await rig.queue.outbox.get(row.id)).state is OutboxState.SENT
        assert [each["outbox_id"] for each in rig.told.of(EventType.MESSAGE_SENT)] == [row.id]

        rig.pipeline.receive(event(2, sort="receipt", ids=["OWN"]))
        await rig.settled()
        assert (await rig.queue.outbox.get(row.id)).state is OutboxState.DELIVERED
        assert len(rig.told.of(EventType.MESSAGE_SENT)) == 1
        assert await waiting(rig.queue) == ["hi"]
        assert rig.pipeline.counts.receipts == 1

    run(tmp_path, scenario)


def test_a_full_lane_drops_the_rest_of_its_generation_unacknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(rig: Rig) -> None:
        refusal = Refusal(rig.queue, monkeypatch)
        for sequence in range(1, 8):
            rig.pipeline.receive(event(sequence))
        rig.pipeline.receive(event(1, Slot.BACKUP))
        refusal.on = False
        await rig.settled()
        rig.pipeline.receive(event(8))  # behind a gap: it must not be acknowledged, nor be taken at all
        await rig.settled()
        assert rig.acknowledged == [(Slot.PRIMARY, 1, 5), (Slot.BACKUP, 1, 1)]
        assert [raw.sequence for raw in rig.overflowed] == [6]
        assert rig.pipeline.counts.refused == 3

        await rig.pipeline.import_leftover([event(sequence) for sequence in (6, 7, 8)])
        rig.pipeline.receive(event(9, generation=2))
        await rig.settled()
        assert await waiting(rig.queue) == ["1", "2", "3", "4", "5", "6", "7", "8", "9"]

    run(tmp_path, scenario, lane_bound=5)


def test_a_full_inbox_delays_acknowledgement_until_there_is_room(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.pipeline.receive(event(1))
        await rig.settled()
        rig.pipeline.receive(event(2))
        await asyncio.sleep(30)
        assert rig.acknowledged == [(Slot.PRIMARY, 1, 1)]
        pending = await rig.queue.inbox.pending(1, lambda *_: True)
        await rig.queue.inbox.settle(pending, [])
        await rig.settled()
        assert rig.acknowledged[-1] == (Slot.PRIMARY, 1, 2)

    run(tmp_path, scenario, max_inbox=1)


def test_leftovers_are_durable_when_the_import_returns_even_beyond_the_bound(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.pipeline.import_leftover([event(sequence) for sequence in range(1, 301)])
        await rig.pipeline.import_leftover([event(sequence, Slot.BACKUP) for sequence in range(1, 301)])
        assert rig.queue.inbox.depth == 300
        assert rig.acknowledged == []

    run(tmp_path, scenario, max_inbox=1)


def test_an_import_that_the_disk_goes_on_refusing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(rig: Rig) -> None:
        refusal = Refusal(rig.queue, monkeypatch)
        with pytest.raises(StoreUnavailable, match="disk is full"):
            await rig.pipeline.import_leftover([event(1)])
        refusal.on = False

    run(tmp_path, scenario)


def test_draining_leaves_what_the_disk_refuses_to_the_journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(rig: Rig) -> None:
        refusal = Refusal(rig.queue, monkeypatch)
        rig.pipeline.receive(event(1))
        rig.pipeline.receive(event(2, Slot.BACKUP))
        assert await rig.pipeline.drain(3) == 2
        assert rig.acknowledged == []
        refusal.on = False

    run(tmp_path, scenario)


def test_a_dead_event_can_be_replayed_once_it_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(rig: Rig) -> None:
        rig.pipeline.receive(event(1, sort="bug"))
        await rig.settled()
        [letter] = await rig.queue.dead_letters.list()
        with pytest.raises(PoisonMessage):
            await rig.pipeline.replay(letter.id)
        assert await rig.queue.dead_letters.count() == 1

        def fixed(raw: RawEvent) -> Decoded:
            return decode(RawEvent(raw.account, raw.slot, 0, 0, 7, raw.payload.replace(b"bug", b"message"), 1.0))

        monkeypatch.setattr(rig.pipeline, "_decode", fixed)
        await rig.pipeline.replay(letter.id)
        assert await waiting(rig.queue) == ["1"]
        assert rig.queue.inbox.depth == 1
        assert await rig.queue.dead_letters.count() == 0

    run(tmp_path, scenario)


def test_a_dead_message_goes_back_to_the_inbox(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        rig.pipeline.receive(event(1))
        await rig.settled()
        [pending] = await rig.queue.inbox.pending(1, lambda *_: True)
        await rig.queue.inbox.settle([], [(pending, "too large")])
        assert rig.queue.inbox.depth == 0
        [letter] = await rig.queue.dead_letters.list()
        await rig.pipeline.replay(letter.id)
        assert await waiting(rig.queue) == ["1"]
        assert rig.queue.inbox.depth == 1

    run(tmp_path, scenario)


def test_a_busy_slot_does_not_hold_up_its_partner(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        for sequence in range(1, 1001):
            rig.pipeline.receive(event(sequence))
        rig.pipeline.receive(event(1, Slot.BACKUP))
        await rig.settled()
        slots = [slot for slot, _, _ in rig.acknowledged]
        assert slots.index(Slot.BACKUP) < len(slots) - 1

    run(tmp_path, scenario)


def test_an_echo_of_a_self_probe_is_heard_counted_acknowledged_and_never_stored(tmp_path: Path) -> None:
    heard: list[str] = []

    async def scenario(rig: Rig) -> None:
        secret = probe_of(NUMBER, "0" * 26, at=1.0).secret.hex()
        rig.pipeline.receive(event(1, from_me=True, kind="reaction", secret=secret))
        rig.pipeline.receive(event(2))
        await rig.settled()
        await rig.pipeline.import_leftover([event(3, generation=0, from_me=True, secret=secret)])
        assert heard == ["ID1", "ID2"]
        assert await waiting(rig.queue) == ["2"]
        assert rig.pipeline.counts.self_probes == 2
        assert rig.acknowledged[-1] == (Slot.PRIMARY, 1, 2)

    run(tmp_path, scenario, heard=lambda _event, message: heard.append(message.message_id))


def test_a_lane_is_behind_only_with_events_that_were_not_looked_at(tmp_path: Path) -> None:
    async def scenario(rig: Rig) -> None:
        assert not rig.pipeline.behind(ACCOUNT, Slot.PRIMARY)
        rig.pipeline.receive(event(1))
        assert rig.pipeline.behind(ACCOUNT, Slot.PRIMARY)
        assert not rig.pipeline.behind(ACCOUNT, Slot.BACKUP)
        await rig.settled()
        assert not rig.pipeline.behind(ACCOUNT, Slot.PRIMARY)

    run(tmp_path, scenario)


def test_everything_that_is_understood_is_shown_whoever_handed_it_up(tmp_path: Path) -> None:
    seen: list[str] = []

    async def scenario(rig: Rig) -> None:
        rig.pipeline.receive(event(1, sort="receipt", ids=["ID9"]))
        rig.pipeline.receive(event(2))
        await rig.settled()
        await rig.pipeline.import_leftover([event(3, generation=0)])
        assert seen == ["DecodedReceipt", "DecodedMessage", "DecodedMessage"]

    run(tmp_path, scenario, understood=lambda _account, decoded: seen.append(type(decoded).__name__))


def test_what_comes_in_for_an_account_that_another_instance_runs_is_held_back_and_not_told(tmp_path: Path) -> None:
    holding = {"here": False}

    async def scenario(rig: Rig) -> None:
        await rig.queue.deliveries.configure("webhook", ["hooks.example-1"])
        rig.pipeline.receive(event(1))
        rig.pipeline.receive(event(2, message_id="3EB0AA", from_me=True))
        rig.pipeline.receive(event(3, sort="receipt", ids=["3EB0AA"]))
        await rig.settled()
        assert (rig.queue.inbox.held, rig.queue.inbox.waiting) == (2, 0)
        assert rig.acknowledged[-1] == (Slot.PRIMARY, 1, 3), "durable is durable"
        assert rig.queue.standings.elsewhere == {ACCOUNT}
        assert rig.queue.standings.changes == 0

        holding["here"] = True
        rig.pipeline.receive(event(4))
        rig.pipeline.receive(event(1, Slot.BACKUP))
        await rig.settled()
        assert await waiting(rig.queue) == ["4"]
        [delivery] = await rig.queue.deliveries.due("hooks.example-1", 10)
        assert json.loads(delivery.parcel.payload)["data"]["id"] == "ID4"
        counts = rig.pipeline.counts
        assert (counts.first, counts.duplicate, counts.receipts) == (3, 1, 1)

    run(tmp_path, scenario, holds=lambda _account: holding["here"])
