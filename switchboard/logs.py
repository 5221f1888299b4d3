"""Structured logs: a static event name, values as fields, secrets redacted, task and request ids bound.

JSON lines on hosts, readable lines on a terminal. The same processors format records of the standard library's
`logging`, so that Celery, granian and SQLAlchemy speak alike.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import structlog

if TYPE_CHECKING:
    from switchboard.settings import Settings

REDACTED = "[redacted]"
SECRET_FIELD = re.compile(
    r"pass(word|phrase|wd)?$|secret|token|api_?key|api_?hash|authorization|cookie|session_string", re.IGNORECASE
)
SECRET_TEXT = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^\s/@:\"'<>]*:[^\s/\"'<>]+@"  # user:password@ inside a URL
    r"|(?P<bearer>\b(?:bearer|token|basic)\s+)[A-Za-z0-9._~+/=-]{12,}"
    r"|(?P<assigned>(?:password|passwd|passphrase|token|secret|api_?key|api_?hash)[\"']?\s*[=:]\s*)"
    r"(?:\"[^\"]+\"|'[^']+'|[^\s\"',;&]{4,})",
    re.IGNORECASE,
)


def configure_logging(settings: Settings) -> None:
    """Send every log record of this process to standard error in the chosen format."""
    pretty = settings.log_format == "pretty" or (settings.log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: structlog.typing.Processor = (
        # the default shows each frame's local variables, and passwords among them
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if pretty
        else structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,  # tracebacks are texts before secrets are looked for
                redact,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    logging.getLogger("telethon").setLevel(logging.WARNING)  # it tells at its import which cipher it found
    root.handlers = [handler]
    root.setLevel(settings.log_level)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger named after its module."""
    return cast("structlog.stdlib.BoundLogger", structlog.get_logger(name))


def redact(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Replace secrets: fields with a telling name whole, and credentials inside any text."""
    return {
        name: REDACTED if SECRET_FIELD.search(str(name)) and value else redact_value(value)
        for name, value in event.items()
    }


def redact_value(value: Any) -> Any:
    """`value` with credentials inside its texts replaced, containers included; what is no plain value becomes its text."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return redact(None, "", dict(value))
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact_value(item) for item in value]
    return SECRET_TEXT.sub(_keep_prefix, str(value))


def _keep_prefix(match: re.Match[str]) -> str:
    scheme = match.group("scheme")
    if scheme:
        return f"{scheme}{REDACTED}@"
    return f"{match.group('bearer') or match.group('assigned')}{REDACTED}"
