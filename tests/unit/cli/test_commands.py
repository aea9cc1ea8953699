from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

import pytest

import tandem.demo
from tandem.cli import client, main, pairing
from tandem.errors import DataUnusable, Misconfigured
from tandem.model.event import EventType
from tandem.model.outage import Outage
from tandem.model.states import SessionState, Slot
from tandem.policy.alert_rules import RULES, Finding
from tandem.policy.alerting import Alert, Phase
from unit.api.twins import CODE, QR
from unit.api.world import ADMIN, PHONE, READER, World, settings
from unit.cli.daemon import Running, running

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    with running(World(settings())) as daemon:
        monkeypatch.setenv("TANDEM_URL", daemon.url)
        monkeypatch.setenv("TANDEM_API_TOKEN", ADMIN)
        monkeypatch.setattr(pairing, "_EVERY", 0.02)
        yield daemon


def run(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


class TestCheck:
    def test_healthy_degraded_and_down(self, daemon: Running, capsys: Capture) -> None:
        assert run(capsys, "check")[:2] == (0, "healthy: no accounts yet\n")
        account = daemon.do(daemon.world.add())
        assert run(capsys, "check", daemon.url)[:2] == (1, "degraded: of 1 account 1 offline\n")
        for slot in Slot:
            daemon.call(daemon.world.accounts.go_online, account, slot)
        assert run(capsys, "check")[:2] == (0, "healthy: 1 account online\n")
        for slot in Slot:
            view = replace(daemon.world.accounts.get(account).slot(slot), state=SessionState.WAITING)
            daemon.call(daemon.world.accounts.put, account, view)
        assert run(capsys, "check")[0] == 2
        daemon.world.not_ready = "stopping"
        assert run(capsys, "check")[:2] == (1, "degraded: not ready, stopping\n")

    def test_json(self, daemon: Running, capsys: Capture) -> None:
        code, out, _ = run(capsys, "check", "--json")
        verdict = json.loads(out)
        assert code == 0
        assert verdict["status"] == "healthy"
        assert verdict["accounts"]["total"] == 0
        assert verdict["url"] == daemon.url.rstrip("/")

    def test_live_asks_for_life_only(self, daemon: Running, capsys: Capture) -> None:
        daemon.do(daemon.world.add())
        assert run(capsys, "check", "--live")[0] == 0

    def test_nobody_there_is_down(self, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PORT", "9")
        for arguments in (("check",), ("check", "--live")):
            code, out, _ = run(capsys, *arguments)
            assert code == 2
            assert "127.0.0.1:9" in out
            assert "is the daemon running?" in out

    def test_something_else_there_is_down(self, daemon: Running, capsys: Capture) -> None:
        assert run(capsys, "check", f"{daemon.url}dashboard/app.css?")[0] == 2

    def test_a_wrong_call_is_not_down(self, capsys: Capture) -> None:
        code, _, err = run(capsys, "check", "ftp://example.org")
        assert code == 3
        assert "http://HOST:PORT" in err
        code, out, _ = run(capsys, "check", "--nagios", "ftp://example.org")
        assert code == 3
        assert out.startswith("TANDEM UNKNOWN - ftp://example.org is no address")
        assert run(capsys, "check", "--nagiso")[0] == 3

    def test_firing_alerts_are_named_and_degrade(self, daemon: Running, capsys: Capture) -> None:
        account = daemon.do(daemon.world.add())
        for slot in Slot:
            daemon.call(daemon.world.accounts.go_online, account, slot)
        for number, (rule, subject) in enumerate(
            (("disk_low", ""), ("slot_stopped", f"{account}/backup"), ("dead_letters", ""), ("queue_old", ""))
        ):
            daemon.world.alerts.append(Alert(Finding(RULES[rule], "words", subject), Phase.FIRING, number))
        code, out, _ = run(capsys, "check")
        assert code == 1
        assert out == (
            f"degraded: 1 account online; firing: disk_low, slot_stopped [{account}/backup], dead_letters and 1 more\n"
        )
        assert [each["rule"] for each in json.loads(run(capsys, "check", "--json")[1])["alerts"]][:1] == ["disk_low"]

    def test_nagios_reads_status_and_figures(self, daemon: Running, capsys: Capture) -> None:
        account = daemon.do(daemon.world.add())
        for slot in Slot:
            daemon.call(daemon.world.accounts.go_online, account, slot)
        figures = "accounts=1;;;0 online=1;;;0 degraded=0;;;0 offline=0;;;0 alerts=0;;;0"
        assert run(capsys, "check", "--nagios")[:2] == (0, f"TANDEM OK - 1 account online | {figures}\n")
        daemon.world.alerts.append(Alert(Finding(RULES["disk_low"], "words"), Phase.FIRING, 1.0))
        code, out, _ = run(capsys, "check", "--nagios")
        assert code == 1
        assert out.startswith("TANDEM WARNING - 1 account online; firing: disk_low | ")
        code, out, _ = run(capsys, "check", "--nagios", "http://127.0.0.1:9")
        assert code == 2
        assert out.startswith("TANDEM CRITICAL - nothing answers at http://127.0.0.1:9")

    def test_who_may_not_read_gets_the_public_health(self, capsys: Capture) -> None:
        with running(World(settings(api_token=ADMIN))) as daemon:
            daemon.world.alerts.append(Alert(Finding(RULES["disk_low"], "words"), Phase.FIRING, 1.0))
            assert run(capsys, "check", daemon.url)[:2] == (0, "healthy: no accounts yet\n")
            code, out, _ = run(capsys, "check", daemon.url, "--token", "wrong")
            assert code == 1
            assert out.startswith("degraded: no accounts yet (alerts unknown: this token is not known here")
            assert run(capsys, "check", daemon.url, "--token", ADMIN)[0] == 1


class TestAccounts:
    def test_add_list_show(self, daemon: Running, capsys: Capture) -> None:
        code, out, _ = run(capsys, "accounts", "add", "+1 202 555 0123", "--name", "Desk")
        assert code == 0
        (account,) = daemon.world.accounts.views
        assert account in out
        assert run(capsys, "accounts", "list")[1].splitlines()[1].split()[:3] == [account, "Desk", PHONE]
        daemon.call(daemon.world.accounts.go_online, account, Slot.PRIMARY)
        daemon.world.outages.append(Outage(account, 1_700_000_000.0, "both slots were killed", 1_700_000_001.5, 2))
        shown = run(capsys, "accounts", "show", PHONE)[1]
        assert "1.5 s: both slots were killed" in shown
        assert "online (active), ping 42 ms" in shown
        assert "sending  normal" in shown
        assert json.loads(run(capsys, "accounts", "show", account, "--json")[1])["id"] == account
        assert json.loads(run(capsys, "accounts", "list", "--json")[1])[0]["id"] == account
        assert json.loads(run(capsys, "accounts", "add", PHONE, "--json")[1])["id"] == account

    def test_an_empty_list_says_how_to_begin(self, daemon: Running, capsys: Capture) -> None:
        assert daemon.url
        assert "accounts add" in run(capsys, "accounts", "list")[1]

    def test_switch_and_remove(self, daemon: Running, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
        account = daemon.do(daemon.world.add())
        code, _, err = run(capsys, "accounts", "switch", account)
        assert (code, err) == (1, "tandem: the backup is not paired, so it cannot send\n")
        for slot in Slot:
            daemon.call(daemon.world.accounts.go_online, account, slot)
        assert "backup   online (active)" in run(capsys, "accounts", "switch", account)[1]
        assert "backup   connecting" in run(capsys, "accounts", "restart", account, "--slot", "backup")[1]
        monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
        assert run(capsys, "accounts", "remove", account)[0] != 0
        assert account in daemon.world.accounts.views
        assert run(capsys, "accounts", "remove", account, "--yes")[:2] == (0, "Front desk is removed.\n")

    def test_mistakes_are_one_line(self, daemon: Running, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
        assert daemon.url
        assert run(capsys, "accounts", "show", "nobody")[2].startswith("tandem: neither")
        assert run(capsys, "accounts", "show", "0" * 16)[0] == 1
        assert "country code" in run(capsys, "accounts", "add", "12")[2]
        assert "admin token" in run(capsys, "accounts", "add", PHONE, "--token", READER)[2]
        monkeypatch.setenv("TANDEM_API_TOKEN", "wrong")
        code, _, err = run(capsys, "accounts", "list")
        assert (code, err.count("\n")) == (1, 1)
        assert "TANDEM_API_TOKEN" in err
        assert "wrong" not in err

    def test_pair_draws_each_qr_until_it_is_scanned(self, daemon: Running, capsys: Capture) -> None:
        account = daemon.do(daemon.world.add())
        daemon.call(daemon.world.accounts.go_online, account, Slot.PRIMARY)
        accounts = daemon.world.accounts

        def phone() -> None:
            while accounts.get(account).slot(Slot.BACKUP).pairing is None:
                time.sleep(0.05)
            daemon.call(accounts.show_code, account, Slot.BACKUP, QR)
            time.sleep(0.2)
            daemon.call(accounts.show_code, account, Slot.BACKUP, QR + "2")
            time.sleep(0.2)
            daemon.call(accounts.go_online, account, Slot.BACKUP)

        thread = threading.Thread(target=phone)
        thread.start()
        code, out, err = run(capsys, "accounts", "pair", account)
        thread.join()
        assert (code, err) == (0, "")
        assert out.count("Linked devices") == 2
        assert "The backup device is linked (online). The phone lists it as Tandem backup." in out
        assert QR not in out

    def test_pair_by_code_shows_it_and_gives_up_in_words(self, daemon: Running, capsys: Capture) -> None:
        account = daemon.do(daemon.world.add())
        accounts = daemon.world.accounts
        daemon.call(accounts.go_online, account, Slot.PRIMARY)

        def phone() -> None:
            while accounts.get(account).slot(Slot.BACKUP).pairing is None:
                time.sleep(0.05)
            daemon.call(accounts.show_code, account, Slot.BACKUP, CODE)
            time.sleep(0.2)
            view = accounts.get(account).slot(Slot.BACKUP)
            over = replace(view, pairing=None, state=SessionState.UNPAIRED, reason="nobody typed it")
            daemon.call(accounts.put, account, over)

        thread = threading.Thread(target=phone)
        thread.start()
        code, out, err = run(capsys, "accounts", "pair", PHONE, "--slot", "backup", "--method", "code")
        thread.join()
        assert code == 1
        assert CODE in out
        assert "nobody typed it" in err


class TestEvents:
    def test_oldest_first_in_words_or_json(self, daemon: Running, capsys: Capture) -> None:
        account = daemon.do(daemon.world.add())
        out = run(capsys, "events")[1].splitlines()
        assert ["account_added" in out[0], "pairing_started" in out[1]] == [True, True]
        assert account in out[0]
        assert "Account added" in out[0]
        lines = run(capsys, "events", "--json", "--type", "account_added", "--limit", "5")[1].splitlines()
        assert [json.loads(line)["type"] for line in lines] == ["account_added"]
        assert "one of" in run(capsys, "events", "--type", "nothing")[2]

    def test_follow_goes_on_until_the_daemon_ends(self, daemon: Running, capsys: Capture) -> None:
        def happen() -> None:
            time.sleep(0.3)
            daemon.call(daemon.world.events, EventType.ALERT, "Something is wrong")
            time.sleep(0.2)
            daemon.do(daemon.world.server.stop())

        thread = threading.Thread(target=happen)
        thread.start()
        out = run(capsys, "events", "--follow")[1]
        thread.join()
        assert "Something is wrong" in out


class TestRun:
    @pytest.fixture
    def started(self, monkeypatch: pytest.MonkeyPatch) -> list[object]:
        seen: list[object] = []
        fake = ModuleType("tandem.daemon")

        def start(settings: object) -> int:
            seen.append(settings)
            return 7

        fake.main = start  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "tandem.daemon", fake)
        return seen

    def test_options_become_settings(
        self, started: list[object], capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TANDEM_API__MAX_ACCOUNTS", "9")
        monkeypatch.setenv("TANDEM_URL", "http://somewhere")
        options = ["--port", "0", "--data-dir", "/tmp/x", "--store", "sqlite", "--emulator", "localhost:7700"]  # noqa: S108
        code, _, err = run(capsys, "run", *options, "--host", "127.0.0.1", "--log-level", "debug")
        assert (code, err) == (7, "")
        (got,) = started
        assert got.port == 0  # type: ignore[attr-defined]
        assert got.emulator == "127.0.0.1:7700"  # type: ignore[attr-defined]
        assert got.api.host == "127.0.0.1"  # type: ignore[attr-defined]
        assert got.api.max_accounts == 9  # type: ignore[attr-defined]
        assert got.log.level == "debug"  # type: ignore[attr-defined]

    def test_without_options_the_environment_counts(
        self, started: list[object], capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PORT", "6001")
        run(capsys, "run")
        assert started[0].port == 6001  # type: ignore[attr-defined]

    @pytest.mark.parametrize(("error", "code"), [(Misconfigured("fix it"), 2), (DataUnusable("full"), 3)])
    def test_errors_are_one_line_and_their_own_code(
        self, monkeypatch: pytest.MonkeyPatch, capsys: Capture, error: Exception, code: int
    ) -> None:
        fake = ModuleType("tandem.daemon")

        def start(_settings: object) -> int:
            raise error

        fake.main = start  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "tandem.daemon", fake)
        assert run(capsys, "run") == (code, "", f"tandem: {error}\n")

    def test_a_wrong_setting_is_one_line(
        self, started: list[object], capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PORT", "70000")
        code, _, err = run(capsys, "run")
        assert (code, started) == (2, [])
        assert "PORT" in err
        assert "Traceback" not in err

    def test_demo_is_told_its_options(self, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
        seen: list[tandem.demo.DemoOptions] = []

        def show(options: tandem.demo.DemoOptions) -> int:
            seen.append(options)
            return 1

        monkeypatch.setattr(tandem.demo, "main", show)
        assert run(capsys, "demo", "--accounts", "2", "--rate", "5", "--duration", "9", "--chaos", "--json")[0] == 1
        assert seen == [tandem.demo.DemoOptions(2, 5.0, 9.0, True, True, "sqlite", None)]


@pytest.mark.parametrize(
    "command",
    [[], ["run"], ["demo"], ["check"], ["events"], ["accounts"], *(["accounts", each] for each in ("add", "list"))]
    + [["accounts", each] for each in ("show", "pair", "switch", "restart", "remove")]
    + [["dead-letters"], *(["dead-letters", each] for each in ("list", "show", "replay", "drop"))],
)
def test_every_help_reads_well(command: list[str], capsys: Capture) -> None:
    code, out, _ = run(capsys, *command, "--help")
    assert code == 0
    assert "Usage:" in out
    assert "None" not in out


def test_version(capsys: Capture) -> None:
    assert run(capsys, "--version")[1].startswith("tandem ")


def test_an_unknown_command_is_a_usage_error(capsys: Capture) -> None:
    assert run(capsys, "simulate")[0] == 2


def test_help_needs_nothing_heavy() -> None:
    heavy = "import sys; from tandem.cli import main; main(['--help']); print(sorted(set(sys.modules) & set(%r)))"
    modules = ["aiohttp", "pydantic", "structlog", "segno", "neonize", "phonenumbers", "prometheus_client"]
    done = subprocess.run([sys.executable, "-c", heavy % modules], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_client_goes_through_no_proxy_to_this_machine(daemon: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert client.Client(daemon.url, ADMIN).get("/livez") == {"status": "alive"}
