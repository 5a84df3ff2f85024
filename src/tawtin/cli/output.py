"""What verbs print: aligned columns, amounts, sizes, ages; JSON for programs; colour on a terminal alone."""

from __future__ import annotations

import os
import sys

MINOR_DIGITS = {
    **dict.fromkeys(["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "RWF", "UGX", "VND", "XAF", "XOF"], 0),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
}
"""Digits after the point by ISO 4217, where they are not 2."""
COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}
STATUS_COLOURS = {
    "succeeded": "green",
    "running": "blue",
    "starting": "blue",
    "failed": "red",
    "stopping": "yellow",
    "queued": "yellow",
    "cancelled": "dim",
}


def paint(text: str, colour: str) -> str:
    """Return `text` in a colour if standard output is a terminal that wants it."""
    if not colour or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"


def columns(header: list[str], rows: list[list[str]], *, colour: int | None = None) -> str:
    """Return an aligned table. `colour` names the column of statuses to paint.

    On a terminal the last column is cut to the width of it.
    """
    table = [header, *rows]
    widths = [max(len(row[index]) for row in table) for index in range(len(header))]
    room = _width() - sum(widths[:-1]) - 2 * (len(widths) - 1) if sys.stdout.isatty() else 0
    lines: list[str] = []
    for number, row in enumerate(table):
        cells = [clean(cell).ljust(width) for cell, width in zip(row, widths, strict=True)]
        cells[-1] = clean(row[-1])
        if 8 < room < len(cells[-1]):
            cells[-1] = cells[-1][: room - 1] + "…"
        if number == 0:
            cells = [paint(cell, "dim") for cell in cells]
        elif colour is not None:
            cells[colour] = paint(cells[colour], STATUS_COLOURS.get(row[colour], ""))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def clean(text: str) -> str:
    """Return text of others without control characters, so that a name cannot drive the terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "�" for c in text)


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return 0


def span(milliseconds: int) -> str:
    """Return a duration in its two largest units, such as `3m12s`."""
    seconds = max(0, milliseconds) // 1000
    if seconds < 1:
        return f"{max(0, milliseconds)}ms"
    for size, unit, lower_size, lower in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if seconds >= size:
            rest = seconds % size // lower_size
            return f"{seconds // size}{unit}" + (f"{rest}{lower}" if rest else "")
    return f"{seconds}s"


def moment(milliseconds: int) -> str:
    """Return a time UTC, such as `2026-01-31 12:00:05Z`."""
    import time

    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(milliseconds // 1000))


def size(count: int) -> str:
    """Return a size in bytes in binary units."""
    if count < 1024:
        return f"{count} B"
    for power, unit in ((1, "KiB"), (2, "MiB"), (3, "GiB"), (4, "TiB")):
        if count < 1024 ** (power + 1) or unit == "TiB":
            return f"{count / 1024**power:.1f} {unit}"
    return str(count)


def amount(minor: int, currency: str) -> str:
    """Return money, such as `12.50 MAD`, from minor units."""
    digits = MINOR_DIGITS.get(currency, 2)
    if not digits:
        return f"{minor} {currency}"
    whole, rest = divmod(abs(minor), 10**digits)
    return f"{'-' if minor < 0 else ''}{whole}.{rest:0{digits}} {currency}"


def emit(value: object) -> None:
    """Print records, or plain data, as one line of JSON."""
    import msgspec

    sys.stdout.write(msgspec.json.encode(value, order="deterministic").decode() + "\n")


def note(text: str) -> None:
    """Tell a person something beside the result, on standard error."""
    print(text, file=sys.stderr, flush=True)


class StatusLine:
    """One line at the bottom of a terminal that is written over; nothing where standard error is no terminal."""

    def __init__(self) -> None:
        """Look where standard error goes."""
        self.wanted = sys.stderr.isatty()
        self.shown = False
        self.midline = False
        """The program's output stopped within a line, which must not be written over."""

    def show(self, text: str) -> None:
        """Show a text, cut to the terminal's width."""
        if not self.wanted or self.midline:
            return
        room = max(20, os.get_terminal_size(sys.stderr.fileno()).columns - 1)
        sys.stderr.write(f"\r\x1b[K\x1b[2m{clean(text)[:room]}\x1b[0m")
        sys.stderr.flush()
        self.shown = True

    def clear(self) -> None:
        """Take it away."""
        if self.shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self.shown = False
