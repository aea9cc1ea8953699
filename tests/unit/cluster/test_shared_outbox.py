"""The outbox of several instances: accepted anywhere, sent by one, settled by evidence after a takeover."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tandem.cluster.outbox_port import Stamp
from tandem.errors import Conflict, InstancePassive, NotFound, Overloaded, Rejected, StoreUnavailable
from tandem.model.event import EventType
from tandem.model.outbox import SendOutcome, Text, Wanted
from tandem.model.states import OutboxState, Slot
from tandem.policy.shared_outbox import INTERRUPTED
from unit.cluster.outbox_scene import Scene, on_scene
from unit.queue.parts import ACCOUNT, ANN, BOB, accept_text, text_of

Act = Callable[[Scene], Awaitable[None]]
SOON = 0.5


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Act], None]:
    return lambda act: on_scene(tmp_path, act)


Play = Callable[[Act], None]


def test_what_one_accepts_the_other_sends(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        await asyncio.sleep(2)
        roused: list[str] = []
        scene.here.shared.claiming.subscribe(roused.append)
        row = await scene.there.accept("hello", "key")
        await asyncio.sleep(SOON)
        assert roused == [ACCOUNT]
        (found,) = await scene.here.sendable()
        assert found == row
        await scene.here.send(found)
        await asyncio.sleep(SOON)
        assert scene.says(row) == (OutboxState.SENT, Stamp(scene.here.id, 1))
        assert (await scene.there.shared.get(row.id)).message_id == f"3EB0{row.id[-8:]}"
        assert await scene.there.local(row) is None
        assert scene.ground.commits == 3  # accepted, claimed, sent

    play(act)


def test_each_row_has_a_secret_of_its_own_that_goes_with_it(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        rows = [await each.accept("hello") for each in (scene.here, scene.there)]
        assert len({row.secret for row in rows}) == 2
        await asyncio.sleep(SOON)
        for row in rows:
            found = await scene.here.local(row)
            assert found is not None
            assert (found.secret, len(found.secret)) == (row.secret, 32)

    play(act)


def test_nothing_is_sent_before_the_account_is_taken_up(play: Play) -> None:
    async def act(scene: Scene) -> None:
        row = await scene.here.accept("hello")
        await asyncio.sleep(SOON)
        assert await scene.here.sendable() == []
        await scene.here.acquire(1)
        assert [each.id for each in await scene.here.sendable()] == [row.id]

    play(act)


def test_order_is_kept_over_instances_and_takeovers(play: Play) -> None:
    async def act(scene: Scene) -> None:
        texts = [f"{number}" for number in range(8)]
        for number, text in enumerate(texts):
            await (scene.here, scene.there)[number % 2].accept(text)
            await asyncio.sleep(0.01)
        await scene.here.acquire(1)
        sent = []
        for _ in range(4):
            (row,) = await scene.here.sendable()
            sent.append(text_of(row))
            await scene.here.send(row)
        await scene.here.release()
        await scene.there.acquire(2)
        while rows := await scene.there.sendable():
            sent.append(text_of(rows[0]))
            await scene.there.send(rows[0])
        assert sent == texts

    play(act)


@pytest.mark.parametrize("begins", [0.0, 0.05, 0.25, 0.45])
def test_what_is_accepted_while_the_account_is_taken_up_comes_after_what_was_accepted_before(
    play: Play, begins: float
) -> None:
    """On a slow way to Firestore one who writes one message after the other goes on as the account is taken up here."""

    async def act(scene: Scene) -> None:
        texts = [f"{number}" for number in range(12)]
        for text in texts[:4]:
            await scene.there.accept(text)
            await asyncio.sleep(0.01)
        scene.there.weather.slow = 0.1

        async def go_on() -> None:
            for text in texts[4:]:
                await scene.there.accept(text)

        writing = asyncio.create_task(go_on())
        await asyncio.sleep(begins)
        await scene.there.acquire(1)
        await writing
        scene.there.weather.slow = 0.0
        sent = []
        for _ in texts:
            (row,) = await scene.there.sendable()
            sent.append(text_of(row))
            await scene.there.send(row)
        assert sent == texts

    play(act)


def test_a_key_is_one_message_at_all_instances(play: Play) -> None:
    async def act(scene: Scene) -> None:
        row = await scene.here.accept("hello", "key")
        assert await scene.there.accept("hello", "key") == row
        with pytest.raises(Conflict):
            await scene.there.accept("other", "key")
        assert len(scene.ground.rows) == 1

    play(act)


def test_a_lost_answer_to_accepting_costs_nothing(play: Play) -> None:
    async def act(scene: Scene) -> None:
        scene.here.weather.lose = 1
        row = await scene.here.accept("hello")
        assert [seen.row.id for seen in scene.ground.rows.values()] == [row.id]

    play(act)


@pytest.mark.parametrize("slow", [0.0, 1e9])
def test_without_firestore_nothing_is_accepted_and_that_is_said_in_time(play: Play, slow: float) -> None:
    async def act(scene: Scene) -> None:
        scene.here.weather.cut, scene.here.weather.slow = True, slow
        began = scene.here.clock.monotonic()
        with pytest.raises(StoreUnavailable, match="Idempotency-Key"):
            await scene.here.accept("hello")
        assert scene.here.clock.monotonic() - began <= 5.0
        scene.here.weather.slow = 0.0

    play(act)


def test_the_backlog_is_bounded_where_the_account_runs(play: Play) -> None:
    async def act(scene: Scene) -> None:
        scene.here.queue.outbox._max_backlog = 2
        await scene.here.acquire(1)
        await scene.here.accept("1")
        await scene.here.accept("2")
        with pytest.raises(Overloaded):
            await scene.here.accept("3")
        await scene.there.accept("3")

    play(act)


def test_what_is_no_text_is_refused(play: Play) -> None:
    async def act(scene: Scene) -> None:
        with pytest.raises(Rejected):
            await scene.here.accept("\ud800")

    play(act)


def test_a_send_under_way_at_a_crash_is_unknown_to_the_next_and_never_offered(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        row = await scene.here.accept("hello")
        await scene.here.shared.claiming.mark_sending(row.id, Slot.BACKUP)
        await scene.here.stop()
        await scene.there.acquire(2)
        found = await scene.there.local(row)
        assert found is not None
        assert (found.state, found.reason, found.attempts) == (OutboxState.UNKNOWN, INTERRUPTED, 1)
        assert (found.foreign_since, found.foreign_attempts) == (scene.there.clock.now(), 1)
        assert await scene.there.sendable() == []
        await asyncio.sleep(SOON)
        assert scene.says(row) == (OutboxState.UNKNOWN, Stamp(scene.there.id, 2))
        assert scene.there.told.of(EventType.MESSAGE_SEND_UNKNOWN)
        await scene.here.boot()

    play(act)


def test_an_echo_that_came_before_the_row_settles_it_as_it_comes(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        row = await scene.here.accept("hello")
        await scene.here.shared.claiming.mark_sending(row.id, Slot.BACKUP)
        await scene.there.echo(row, "3EB0E1")
        await scene.there.receipt("3EB0E1")
        scene.here.rights.clear()
        await scene.there.acquire(2)
        found = await scene.there.local(row)
        assert found is not None
        assert (found.state, found.message_id) == (OutboxState.DELIVERED, "3EB0E1")
        await asyncio.sleep(SOON)
        assert scene.says(row)[0] is OutboxState.DELIVERED
        assert len(scene.there.told.of(EventType.MESSAGE_SENT)) == 1

    play(act)


def test_one_instance_alone_keeps_no_early_echoes(play: Play) -> None:
    async def act(scene: Scene) -> None:
        row = await scene.there.accept("hello")
        scene.here.queue.outbox.shared = False
        for instance in (scene.here, scene.there):
            await instance.echo(row)
        counts = [
            await each.queue.database.read(lambda c: c.execute("SELECT count(*) FROM early_echoes").fetchone()[0])
            for each in (scene.here, scene.there)
        ]
        assert counts == [0, 1]

    play(act)


def test_early_echoes_are_forgotten_after_two_days(play: Play) -> None:
    async def act(scene: Scene) -> None:
        row = await scene.there.accept("hello")
        await scene.here.echo(row)
        await asyncio.sleep(49 * 3600)
        await scene.here.queue.outbox.prune()
        count = await scene.here.queue.database.read(
            lambda connection: connection.execute("SELECT count(*) FROM early_echoes").fetchone()[0]
        )
        assert count == 0

    play(act)


def test_released_rows_are_written_up_and_forgotten(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        sent, under_way, waiting = [
            await scene.here.accept(text, chat=chat) for text, chat in zip("123", CHATS, strict=True)
        ]
        await scene.here.send(sent)
        await scene.here.shared.claiming.mark_sending(under_way.id, Slot.PRIMARY)
        await scene.here.release()
        assert [scene.says(row)[0] for row in (sent, under_way, waiting)] == [
            OutboxState.SENT,
            OutboxState.UNKNOWN,
            OutboxState.QUEUED,
        ]
        assert [await scene.here.local_state(row) for row in (sent, under_way, waiting)] == [
            OutboxState.SENT,
            None,
            None,
        ]
        assert scene.here.queue.outbox.depth == 0

    play(act)


CHATS = [ANN, BOB, type(ANN)("12025550103@s.whatsapp.net")]


def test_handing_over_takes_a_second_at_most(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        row = await scene.here.accept("hello")
        await scene.here.shared.claiming.mark_sending(row.id, Slot.PRIMARY)
        scene.here.weather.slow = 60.0
        began = scene.here.clock.monotonic()
        await scene.here.release()
        assert scene.here.clock.monotonic() - began <= 1.01
        assert await scene.here.local(row) is None
        scene.here.weather.slow = 0.0

    play(act)


def test_after_a_loss_nothing_is_written_but_proof(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        row, other = await scene.here.accept("hello"), await scene.here.accept("ho", chat=BOB)
        await scene.here.shared.claiming.mark_sending(row.id, Slot.PRIMARY)
        await scene.here.shared.claiming.mark_sending(other.id, Slot.PRIMARY)
        scene.here.weather.cut = True
        await scene.here.record(row, SendOutcome.ACCEPTED, "3EB0AC")
        await scene.here.record(other, SendOutcome.NOT_SENT, "")
        await scene.here.release(lost=True)
        await scene.there.acquire(2)
        assert await scene.there.local_state(row) is OutboxState.UNKNOWN
        scene.here.weather.cut = False
        await asyncio.sleep(20)
        assert scene.says(row)[0] is OutboxState.SENT
        assert scene.says(other) == (OutboxState.UNKNOWN, Stamp(scene.there.id, 2))
        assert await scene.there.local_state(row) is OutboxState.SENT
        assert await scene.here.local(other) is None

    play(act)


def test_a_claim_needs_a_right_that_lasts(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        row = await scene.here.accept("hello")
        scene.here.grant(1, 1.9)
        with pytest.raises(InstancePassive):
            await scene.here.sendable()
        with pytest.raises(InstancePassive):
            await scene.here.shared.claiming.mark_sending(row.id, Slot.PRIMARY)
        scene.here.grant(2)  # a lease under which nothing was taken up
        with pytest.raises(InstancePassive):
            await scene.here.shared.claiming.mark_sending(row.id, Slot.PRIMARY)
        assert scene.says(row) == (OutboxState.QUEUED, Stamp())
        assert await scene.here.local_state(row) is OutboxState.QUEUED

    play(act)


def test_what_was_claimed_too_late_is_not_sent(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1, 10.0)
        row = await scene.here.accept("hello")
        scene.here.grant(1, 3.0)
        scene.here.weather.slow = 1.5
        with pytest.raises(InstancePassive):
            await scene.here.shared.claiming.mark_sending(row.id, Slot.PRIMARY)
        assert await scene.here.local_state(row) is OutboxState.QUEUED
        scene.here.weather.slow = 0.0
        scene.here.grant(1)
        await scene.here.release()
        assert scene.says(row)[0] is OutboxState.QUEUED

    play(act)


def test_a_claim_whose_answer_was_lost_is_made_again(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        row = await scene.here.accept("hello")
        scene.here.weather.lose = 1
        with pytest.raises(StoreUnavailable):
            await scene.here.shared.claiming.mark_sending(row.id, Slot.PRIMARY)
        assert scene.says(row)[0] is OutboxState.SENDING
        assert await scene.here.local_state(row) is OutboxState.QUEUED
        await scene.here.send(row)
        await asyncio.sleep(SOON)
        assert scene.says(row)[0] is OutboxState.SENT

    play(act)


def test_a_late_claim_of_the_last_holder_is_not_sent_over(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        row = await scene.here.accept("hello")
        before = scene.document(row)
        scene.here.rights.clear()
        await scene.there.acquire(2)
        late = replace(before.row, state=OutboxState.SENDING)
        scene.ground.put(late, before.place, Stamp(scene.here.id, 1))
        with pytest.raises(Conflict):
            await scene.there.shared.claiming.mark_sending(row.id, Slot.PRIMARY)
        assert await scene.there.local_state(row) is OutboxState.UNKNOWN

    play(act)


def test_a_stale_holder_leaves_what_a_later_lease_has_changed(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        row = await scene.here.accept("hello")
        await scene.here.shared.claiming.mark_sending(row.id, Slot.PRIMARY)
        await scene.there.acquire(2)
        await asyncio.sleep(SOON)
        await scene.here.record(row, SendOutcome.NOT_SENT, "")
        await asyncio.sleep(SOON)
        assert scene.says(row) == (OutboxState.UNKNOWN, Stamp(scene.there.id, 2))
        assert scene.here.told.of(EventType.MESSAGE_SENT) == []

    play(act)


def test_acts_are_done_where_the_account_runs(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        row = await scene.there.accept("hello")
        with pytest.raises(InstancePassive):
            await scene.there.shared.cancel(row.id)
        cancelled = await scene.here.shared.cancel(row.id)
        assert cancelled.state is OutboxState.CANCELLED
        assert scene.says(row) == (OutboxState.CANCELLED, Stamp(scene.here.id, 1))
        assert await scene.here.sendable() == []
        with pytest.raises(Conflict):
            await scene.here.shared.cancel(row.id)
        with pytest.raises(NotFound):
            await scene.here.shared.cancel(f"{ACCOUNT}-0")

    play(act)


def test_an_unknown_one_is_given_up_or_sent_again_by_an_operator(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        rows = [await scene.here.accept("hello", chat=chat) for chat in (ANN, BOB)]
        for row in rows:
            await scene.here.send(row, SendOutcome.UNKNOWN)
        await asyncio.sleep(SOON)
        assert (await scene.here.shared.give_up(rows[0].id)).state is OutboxState.CANCELLED
        assert (await scene.here.shared.resend(rows[1].id)).state is OutboxState.QUEUED
        assert [scene.says(row)[0] for row in rows] == [OutboxState.CANCELLED, OutboxState.QUEUED]
        assert [row.id for row in await scene.here.sendable()] == [rows[1].id]

    play(act)


def test_proof_that_comes_as_somebody_gives_up_wins(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        row = await scene.here.accept("hello")
        await scene.here.send(row, SendOutcome.UNKNOWN)
        await asyncio.sleep(SOON)
        scene.here.weather.slow = 1.0
        given_up = asyncio.create_task(scene.here.shared.give_up(row.id))
        await asyncio.sleep(0.5)
        await scene.here.echo(row)
        assert (await given_up).state is OutboxState.SENT
        scene.here.weather.slow = 0.0
        await asyncio.sleep(3)
        assert scene.says(row)[0] is OutboxState.SENT

    play(act)


def test_cancelling_and_claiming_at_once_has_one_winner(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        for _ in range(5):
            row = await scene.here.accept("hello")
            claim = scene.here.shared.claiming.mark_sending(row.id, Slot.PRIMARY)
            results = await asyncio.gather(scene.here.shared.cancel(row.id), claim, return_exceptions=True)
            assert sum(isinstance(result, Conflict) for result in results) == 1
            state = scene.says(row)[0]
            assert state is (OutboxState.CANCELLED if isinstance(results[1], Conflict) else OutboxState.SENDING)
            assert await scene.here.local_state(row) is state

    play(act)


def test_a_restart_sends_nothing_by_itself_and_takes_up_where_it_was(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        waiting, under_way = await scene.here.accept("1"), await scene.here.accept("2", chat=BOB)
        await scene.here.shared.claiming.mark_sending(under_way.id, Slot.BACKUP)
        await scene.here.crash()
        assert await scene.here.sendable() == []
        await scene.here.acquire(2)
        assert [row.id for row in await scene.here.sendable()] == [waiting.id]
        found = await scene.here.local(under_way)
        assert found is not None
        assert (found.state, found.foreign_since, found.slot) == (OutboxState.UNKNOWN, 0.0, Slot.BACKUP)

    play(act)


def test_what_moved_before_a_crash_is_written_up_after_it(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        row = await scene.here.accept("1")
        await scene.here.shared.claiming.mark_sending(row.id, Slot.BACKUP)
        scene.here.weather.cut = True
        await scene.here.record(row, SendOutcome.REJECTED, "")
        await scene.here.crash()
        scene.here.weather.cut = False
        await scene.here.acquire(2)
        await asyncio.sleep(SOON)
        assert scene.says(row) == (OutboxState.FAILED, Stamp(scene.here.id, 2))

    play(act)


def test_what_the_other_sent_meanwhile_is_not_sent_again_after_a_crash(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        row = await scene.here.accept("1")
        unknown = await scene.here.accept("2", chat=BOB)
        await scene.here.send(unknown, SendOutcome.UNKNOWN)
        await asyncio.sleep(SOON)
        await scene.here.stop()
        await scene.there.acquire(2)
        (found,) = await scene.there.sendable()
        await scene.there.send(found)
        await scene.there.echo(unknown)
        await scene.there.release()
        await scene.here.boot()
        await scene.here.acquire(3)
        assert await scene.here.sendable() == []
        assert await scene.here.local_state(unknown) is OutboxState.SENT
        assert (await scene.here.shared.get(row.id)).state is OutboxState.SENT

    play(act)


def test_rows_from_before_the_sharing_get_documents(play: Play) -> None:
    async def act(scene: Scene) -> None:
        row, _ = await accept_text(scene.here.queue, ANN, "old", "key")
        await scene.here.acquire(1)
        await asyncio.sleep(SOON)
        assert scene.says(row)[0] is OutboxState.QUEUED
        assert scene.document(row).row.secret == row.secret
        assert (await scene.there.shared.get(row.id)).id == row.id
        assert len(scene.ground.keys) == 1
        await scene.here.release()
        await scene.there.acquire(2)
        (found,) = await scene.there.sendable()
        assert found.id == row.id

    play(act)


def test_what_expires_here_expires_for_all(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        row = await scene.there.accept("1", expires_in=10.0)
        await asyncio.sleep(11)
        await scene.here.queue.outbox.expire()
        await asyncio.sleep(SOON)
        assert scene.says(row)[0] is OutboxState.EXPIRED

    play(act)


def test_a_document_that_somebody_deleted_is_not_sent(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        row = await scene.here.accept("1")
        await scene.here.send(row, SendOutcome.UNKNOWN)
        await scene.here.crash()
        del scene.ground.rows[ACCOUNT, row.id]
        await scene.here.acquire(2)
        assert await scene.here.local_state(row) is OutboxState.CANCELLED

    play(act)


def test_lists_are_the_same_at_every_instance(play: Play) -> None:
    async def act(scene: Scene) -> None:
        rows = [await scene.here.accept(f"{number}", chat=CHATS[number % 2]) for number in range(9)]
        newest = [row.id for row in reversed(rows)]
        found, before = [], None
        while True:
            page, before = await scene.there.shared.page(Wanted(before=before), 4)
            found += [row.id for row in page]
            if before is None:
                break
        assert found == newest
        page, _ = await scene.there.shared.page(Wanted(ACCOUNT, chat=BOB), 4)
        assert [row.id for row in page] == newest[1::2]
        page, _ = await scene.there.shared.page(Wanted(ACCOUNT, state=OutboxState.SENT), 4)
        assert page == []
        with pytest.raises(NotFound):
            await scene.there.shared.get("no-such")

    play(act)


def test_taking_up_waits_for_firestore_while_the_right_lasts(play: Play) -> None:
    async def act(scene: Scene) -> None:
        row = await scene.there.accept("hello")
        scene.here.weather.cut = True
        taking = asyncio.create_task(scene.here.acquire(1, 60.0))
        await asyncio.sleep(20)
        assert not taking.done()
        scene.here.weather.cut = False
        await taking
        assert [each.id for each in await scene.here.sendable()] == [row.id]
        await scene.here.release()
        scene.here.weather.cut = True
        with pytest.raises(InstancePassive):
            await scene.here.acquire(2, 10.0)

    play(act)


def test_a_broken_watch_is_begun_again(play: Play) -> None:
    async def act(scene: Scene) -> None:
        await scene.here.acquire(1)
        await asyncio.sleep(2)
        scene.here.weather.cut = True
        row = await scene.there.accept("hello")
        await asyncio.sleep(5)
        assert await scene.here.local(row) is None
        scene.here.weather.cut = False
        await asyncio.sleep(30)
        assert await scene.here.local_state(row) is OutboxState.QUEUED
        assert text_of(row) == Text("hello").text

    play(act)
