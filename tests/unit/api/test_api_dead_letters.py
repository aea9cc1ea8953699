from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tandem.api.ports import About, Parts
from tandem.api.server import ApiServer
from tandem.errors import PoisonMessage, StoreUnavailable
from tandem.inbound.pipeline import Pipeline
from tandem.model.ids import AccountId, Jid
from tandem.model.message import DecodedReceipt, RawEvent
from tandem.model.states import Slot
from tandem.queue.dead_letters import encode_message
from tandem.queue.queue import Queue
from unit.api.twins import CountingRandom
from unit.api.world import ACCOUNT, ADMIN, READER, Api, World, message, serving, settings

OWNER = AccountId(ACCOUNT)
PATH = "/api/dead-letters"
KEYS = {"id", "kind", "reason", "account", "slot", "code", "arrivedAt", "createdAt"}


async def _body(api: Api, path: str) -> dict[str, Any]:
    response = await api("GET", path)
    body: dict[str, Any] = await response.json()
    assert response.status == 200, body
    return body


async def test_the_list_shows_no_content(api: Api) -> None:
    letters = api.world.letters
    letters.bury_event(OWNER, "events of number 99 are not known", b"canary-payload")
    letters.bury(message(OWNER, "canary text", 1_750_000_000_000))
    body = await _body(api, PATH)
    assert body == {
        "success": True,
        "deadLetters": [
            {
                "id": 1,
                "kind": "event",
                "reason": "events of number 99 are not known",
                "account": ACCOUNT,
                "slot": "backup",
                "code": 7,
                "arrivedAt": 1_749_999_995_000,
                "createdAt": 1_750_000_000_000,
            },
            {
                "id": 2,
                "kind": "message",
                "reason": "it is too large",
                "account": ACCOUNT,
                "slot": None,
                "code": None,
                "arrivedAt": 1_749_999_995_000,
                "createdAt": 1_750_000_000_000,
            },
        ],
        "next": None,
    }


async def test_pages_of_the_list_hold_every_letter_once(api: Api) -> None:
    wanted = [api.world.letters.bury_event(OWNER) for _ in range(7)]
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        body = await _body(api, f"{PATH}?limit=3&after={after}")
        seen += [letter["id"] for letter in body["deadLetters"]]
        after = body["next"]
    assert seen == wanted
    assert (await _body(api, f"{PATH}?limit=7"))["next"] is None
    assert len((await _body(api, f"{PATH}?limit=1000"))["deadLetters"]) == 7


async def test_a_messages_letter_is_shown_with_what_it_says(api: Api) -> None:
    dead = message(OWNER, "call +12025550144", 1_750_000_000_000)
    letter = api.world.letters.bury(dead)
    shown = (await _body(api, f"{PATH}/{letter}"))["deadLetter"]
    assert set(shown) == KEYS | {"size", "message", "raw"}
    assert shown["size"] == len(encode_message(dead))
    assert shown["raw"] is None
    assert shown["message"] == {
        "chat": "12025550188@s.whatsapp.net",
        "sender": "12025550188@s.whatsapp.net",
        "kind": "text",
        "timestamp": 1_750_000_000_000,
        "text": "call +12025550144",
    }


async def test_raw_bytes_come_only_when_asked_for(api: Api) -> None:
    letter = api.world.letters.bury_event(OWNER, payload=b"\x00\xffjunk")
    for query, raw in (("", None), ("?raw=false", None), ("?raw=true", b"\x00\xffjunk")):
        shown = (await _body(api, f"{PATH}/{letter}{query}"))["deadLetter"]
        assert (shown["size"], shown["message"]) == (6, None)
        assert shown["raw"] == (raw and base64.b64encode(raw).decode())


async def test_what_made_a_message_poison_does_not_keep_it_from_being_shown(api: Api) -> None:
    poison = replace(message(OWNER, "half \udc00 a pair", 2**70), sender="\ud800")
    letter = api.world.letters.bury(poison)
    shown = (await _body(api, f"{PATH}/{letter}"))["deadLetter"]
    assert shown["message"]["text"] == "half \\udc00 a pair"
    assert shown["message"]["sender"] == "\\ud800"
    assert shown["message"]["timestamp"] == 2**70


@pytest.mark.parametrize("payload", [b"", b"\xff", b"[]", b"7", b'{"text": "x"}', b'{"raw": "?"}'])
async def test_a_message_that_cannot_be_read_any_more_is_shown_without_it(api: Api, payload: bytes) -> None:
    letters = api.world.letters
    letter = letters.bury(message(OWNER, "x", 1))
    letters.letters[letter] = replace(letters.letters[letter], payload=payload)
    shown = (await _body(api, f"{PATH}/{letter}?raw=true"))["deadLetter"]
    assert shown["message"] is None
    assert base64.b64decode(shown["raw"]) == payload


