from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tandem.cli import dead_letters, main
from tandem.cli.words import harmless, when
from tandem.errors import PoisonMessage, StoreUnavailable
from tandem.model.ids import AccountId
from unit.api.twins import FakeDeadLetters
from unit.api.world import ACCOUNT, ADMIN, READER, World, message, settings
from unit.cli.daemon import Running, running

Capture = pytest.CaptureFixture[str]
OWNER = AccountId(ACCOUNT)
FAULT = PoisonMessage("events of number 99 are not known")


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDeadLetters]:
    with running(World(settings())) as daemon:
        monkeypatch.setenv("TANDEM_URL", daemon.url)
        monkeypatch.setenv("TANDEM_API_TOKEN", ADMIN)
        yield daemon.world.letters


def run(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    code = main(["dead-letters", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


class TestList:
    def test_nothing_is_said_in_words(self, letters: FakeDeadLetters, capsys: Capture) -> None:
        assert run(capsys, "list") == (0, "No dead letters.\n", "")
        assert run(capsys, "list", "--json") == (0, "[]\n", "")
        letters.bury_event(OWNER)
        assert run(capsys, "list", "--after", "1") == (0, "No dead letters after 1.\n", "")

    def test_a_table_or_json(self, letters: FakeDeadLetters, capsys: Capture) -> None:
        letters.bury_event(OWNER, "it cannot be \x1b[31mdecoded")
        letters.bury(message(OWNER, "canary text", 1))
        code, out, _ = run(capsys, "list")
        head, first, second = out.splitlines()
        assert (code, head.split()) == (0, ["ID", "SINCE", "KIND", "ACCOUNT", "SLOT", "REASON"])
        assert first.split()[3:6] == ["event", ACCOUNT, "backup"]
        assert first.endswith("it cannot be \\x1b[31mdecoded")
        assert second.split()[3:6] == ["message", ACCOUNT, "-"]
        assert "canary" not in out
        assert [each["id"] for each in json.loads(run(capsys, "list", "--json")[1])] == [1, 2]

    def test_more_than_a_page_says_how_to_go_on(self, letters: FakeDeadLetters, capsys: Capture) -> None:
        for _ in range(5):
            letters.bury_event(OWNER)
        out = run(capsys, "list", "--limit", "2")[1]
        assert out.endswith("There are more: tandem dead-letters list --after 2\n")
        rest = run(capsys, "list", "--after", "2")[1].splitlines()
        assert [line.split()[0] for line in rest] == ["ID", "3", "4", "5"]


class TestShow:
    def test_an_event(self, letters: FakeDeadLetters, capsys: Capture) -> None:
        letter = letters.bury_event(OWNER)
        code, out, _ = run(capsys, "show", str(letter))
        assert code == 0
        assert out.startswith("letter   1, event\nreason   it cannot be decoded\n")
        assert "slot     backup, event number 7\n" in out
        assert "4 bytes" in out
        assert "raw" not in out
        assert "raw      anVuaw==\n" in run(capsys, "show", str(letter), "--raw")[1]
        assert json.loads(run(capsys, "show", str(letter), "--json", "--raw")[1])["raw"] == "anVuaw=="

    def test_a_message_with_what_it_says_but_nothing_a_terminal_obeys(
        self, letters: FakeDeadLetters, capsys: Capture
    ) -> None:
        letter = letters.bury(message(OWNER, "hello \U0001f469\u200d\U0001f680\nreason  fine\x1b[2J\u202e", 10**18))
        out = run(capsys, "show", str(letter))[1]
        assert "text     hello \U0001f469\u200d\U0001f680\\nreason  fine\\x1b[2J\\u202e\n" in out
        assert "chat     12025550188@s.whatsapp.net\n" in out
        assert "sent     1000000000000000000, text\n" in out

    def test_mistakes_are_one_line(self, letters: FakeDeadLetters, capsys: Capture) -> None:
        letters.bury_event(OWNER)
        assert run(capsys, "show", "9") == (1, "", "tandem: there is no such dead letter\n")
        code, _, err = run(capsys, "show", "1", "--token", READER)
        assert (code, err.count("\n")) == (1, 1)
        assert "admin token" in err
        assert run(capsys, "show", "one")[0] == 2
        assert run(capsys, "show", "0")[0] == 2


class TestReplay:
    def test_one(self, letters: FakeDeadLetters, capsys: Capture) -> None:
        letter = letters.bury_event(OWNER)
        assert run(capsys, "replay", str(letter)) == (0, "Dead letter 1 is on its way again.\n", "")
        assert (letters.replayed, letters.letters) == ([1], {})

    def test_one_that_still_fails_is_kept_and_says_why(self, letters: FakeDeadLetters, capsys: Capture) -> None:
        letter = letters.bury_event(OWNER)
        letters.faults[letter] = FAULT
        code, out, err = run(capsys, "replay", str(letter))
        assert (code, out) == (1, "")
        assert err.endswith("the letter is kept: events of number 99 are not known\n")
        assert list(letters.letters) == [letter]

    def test_all(self, letters: FakeDeadLetters, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dead_letters, "_MOST", 2)
        assert run(capsys, "replay", "--all") == (0, "No dead letters.\n", "")
        for _ in range(5):
            letters.bury_event(OWNER)
        assert run(capsys, "replay", "--all") == (0, "5 of 5 are on their way again.\n", "")
        assert letters.replayed == [1, 2, 3, 4, 5]

    def test_all_goes_on_after_one_that_fails(self, letters: FakeDeadLetters, capsys: Capture) -> None:
        for _ in range(3):
            letters.bury_event(OWNER)
        letters.faults[2] = FAULT
        code, out, err = run(capsys, "replay", "--all")
        assert (code, out) == (1, "2 of 3 are on their way again.\n")
        assert err.startswith("2: ")
        assert letters.replayed == [1, 3]

    def test_all_stops_when_the_queue_refuses(self, letters: FakeDeadLetters, capsys: Capture) -> None:
        for _ in range(2):
            letters.bury_event(OWNER)
        letters.faults[1] = StoreUnavailable("the queue: the disk is full")
        assert run(capsys, "replay", "--all") == (1, "", "tandem: the queue: the disk is full\n")
        assert letters.replayed == []

    def test_what_becomes_a_letter_again_does_not_go_round_for_ever(
        self, letters: FakeDeadLetters, capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def replay(identifier: int) -> None:
            letter = await letters.get(identifier)
            await letters.drop(identifier)
            letters.letters[identifier + 10] = replace(letter, id=identifier + 10)

        with running(world := World(settings())) as daemon:
            parts = replace(world.server._context.parts, replay=replay, dead_letters=letters)
            object.__setattr__(world.server._context, "parts", parts)
            _point_at(daemon, monkeypatch)
            letters.bury_event(OWNER)
            letters.bury_event(OWNER)
            assert run(capsys, "replay", "--all")[1] == "2 of 2 are on their way again.\n"
        assert sorted(letters.letters) == [11, 12]

    @pytest.mark.parametrize("arguments", [[], ["1", "--all"]])
    def test_one_or_all_has_to_be_said(self, arguments: list[str], letters: FakeDeadLetters, capsys: Capture) -> None:
        letters.bury_event(OWNER)
        code, out, err = run(capsys, "replay", *arguments)
        assert (code, out) == (2, "")
        assert "or --all" in err
        assert letters.replayed == []


class TestDrop:
    def test_it_asks_first(self, letters: FakeDeadLetters, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
        letters.bury_event(OWNER)
        for said, code, left in (("n\n", 1, [1]), ("", 1, [1]), ("y\n", 0, [])):
            monkeypatch.setattr("sys.stdin", io.StringIO(said))
            got, out, _ = run(capsys, "drop", "1")
            assert (got, list(letters.letters)) == (code, left)
            assert f"(event of account {ACCOUNT}: it cannot be decoded)?" in out

    def test_yes_does_not_ask(self, letters: FakeDeadLetters, capsys: Capture) -> None:
        letters.bury_event(OWNER)
        assert run(capsys, "drop", "1", "--yes") == (0, "Dead letter 1 is dropped.\n", "")
        assert run(capsys, "drop", "1", "-y") == (1, "", "tandem: there is no such dead letter\n")
        assert run(capsys, "drop", "1") == (1, "", "tandem: there is no such dead letter\n")


def _point_at(daemon: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_URL", daemon.url)


def test_a_time_that_no_calendar_has_stays_a_number() -> None:
    assert when(2**70) == str(2**70)
    assert when(0)[:3] in {"196", "197"}


def test_harmless_text_stays_as_it_is() -> None:
    assert harmless("Grüße, 你好 👩\u200d🚀") == "Grüße, 你好 👩\u200d🚀"
