from __future__ import annotations

import pytest

from tandem.model import signals
from tandem.whatsapp import exits, reasons
from tandem.whatsapp.exits import ExitCode, exit_words
from tandem.whatsapp.protos import neonize


def test_every_login_failure_the_library_knows_is_in_the_table() -> None:
    assert set(reasons.LOGIN_FAILURES) == set(neonize().ConnectFailureReason.keys())


def test_every_ban_the_library_knows_is_in_the_table() -> None:
    assert set(reasons.BAN_REASONS) == set(neonize().TemporaryBan.TempBanReason.keys())


def test_every_exit_code_has_words_a_key_and_a_next_step() -> None:
    assert set(reasons.ENDINGS) == set(exits._WORDS) == set(ExitCode)
    for code in ExitCode:
        reason = reasons.ending(code)
        assert reason.key
        assert reason.words == exit_words(code)
        assert reason.next_step


def test_exit_codes_never_change() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "STOPPED": 0,
        "PUMP_ENDED": 10,
        "PARENT_GONE": 11,
        "LOCKED": 12,
        "UNPAIRED": 13,
        "LIBRARY_UNUSABLE": 14,
        "REDIRECT_FAILED": 15,
        "STORE_UNUSABLE": 16,
        "JOURNAL_UNUSABLE": 17,
        "PAIRING_ENDED": 18,
        "PROTOCOL_BROKEN": 19,
        "BACKLOG": 20,
        "DIAL_FAILED": 21,
        "POISONED": 22,
        "FAILED": 23,
    }


@pytest.mark.parametrize(
    ("code", "words"), [(-9, "killed by SIGKILL"), (-6, "killed by SIGABRT"), (-64, "killed by"), (77, "exit code 77")]
)
def test_signals_and_foreign_codes_have_words(code: int, words: str) -> None:
    assert words in exit_words(code)
    assert words in reasons.ending(code).words


def test_last_words_are_joined_to_what_the_code_says_once() -> None:
    assert reasons.ending(ExitCode.DIAL_FAILED, "connection refused").words == (
        "WhatsApp could not be reached: connection refused"
    )
    assert reasons.ending(ExitCode.STOPPED, "stopped as asked").words == "stopped as asked"


def test_a_crash_is_recognised_by_what_was_printed() -> None:
    printed = "panic: runtime error\n go.mau.fi/whatsmeow.(*Client).handleConnectFailure"
    assert reasons.ending(-6, printed=printed).key == "refused_crash"
    assert reasons.ending(-6, printed="fatal error: concurrent map writes").key == "data_race"
    assert reasons.ending(-6).key == "killed"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("LOGGED_OUT", signals.LoggedOut),
        ("MAIN_DEVICE_GONE", signals.LoggedOut),
        ("UNKNOWN_LOGOUT", signals.LoggedOut),
        ("TEMP_BANNED", signals.Banned),
        ("CLIENT_OUTDATED", signals.Outdated),
        ("GENERIC", signals.ConnectFailed),
        ("SOMETHING_NEW", signals.ConnectFailed),
    ],
)
def test_login_failures_become_the_right_signal(name: str, kind: type) -> None:
    assert isinstance(reasons.login_failure(name).signal(), kind)


def test_a_ban_the_library_cannot_express_is_still_a_ban() -> None:
    line = 'Temporary ban connect failure: <failure code="105" expire="86400" location="frc" reason="402"/>'
    ban = reasons.ban_in_log_line(line)
    assert ban == signals.Banned("105", 86400.0)
    poison = "proto: required field neonize.TemporaryBan.Code not set"
    assert reasons.last_signal(ExitCode.POISONED, poison, ban) == ban
    unknown = reasons.last_signal(ExitCode.POISONED, poison, None)
    assert isinstance(unknown, signals.Banned)
    assert unknown.seconds == 0.0


def test_a_ban_line_without_numbers_is_a_ban_of_unknown_length() -> None:
    assert reasons.ban_in_log_line("Temporary ban connect failure: <failure/>") == signals.Banned("unknown", 0.0)
    assert reasons.ban_in_log_line('a message: <failure code="105"/>') is None


def test_what_ended_the_pump_is_told_as_what_it_was() -> None:
    refused = reasons.last_signal(ExitCode.POISONED, "required field neonize.ConnectFailure.Reason not set", None)
    assert isinstance(refused, signals.ConnectFailed)
    assert reasons.last_signal(ExitCode.POISONED, "required field neonize.Receipt.Type not set", None) is None
    assert isinstance(reasons.last_signal(ExitCode.PAIRING_ENDED, "timeout", None), signals.PairFailed)
    assert reasons.last_signal(ExitCode.STOPPED, "", None) is None


@pytest.mark.parametrize(
    "text",
    [
        "Failed to handle retry receipt: info query returned status 429: rate-overlimit",
        (
            "Error reconnecting after autoreconnect sleep: failed to dial whatsapp web websocket: expected handshake "
            "response status code 101 but got 429"
        ),
        'Got 429 stream error: <stream:error code="429"/>',
        "server returned error 475",
        "rate limited by WhatsApp (429)",
        "WhatsApp refused the message (475)",
    ],
)
def test_words_that_mean_slow_down_are_found(text: str) -> None:
    assert reasons.rate_limit(text)


@pytest.mark.parametrize("text", ["", "server returned error 463", "sent 429 messages", "port 14290", "code 4291"])
def test_other_words_do_not(text: str) -> None:
    assert reasons.rate_limit(text) == ""