async def test_replay_and_drop(api: Api) -> None:
    letters = api.world.letters
    first, second = letters.bury_event(OWNER), letters.bury(message(OWNER, "canary", 1))
    with capture_logs() as logs:
        response = await api("POST", f"{PATH}/{first}/replay")
        assert (response.status, await response.json()) == (200, {"success": True})
        response = await api("DELETE", f"{PATH}/{second}")
        assert (response.status, await response.json()) == (200, {"success": True})
    assert (letters.replayed, letters.letters) == ([first], {})
    told = [(line["event"], line["letter"]) for line in logs if "letter" in line]
    assert told == [("dead_letter_replayed", first), ("dead_letter_dropped", second)]
    assert "canary" not in str(logs)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (PoisonMessage("events of number 99 are not known"), "events of number 99 are not known"),
        (OverflowError("canary 12025550123"), "it cannot be queued (OverflowError)"),
        (sqlite3.IntegrityError("canary"), "it cannot be queued (IntegrityError)"),
        (UnicodeEncodeError("utf-8", "canary", 0, 1, "why"), "it cannot be queued (UnicodeEncodeError)"),
        (KeyError("canary"), "it cannot be queued (KeyError)"),
    ],
)
async def test_what_still_fails_is_409_with_the_reason_and_kept(api: Api, fault: Exception, reason: str) -> None:
    letters = api.world.letters
    letter = letters.bury_event(OWNER)
    letters.faults[letter] = fault
    with capture_logs() as logs:
        response = await api("POST", f"{PATH}/{letter}/replay")
    body = await response.json()
    assert (response.status, body["error"]) == (409, "poison_message")
    assert body["detail"].endswith(f"the letter is kept: {reason}")
    assert "canary" not in str(body) + str(logs)
    assert list(letters.letters) == [letter]


async def test_a_queue_that_refuses_is_503(api: Api) -> None:
    letter = api.world.letters.bury_event(OWNER)
    api.world.letters.faults[letter] = StoreUnavailable("the queue: the disk is full", 5.0)
    response = await api("POST", f"{PATH}/{letter}/replay")
    assert (response.status, response.headers["Retry-After"]) == (503, "5")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "{id}"), ("GET", "{id}?raw=true"), ("POST", "{id}/replay"), ("DELETE", "{id}")]
)
@pytest.mark.parametrize(
    ("identifier", "status"),
    [
        ("1", 404),
        ("0", 404),
        ("999999999999999", 404),
        ("one", 400),
        ("-1", 400),
        ("1.5", 400),
        ("²", 400),
        ("9" * 30, 400),
    ],
)
async def test_a_letter_that_is_not_there_is_404_and_no_number_400(
    api: Api, method: str, path: str, identifier: str, status: int
) -> None:
    response = await api(method, f"{PATH}/{path.format(id=identifier)}")
    body = await response.json()
    assert (response.status, body["error"]) == (status, {404: "not_found", 400: "invalid_request"}[status])
    assert response.content_type == "application/problem+json"


