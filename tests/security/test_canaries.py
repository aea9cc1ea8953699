"""Secrets pushed through the whole of API, events, metrics and logs, then looked for everywhere they must not be."""

from __future__ import annotations

import io
import logging
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog

from tandem.model.event import EventType
from tandem.model.ids import AccountId
from tandem.model.states import Slot
from tandem.model.views import PairMethod
from tandem.monitoring.logging import configure
from tandem.monitoring.redaction import Redactor
from tandem.settings import LogSettings
from unit.api.twins import CODE, QR
from unit.api.world import ADMIN, READER, Api, message, serving, settings

NUMBER = "+12025550142"
CONTACT = "12025550177"
TEXT = "canary-message-text-91c2"
CANARIES = (NUMBER[1:], "2025550142", CONTACT, "2025550177", TEXT, QR, QR[5:40], CODE, ADMIN, READER)


@pytest.fixture(params=["json", "console"])
def log(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    out = io.StringIO()
    configure(LogSettings(level="debug", format=request.param), Redactor([ADMIN, READER]), stream=out)
    yield out
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.fixture
async def api(log: io.StringIO) -> AsyncIterator[Api]:
    assert log is not None
    async with serving(settings()) as api:
        yield api


def _clean(told: str, where: str) -> None:
    for canary in CANARIES:
        assert canary not in told, f"{where} tells {canary[:6]}…"


async def _live_a_day(api: Api) -> AccountId:
    """Use everything, rightly and wrongly; return the account."""
    body = await (await api("POST", "/api/whatsapp/add-account", json={"phone": NUMBER})).json()
    account = AccountId(body["account"]["id"])
    accounts = api.world.accounts
    accounts.show_code(account, Slot.PRIMARY)
    await api("GET", f"/api/whatsapp/account/{account}/qr", headers={"Accept": "text/plain"})
    accounts.go_online(account, Slot.PRIMARY)
    await accounts.pair(account, Slot.BACKUP, PairMethod.CODE)
    accounts.show_code(account, Slot.BACKUP, CODE)
    await api("GET", f"/api/whatsapp/account/{account}/qr?slot=backup", headers={"Accept": "text/plain"})
    await api("POST", f"/api/whatsapp/account/{account}/pair", json={"slot": "backup", "method": "code"})
    await api.world.store.write([message(account, TEXT, 1, chat=f"{CONTACT}@s.whatsapp.net")])
    await api("GET", f"/api/whatsapp/messages/{account}/{CONTACT}")
    await api("POST", f"/api/whatsapp/send/{account}/{CONTACT}", json={"message": TEXT})
    return account


async def _go_wrong(api: Api, account: AccountId) -> list[str]:
    """Return what every mistake was answered with."""
    bodies = []
    for method, path, token, body in (
        ("POST", "/api/whatsapp/add-account", ADMIN, f'{{"phone": "{NUMBER}", "name": 5}}'),
        ("POST", "/api/whatsapp/add-account", ADMIN, f'{{"phone": "{NUMBER}1234567"}}'),
        ("POST", "/api/whatsapp/add-account", ADMIN, f'{{"phone": {NUMBER[1:]}}}'),
        ("POST", "/api/whatsapp/add-account", ADMIN, f"{TEXT} {QR}"),
        ("POST", f"/api/whatsapp/send/{account}/{CONTACT}x", ADMIN, f'{{"message": "{TEXT}"}}'),
        ("POST", f"/api/whatsapp/send/{account}/{CONTACT}", ADMIN, f'{{"massage": "{TEXT}"}}'),
        ("GET", f"/api/whatsapp/account/{CONTACT}", ADMIN, ""),
        ("GET", f"/api/whatsapp/{CONTACT}?token={ADMIN}", ADMIN, ""),
        ("GET", f"/api/events?account={NUMBER}", ADMIN, ""),
        ("GET", "/api/whatsapp/accounts", f"{ADMIN}x", ""),
        ("DELETE", f"/api/whatsapp/account/{account}", READER, ""),
    ):
        response = await api(method, path, token=token, data=body.encode())
        assert response.status >= 400
        bodies.append(await response.text() + str(response.headers))
    api.world.accounts.broken = RuntimeError(f"{NUMBER} {TEXT} {QR} {ADMIN} {CONTACT}@s.whatsapp.net")
    response = await api("POST", "/api/whatsapp/add-account", json={"phone": "+12025550100"})
    bodies.append(await response.text())
    return bodies


async def test_no_secret_is_told_anywhere(api: Api, log: io.StringIO) -> None:
    account = await _live_a_day(api)
    api.world.events(
        EventType.HOST_LOG,
        f"the library says {NUMBER} {QR}",
        account=account,
        reason=f"{CONTACT}:3@s.whatsapp.net",
        text=TEXT,
        code=CODE,
        token=ADMIN,
        line=f"Bearer {ADMIN} {CONTACT}",
    )
    api.world.events(EventType.ALERT, f"number {NUMBER}", account=account, body=TEXT, jid=f"{CONTACT}@lid")
    answers = await _go_wrong(api, account)
    for answer in answers:
        _clean(answer, "an error")
    for path in ("/health", "/readyz", "/metrics", "/api/metrics", "/api/events?limit=1000", "/openapi.json"):
        _clean(await (await api("GET", path)).text(), path)
    for path in (
        "/api/whatsapp/accounts",
        f"/api/whatsapp/account/{account}",
        "/dashboard/live",
        f"/accounts/{account}",
        "/events",
        "/report",
    ):
        _clean(await (await api("GET", path, token=READER)).text(), f"{path} for a reader")
    logged = log.getvalue()
    assert logged.count("http_request") > 20
    # An unforeseen error may carry anything in its text: numbers, QRs and tokens are taken out by their shape.
    for canary in CANARIES:
        if canary != TEXT:
            assert canary not in logged, f"the log tells {canary[:6]}…"
    before_the_unforeseen = logged.partition("internal_error")[0]
    assert TEXT not in before_the_unforeseen


async def test_a_request_line_never_holds_the_path_or_query(api: Api, log: io.StringIO) -> None:
    await api("GET", f"/api/whatsapp/messages/0123456789abcdef/{CONTACT}?secret={TEXT}")
    await api("GET", f"/nowhere/{CONTACT}")
    lines = [line for line in log.getvalue().splitlines() if "http_request" in line]
    assert "/api/whatsapp/messages/{account}/{chat}" in lines[0]
    assert "unmatched" in lines[1]
    _clean("\n".join(lines), "the log")


def test_settings_do_not_show_their_secrets() -> None:
    made = settings(firebase_service_account="canary-service-account")
    for shown in (repr(made), str(made), made.model_dump_json()):
        assert ADMIN not in shown
        assert "canary-service-account" not in shown
