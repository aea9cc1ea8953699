"""Logs: one JSON line each on stdout, or readable lines on a terminal. Railway's field names.

Every part logs with ``structlog.get_logger().info("event_name", message="One sentence.", account=..., count=3)``: the
event's name is a constant that operators search for, ``message`` is for people, everything else goes in fields. The
standard library's loggers take the same way. The last step before rendering is the redaction, so nothing gets round it.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from tandem.monitoring.redaction import Redactor
from tandem.settings import LogSettings

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_RAILWAY_LEVELS = {"warning": "warn", "critical": "error", "exception": "error", "notset": "info"}
_QUIET = ("aiohttp.access", "asyncio", "google", "grpc")
_SILENT = ("apprise", "urllib3")  # they write down addresses that hold secrets; what came of a call we tell ourselves
_KEPT = frozenset({"level", "timestamp", "logger"})


def configure(
    settings: LogSettings, redactor: Redactor, *, production: bool = False, stream: TextIO | None = None
) -> None:
    """Send everything that is logged in this process to ``stream`` (stdout if None). Call once, at start.

    ``production`` means JSON even on a terminal, unless the settings say otherwise.
    """
    stream = stream or sys.stdout
    level = _LEVELS[settings.level]
    as_json = settings.format == "json" or (settings.format == "auto" and (production or not stream.isatty()))
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(redactor, as_json=as_json))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *_shared(), _to_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


_to_formatter = structlog.stdlib.ProcessorFormatter.wrap_for_formatter


def _shared() -> list[Processor]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]


def _formatter(redactor: Redactor, *, as_json: bool) -> logging.Formatter:
    def redact(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        return {key: value if key in _KEPT else redactor.item(key, value) for key, value in event.items()}

    last: list[Processor] = [structlog.processors.JSONRenderer(default=repr)] if as_json else [_two_texts, _console()]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_shared(), _foreign],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _railway, redact, *last],
    )


def _console() -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


def _foreign(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Give a record of the standard library the shape of ours."""
    event["message"] = event["event"]
    event["event"] = "log"
    event["logger"] = event["_record"].name
    return event


def _railway(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Name level and message as Railway parses them; a sentence in place of an event name is a message."""
    level = str(event.get("level", "info"))
    event["level"] = _RAILWAY_LEVELS.get(level, level)
    name = str(event.get("event", ""))
    if "message" not in event:
        event["message"] = name
        if " " in name:
            event["event"] = "log"
    return event


def _two_texts(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """On a terminal the sentence leads and the event's name follows as a field."""
    name = event["event"]
    event["event"] = event.pop("message")
    if name not in {event["event"], "log"}:
        event["name"] = name
    return event
