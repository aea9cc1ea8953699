from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tandem.cli import main
from tandem.model.outbox import Text
from tandem.model.states import OutboxState
from unit.api.twins import FakeOutgoing
from unit.api.world import ADMIN, PHONE, READER, World, settings
from unit.cli.daemon import Running, running

Capture = pytest.CaptureFixture[str]
ADA = "+12025550188"


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """With one account."""
    with running(World(settings())) as up:
        monkeypatch.setenv("TANDEM_URL", up.url)
        monkeypatch.setenv("TANDEM_API_TOKEN", ADMIN)
        up.do(up.world.add())
        yield up


@pytest.fixture
def rows(daemon: Running) -> FakeOutgoing:
    return daemon.world.outgoing


def run(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def becomes(outgoing: FakeOutgoing, identity: str, state: OutboxState) -> None:
    outgoing.rows[identity] = replace(outgoing.rows[identity], state=state)


class TestSend:
    def test_a_text_is_accepted_and_its_id_told(self, rows: FakeOutgoing, capsys: Capture) -> None:
        code, out, err = run(capsys, "send", PHONE, ADA, "hello there")
        assert (code, err) == (0, "")
        assert out.startswith("Message outbox0 is queued: the account is not paired yet")
        (row,) = rows.rows.values()
        assert (row.chat, row.content) == ("12025550188@s.whatsapp.net", Text("hello there"))

    def test_the_same_key_sends_once(self, rows: FakeOutgoing, capsys: Capture) -> None:
        run(capsys, "send", PHONE, ADA, "hello", "--key", "order-1")
        assert "outbox0 is already queued" in run(capsys, "send", PHONE, ADA, "hello", "--key", "order-1")[1]
        assert len(rows.rows) == 1
        assert run(capsys, "send", PHONE, ADA, "other", "--key", "order-1")[0] == 1

    def test_standard_input_and_json(
        self, rows: FakeOutgoing, capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("two\nlines"))
        code, out, _ = run(capsys, "send", PHONE, ADA, "-", "--json")
        assert (code, json.loads(out)["id"]) == (0, "outbox0")
        assert rows.rows["outbox0"].content == Text("two\nlines")

    def test_what_cannot_be_sent_is_one_line_and_exit_code_1(self, rows: FakeOutgoing, capsys: Capture) -> None:
        for arguments in (
            (PHONE, "nobody", "hello"),
            (PHONE, ADA, ""),
            ("0" * 16, ADA, "hello"),
            ("+12", ADA, "hello"),
            (PHONE, ADA, "hello", "--token", READER),
        ):
            code, out, err = run(capsys, "send", *arguments)
            assert (code, out, err.count("\n")) == (1, "", 1)
            assert err.startswith("tandem: ")
        assert not rows.rows


class TestOutbox:
    def test_list_says_what_there_is_without_the_content(self, rows: FakeOutgoing, capsys: Capture) -> None:
        assert run(capsys, "outbox", "list") == (0, "No messages.\n", "")
        for text in ("canary one", "canary two", "canary three"):
            run(capsys, "send", PHONE, ADA, text)
        becomes(rows, "outbox1", OutboxState.UNKNOWN)
        code, out, _ = run(capsys, "outbox", "list", "--limit", "2")
        head, newest, second, more = out.splitlines()
        assert (code, head.split()) == (0, ["ID", "SINCE", "ACCOUNT", "CHAT", "KIND", "STATUS", "REASON"])
        assert [line.split()[0] for line in (newest, second)] == ["outbox2", "outbox1"]
        assert "canary" not in out
        cursor = more.split()[-1]
        assert run(capsys, "outbox", "list", "--cursor", cursor)[1].splitlines()[1].split()[0] == "outbox0"
        listed = json.loads(run(capsys, "outbox", "list", "--state", "unknown", "--account", PHONE, "--json")[1])
        assert [each["id"] for each in listed] == ["outbox1"]
        assert run(capsys, "outbox", "list", "--state", "lost")[0] == 1

    @pytest.mark.usefixtures("rows")
    def test_show(self, capsys: Capture) -> None:
        run(capsys, "send", PHONE, ADA, "canary")
        code, out, _ = run(capsys, "outbox", "show", "outbox0")
        assert code == 0
        assert out.startswith("message  outbox0, text\nstatus   queued\n")
        assert "canary" not in out
        assert json.loads(run(capsys, "outbox", "show", "outbox0", "--json")[1])["status"] == "queued"
        code, out, err = run(capsys, "outbox", "show", "nothing/../else")
        assert (code, out) == (1, "")
        assert err.startswith("tandem: ")

    def test_cancel_what_is_queued_or_unknown_but_nothing_else(self, rows: FakeOutgoing, capsys: Capture) -> None:
        for state in (OutboxState.QUEUED, OutboxState.UNKNOWN, OutboxState.SENT):
            run(capsys, "send", PHONE, ADA, str(state))
            becomes(rows, f"outbox{len(rows.rows) - 1}", state)
        for identity in ("outbox0", "outbox1"):
            code, out, _ = run(capsys, "outbox", "cancel", identity)
            assert code == 0
            assert "cancelled" in out or "failed" in out
        assert run(capsys, "outbox", "cancel", "outbox2")[0] == 1
        assert rows.rows["outbox2"].state is OutboxState.SENT

    def test_resend_asks_first(self, rows: FakeOutgoing, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
        run(capsys, "send", PHONE, ADA, "hello")
        becomes(rows, "outbox0", OutboxState.UNKNOWN)
        monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
        assert run(capsys, "outbox", "resend", "outbox0")[0] != 0
        assert rows.rows["outbox0"].state is OutboxState.UNKNOWN
        assert "status   queued" in run(capsys, "outbox", "resend", "outbox0", "--yes")[1]
        assert run(capsys, "outbox", "resend", "outbox0", "--yes")[0] == 1
