"""What the factory's process says of itself: lines for people, or one JSON object a line for machines."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tawtin.bootstrap.settings import TelemetrySettings

# what every log record has; anything else was given with `extra=` and is shown
_USUAL: Final = frozenset([*vars(logging.makeLogRecord({})), "message", "asctime", "color_message"])


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (ISO 8601 UTC), level, logger, message, whatever was given as `extra`, error."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((name, value) for name, value in vars(record).items() if name not in _USUAL)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure_logs(telemetry: TelemetrySettings) -> None:
    """Send the process's log to standard error in the way that the settings ask for."""
    handler = logging.StreamHandler(sys.stderr)
    if telemetry.log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=telemetry.log_level.upper(), force=True)