@pytest.mark.parametrize("query", ["?limit=0", "?limit=x", "?after=x", "?after=-1", "/1?raw=yes", "/1?raw="])
async def test_a_wrong_query_is_400(api: Api, query: str) -> None:
    api.world.letters.bury_event(OWNER)
    response = await api("GET", PATH + query)
    assert (response.status, (await response.json())["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("GET", "/1"), ("HEAD", "/1"), ("POST", "/1/replay"), ("DELETE", "/1")]
)
async def test_only_the_admin_token_will_do(api: Api, method: str, path: str) -> None:
    letter = api.world.letters.bury_event(OWNER)
    for token, status in ((None, 401), ("wrong", 401), (READER, 403)):
        assert (await api(method, PATH + path, token=token)).status == status
    assert list(api.world.letters.letters) == [letter]
    assert (await api(method, PATH + path)).status == 200


async def test_the_figures_count_them(api: Api) -> None:
    api.world.letters.bury_event(OWNER)
    response = await api("GET", "/metrics")
    assert "\n# TYPE tandem_dead_letters gauge\ntandem_dead_letters 1.0\n" in await response.text()
    assert (await _body(api, "/api/metrics"))["deadLetters"] == 1


async def test_the_other_figures_come_even_when_the_queue_cannot_say(api: Api) -> None:
    api.world.letters.broken = StoreUnavailable("the queue: it is closed")
    text = await (await api("GET", "/metrics")).text()
    assert "tandem_build_info" in text
    assert "tandem_dead_letters" not in text
    assert (await _body(api, "/api/metrics"))["deadLetters"] is None


async def test_openapi_describes_them(api: Api) -> None:
    document = await (await api("GET", "/openapi.json", token=None)).json()
    replay = document["paths"][PATH + "/{letter}/replay"]["post"]
    assert [(each["name"], each["in"], each["required"]) for each in replay["parameters"]] == [("letter", "path", True)]
    assert replay["parameters"][0]["schema"]["type"] == "integer"
    assert set(replay["responses"]) == {"200", "400", "401", "403", "404", "409", "500", "503"}
    assert replay["description"] == "Takes the admin token."


@dataclass
class Real:
    """The API on a queue and a pipeline as they are; ``understands`` is whether the decoder has learnt the event."""

    queue: Queue
    pipeline: Pipeline
    api: Api
    understands: bool = False
    receipt: DecodedReceipt | None = None

    def decode(self, _event: RawEvent) -> DecodedReceipt | None:
        """Learns in two steps: first to read the event, then what it is."""
        if not self.understands:
            raise PoisonMessage("events of number 99 are not known")
        return self.receipt


@pytest.fixture
async def real(tmp_path: Path) -> AsyncIterator[Real]:
    async with serving(settings()) as api:
        world, random = api.world, CountingRandom()
        queue = Queue(tmp_path, world.settings.queue, world.clock, random, world.events)
        pipeline = Pipeline(
            queue,
            lambda event: scene.decode(event),  # noqa: PLW0108 - it is made below
            lambda _: None,
            lambda _: None,
            clock=world.clock,
            random=random,
            publish=world.events,
        )
        parts = Parts(
            world.accounts, world.outgoing, queue.dead_letters, pipeline.replay, world.events, world.metrics,
            About("1", "", "real"),
        )  # fmt: skip
        server = ApiServer(world.settings, parts, world.store, world.clock, random)
        scene = Real(queue, pipeline, Api(_serves(world, server), api.session, ADMIN))
        await queue.open()
        await server.start()
        yield scene
        await server.stop()
        await queue.close()


def _serves(world: World, server: ApiServer) -> World:
    other = World(world.settings)
    other.server = server
    return other


async def test_a_real_letter_is_kept_until_it_is_understood(real: Real) -> None:
    await real.queue.dead_letters.bury_event(RawEvent(OWNER, Slot.BACKUP, 1, 1, 99, b"junk", 3.0), "not known")
    [letter] = (await _body(real.api, PATH))["deadLetters"]
    response = await real.api("POST", f"{PATH}/{letter['id']}/replay")
    assert (response.status, (await response.json())["error"]) == (409, "poison_message")
    assert await real.queue.dead_letters.count() == 1
    real.understands = True
    assert (await real.api("POST", f"{PATH}/{letter['id']}/replay")).status == 409
    contact = Jid("13035550100", "s.whatsapp.net")
    real.receipt = DecodedReceipt(("3EB0AA",), contact, contact, from_me=False, kind="read", timestamp=1)
    assert (await real.api("POST", f"{PATH}/{letter['id']}/replay")).status == 200
    assert await real.queue.dead_letters.count() == 0
    assert (await real.api("POST", f"{PATH}/{letter['id']}/replay")).status == 404


async def test_a_real_message_goes_back_to_the_queue(real: Real) -> None:
    dead = message(OWNER, "hello", 1_750_000_000_000)
    await _bury(real.queue, encode_message(dead))
    [letter] = (await _body(real.api, PATH))["deadLetters"]
    assert (await real.api("POST", f"{PATH}/{letter['id']}/replay")).status == 200
    [pending] = await real.queue.inbox.pending(1, lambda *_: True)
    assert pending.message == dead
    assert await real.queue.dead_letters.count() == 0


@pytest.mark.parametrize("payload", [b"junk", json.dumps({"raw": ""}).encode()])
async def test_a_real_message_that_is_none_is_kept(real: Real, payload: bytes) -> None:
    await _bury(real.queue, payload)
    [letter] = (await _body(real.api, PATH))["deadLetters"]
    assert (await real.api("POST", f"{PATH}/{letter['id']}/replay")).status == 409
    assert await real.queue.dead_letters.count() == 1


async def _bury(queue: Queue, payload: bytes) -> None:
    row = ("message", "too large", ACCOUNT, "", 0, payload, 3.0, 4.0, 0)
    columns = "kind, reason, account, slot, code, payload, arrived_at, created_at, seal"
    sql = f"INSERT INTO dead_letters ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - no input in it
    await queue.database.write(lambda connection: connection.execute(sql, row).lastrowid)
