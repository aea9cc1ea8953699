from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integration.firestore.scene import ACCOUNT, Scene
from tandem.clock import SystemClock
from tandem.errors import PoisonMessage
from tandem.model.account import Account
from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId, Number
from tandem.model.states import Slot
from tandem.store.firestore.store import FirestoreStore
from tandem.store.firestore.values import fields_of

NOW = SystemClock().now()


def event(number: int, **fields: Any) -> Event:
    defaults: dict[str, Any] = {
        "type": EventType.SESSION_ONLINE,
        "message": f"event {number}",
        "timestamp": NOW - 100 + number,
        "account": ACCOUNT,
        "slot": Slot.BACKUP,
        "generation": number,
        "reason": "because",
        "data": {"count": number, "nested": {"list": [1, 2.5, None, True]}},
    }
    return Event(id=f"event-{number}", **(defaults | fields))


async def stored(store: FirestoreStore, name: str) -> dict[str, Any]:
    return fields_of((await store._client.get([name], 5.0))[name])


async def test_an_event_carries_the_time_of_its_deletion(scene: Scene) -> None:
    store = await scene.store()
    await store.save_event(event(1))
    fields = await stored(store, store._names.event("event-1"))
    assert fields["expireAt"] == datetime.fromtimestamp(NOW - 99, UTC) + timedelta(days=30)
    assert fields["schemaVersion"] == 1


async def test_events_come_back_newest_first_and_by_type_or_account(scene: Scene) -> None:
    store = await scene.store()
    kinds = (EventType.SESSION_ONLINE, EventType.BATCH_SAVED)
    events = [event(number, type=kinds[number % 2], account=(ACCOUNT, None)[number % 3 == 0]) for number in range(9)]
    for one in events:
        await store.save_event(one)
    assert await store.events(4) == events[:4:-1]
    assert await store.events(10, type=EventType.BATCH_SAVED) == events[7::-2]
    assert await store.events(10, account=ACCOUNT) == [one for one in reversed(events) if one.account]
    both = await store.events(1, type=EventType.BATCH_SAVED, account=ACCOUNT)
    assert both == [events[7]]
    assert await store.events(10, account=AccountId("a/b")) == []


async def test_an_expired_event_is_not_shown_while_it_waits_for_its_deletion(scene: Scene) -> None:
    store = await scene.store()
    await store.save_event(event(1, timestamp=NOW - 30 * 86_400 - 3600))
    await store.save_event(event(2, timestamp=NOW - 30 * 86_400 + 3600))
    assert [one.id for one in await store.events(10)] == ["event-2"]


async def test_the_same_event_again_is_success(scene: Scene) -> None:
    store = await scene.store()
    await store.save_event(event(1))
    await store.save_event(event(1, message="another"))
    assert [one.message for one in await store.events(10)] == ["event 1"]


@pytest.mark.parametrize("data", [{"grid": [[1, 2], [3]]}, {"": 1}, {"__x__": 1}, {"big": 2**70}, {"when": object}])
async def test_data_that_firestore_has_no_shape_for_comes_back_all_the_same(scene: Scene, data: dict[str, Any]) -> None:
    store = await scene.store()
    await store.save_event(event(1, data=data))
    [found] = await store.events(1)
    assert found.data == ({"when": str(object)} if "when" in data else data)


async def test_an_event_that_can_never_be_kept_says_so(scene: Scene) -> None:
    store = await scene.store()
    with pytest.raises(PoisonMessage):
        await store.save_event(event(1, message="x" * 1_100_000))


async def test_saving_an_account_leaves_what_the_operator_put_there(scene: Scene) -> None:
    store = await scene.store()
    name = store._names.account(ACCOUNT)
    account = Account(ACCOUNT, Number("+12025550101"), "Shop", 1_795_000_000.5)
    await store.save_account(account)
    await _set_owner(store, name)
    await store.save_account(Account(ACCOUNT, Number("+12025550101"), "New shop", 1_795_000_000.5))
    assert await stored(store, name) == {
        "schemaVersion": 1,
        "id": ACCOUNT,
        "phone": "+12025550101",
        "name": "New shop",
        "createdAtMs": 1_795_000_000_500,
        "owner": "uid-1",
    }


async def _set_owner(store: FirestoreStore, name: str) -> None:
    from tandem.store.firestore.documents import merge  # noqa: PLC0415 - the operator's act, no part of the store

    await store._client.commit([merge(name, {"owner": "uid-1"})], 5.0)


async def test_a_day_has_one_report_the_first(scene: Scene) -> None:
    store = await scene.store()
    incident = {"began": 1.5, "ended": None, "cause": "both slots were killed", "recovered": 2}
    report = {
        "version": 1,
        "date": "2026-03-03",
        "accounts": [{"account": "a", "uptime": None, "incidents": [incident]}],
    }
    assert await store.report("2026-03-03") is None
    assert await store.save_report("2026-03-03", report)
    assert not await store.save_report("2026-03-03", {"version": 1})
    assert await store.report("2026-03-03") == report
