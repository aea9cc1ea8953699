from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from tandem.errors import Misconfigured
from tandem.monitoring.logging import configure
from tandem.monitoring.redaction import Redactor
from tandem.settings import LogSettings, load


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def _lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def _configured(out: io.StringIO, **settings: str) -> None:
    configure(LogSettings(**settings), Redactor(["configured-secret"]), stream=out)


def test_one_json_line_with_railways_fields() -> None:
    out = io.StringIO()
    _configured(out)
    structlog.get_logger().info("batch_saved", message="Saved 3 messages", count=3, seconds=0.25)
    (line,) = _lines(out)
    assert line["event"] == "batch_saved"
    assert line["message"] == "Saved 3 messages"
    assert line["level"] == "info"
    assert (line["count"], line["seconds"]) == (3, 0.25)
    assert str(line["timestamp"]).endswith("Z")


@pytest.mark.parametrize(
    ("method", "level"), [("debug", "debug"), ("info", "info"), ("warning", "warn"), ("error", "error")]
)
def test_levels_are_railways(method: str, level: str) -> None:
    out = io.StringIO()
    _configured(out, level="debug")
    getattr(structlog.get_logger(), method)("something")
    getattr(logging.getLogger("library"), method)("something")
    assert [line["level"] for line in _lines(out)] == [level, level]
    out = io.StringIO()
    _configured(out)
    structlog.get_logger().critical("worse")
    assert _lines(out)[0]["level"] == "error"


def test_the_standard_librarys_loggers_take_the_same_way() -> None:
    out = io.StringIO()
    _configured(out)
    logging.getLogger("some.library").warning("lost %s", "+12025550123")
    (line,) = _lines(out)
    assert (line["event"], line["logger"], line["level"]) == ("log", "some.library", "warn")
    assert line["message"] == "lost +120****23"


def test_the_level_setting_holds() -> None:
    out = io.StringIO()
    _configured(out, level="warning")
    structlog.get_logger().info("quiet")
    logging.getLogger("library").info("quiet")
    assert out.getvalue() == ""


def test_a_sentence_in_place_of_a_name_is_a_message() -> None:
    out = io.StringIO()
    _configured(out)
    structlog.get_logger().info("Something happened here")
    assert _lines(out)[0] | {"timestamp": ""} == {
        "event": "log",
        "message": "Something happened here",
        "level": "info",
        "timestamp": "",
    }


@pytest.mark.parametrize("style", ["json", "console"])
def test_nothing_secret_gets_through_not_even_in_a_traceback(style: str) -> None:
    out = io.StringIO()
    _configured(out, format=style)
    log = structlog.get_logger()
    number, token, text = "+12025550123", "configured-secret", "canary message text"
    log.info("x", phone=number, text=text, auth=f"Bearer {token}", nested={"body": text, "jid": f"{number[1:]}@lid"})
    try:
        secret_local = text
        raise ValueError(f"{number} {token}")  # noqa: TRY301 - it has to be raised
    except ValueError:
        log.exception("failed")
        logging.getLogger("library").exception("failed for %s", number)
    written = out.getvalue()
    assert "ValueError" in written
    for canary in ("2025550123", token, secret_local):
        assert canary not in written


def test_a_terminal_gets_readable_lines_unless_told_otherwise() -> None:
    out = Terminal()
    configure(LogSettings(), Redactor(), stream=out)
    structlog.get_logger().info("session_online", message="The primary is online", account="0123456789abcdef")
    assert "The primary is online" in out.getvalue()
    assert "session_online" in out.getvalue()
    assert not out.getvalue().startswith("{")
    for arguments in ({"production": True}, {}):
        out = Terminal()
        configure(LogSettings(format="json" if not arguments else "auto"), Redactor(), stream=out, **arguments)
        structlog.get_logger().info("session_online")
        assert len(_lines(out)) == 1


def test_what_cannot_be_json_is_still_told() -> None:
    out = io.StringIO()
    _configured(out)
    structlog.get_logger().info("odd", thing=object(), raw=b"bytes")
    assert _lines(out)[0]["raw"] == "<5 bytes>"


def test_who_writes_addresses_into_the_log_is_not_heard() -> None:
    out = io.StringIO()
    configure(LogSettings(level="debug", format="json"), Redactor(), stream=out)
    for name in ("apprise", "urllib3.connectionpool"):
        logging.getLogger(name).error("POST https://hooks.example.org/T0/secret-path")
    logging.getLogger("something.else").error("heard")
    assert "secret-path" not in out.getvalue()
    assert "heard" in out.getvalue()


@pytest.mark.parametrize(("written", "level"), [("WARN", "warning"), ("Debug", "debug"), ("info", "info")])
def test_log_level_and_format_may_be_set_as_elsewhere(
    monkeypatch: pytest.MonkeyPatch, written: str, level: str
) -> None:
    monkeypatch.setenv("LOG_LEVEL", written)
    monkeypatch.setenv("LOG_FORMAT", "JSON")
    assert (load().log.level, load().log.format) == (level, "json")
    monkeypatch.setenv("TANDEM_LOG__LEVEL", "error")
    assert (load().log.level, load().log.format) == ("error", "json")
    monkeypatch.setenv("LOG_FORMAT", "yaml")
    with pytest.raises(Misconfigured, match=r"log\.format"):
        load()
