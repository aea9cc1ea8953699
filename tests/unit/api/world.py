"""A whole API over real HTTP on loopback, on twins."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date

from aiohttp import ClientResponse, ClientSession, DummyCookieJar

from tandem.api.ports import About, Parts
from tandem.api.server import ApiServer
from tandem.clock import Random
from tandem.errors import NotFound
from tandem.model.ids import AccountId, ChatId, MessageKey, Number
from tandem.model.message import Message
from tandem.model.outage import Outage
from tandem.monitoring.events import EventStream
from tandem.monitoring.metrics import Metrics
from tandem.monitoring.sources import Sources, Traffic
from tandem.policy.alerting import Alert
from tandem.settings import Settings
from unit.api.cluster_twin import FakeCluster
from unit.api.twins import CountingRandom, FakeAccounts, FakeClock, FakeDeadLetters, FakeOutgoing, HangingStore

ADMIN = "admin-token-canary-5f1d"
READER = "reader-token-canary-77aa"
PHONE = "+12025550123"
ACCOUNT = "b9a1c5f0d2e34f67"


@dataclass
class World:
    settings: Settings
    clock: FakeClock = field(default_factory=FakeClock)
    random: Random = field(default_factory=CountingRandom)
    traffic: dict[AccountId, Traffic] = field(default_factory=dict)
    not_ready: str | None = None
    outages: list[Outage] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    reports: dict[date, Mapping[str, object]] = field(default_factory=dict)
    today: date = date(2025, 6, 15)

    def __post_init__(self) -> None:
        self.store = HangingStore(self.clock)
        self.events = EventStream(self.clock, self.random)
        self.accounts = FakeAccounts(self.clock, self.events)
        self.outgoing = FakeOutgoing(self.clock)
        self.letters = FakeDeadLetters(self.clock)
        sources = Sources(
            accounts=self.accounts.list,
            traffic=lambda: self.traffic,
            dead_letters=self.letters.count,
            alerts=lambda: self.alerts,
        )
        self.metrics = Metrics(sources, self.events, self.clock, version="1.2.3", commit="abc", instance="test-1")
        self.cluster = FakeCluster(self.clock)
        about = About("1.2.3", "abcdef0", "test-1", role=self.cluster.role)
        self.parts = Parts(
            accounts=self.accounts,
            outgoing=self.outgoing,
            dead_letters=self.letters,
            replay=self.letters.replay,
            events=self.events,
            figures=self.metrics,
            about=about,
            readiness=lambda: self.not_ready,
            outages=lambda _account: self.outages,
            alerts=lambda: self.alerts,
            report=self._report,
            today=lambda: self.today,
            cluster=self.cluster,
        )
        self.server = ApiServer(self.settings, self.parts, self.store, self.clock, self.random)

    async def _report(self, day: date) -> Mapping[str, object]:
        if day not in self.reports:
            raise NotFound("there is no report of that day")
        return self.reports[day]

    async def add(self, phone: str = PHONE, name: str = "Front desk") -> AccountId:
        view, _ = await self.accounts.add(name, Number(phone))
        return view.account.id


@dataclass
class Api:
    """A client of a world; every call is admin's unless it says otherwise."""

    world: World
    session: ClientSession
    token: str | None = ADMIN

    async def __call__(
        self, method: str, path: str, *, token: str | None = "", headers: dict[str, str] | None = None, **rest: object
    ) -> ClientResponse:
        headers = dict(headers or {})
        token = self.token if token == "" else token
        if token:
            headers.setdefault("Authorization", f"Bearer {token}")
        url = self.world.server.url.rstrip("/") + path
        response = await self.session.request(
            method,
            url,
            headers=headers,
            allow_redirects=False,
            **rest,  # type: ignore[arg-type]
        )
        await response.read()
        return response


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Api]:
    world = World(settings)
    await world.server.start()
    try:
        async with ClientSession(cookie_jar=DummyCookieJar()) as session:
            yield Api(world, session, ADMIN if settings.api_token else None)
    finally:
        await world.server.stop()


def settings(**changes: object) -> Settings:
    values: dict[str, object] = {
        "port": 0,
        "api_token": ADMIN,
        "read_token": READER,
        "api": {"host": "127.0.0.1", "max_body_bytes": 4096, "max_accounts": 3},
    }
    return Settings(**{**values, **changes})  # type: ignore[arg-type]


def message(account: AccountId, text: str, at: int, *, chat: str = "12025550188@s.whatsapp.net") -> Message:
    return Message(
        account=account,
        chat=ChatId(chat),
        key=MessageKey(f"3EB0{at}-in"),
        message_id=f"3EB0{at}",
        sender=chat,
        sender_name="Ada",
        recipient=f"{PHONE[1:]}@s.whatsapp.net",
        from_me=False,
        kind="text",
        text=text,
        has_media=False,
        reply_to="",
        timestamp=at,
        received_at=at,
        raw=b"",
    )
