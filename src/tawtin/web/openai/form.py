"""A form with a file in it (`multipart/form-data`, RFC 7578), read as it comes: the file goes to its place at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tawtin.gateway.worker.http import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

_BOUNDARY: Final = re.compile(
    r'multipart/form-data;.*?boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE | re.DOTALL
)
_NAME: Final = re.compile(r'(?:^|;)\s*name="([^"]*)"', re.IGNORECASE)
_FILENAME: Final = re.compile(r'(?:^|;)\s*filename="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_HEAD_BYTES_MAX: Final = 8 << 10
_FIELD_BYTES_MAX: Final = 8 << 10
_FIELDS_MAX: Final = 32


class Form:
    """Takes pieces of a body. `fields` has what is no file; the file's bytes go to `sink`."""

    def __init__(self, media: str, sink: Callable[[bytes], None]) -> None:
        """`media` is the whole content type. Raises Problem if it is of no form."""
        found = _BOUNDARY.match(media)
        if found is None:
            raise Problem(
                415,
                "send a form: `content-type: multipart/form-data` with its boundary",
                code="unsupported_media_type",
            )
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        """What the file is called; None if there was none."""
        self.done = False
        self._mark = b"\r\n--" + (found[1] or found[2]).encode("latin-1")
        self._sink = sink
        self._held = bytearray(b"\r\n")
        self._name = ""
        self._value = bytearray()
        self._into: Callable[[bytes], None] = self._skip
        self._state = self._in_body

    def feed(self, data: bytes) -> None:
        """Take a piece. Raises Problem."""
        self._held += data
        while self._state():
            pass

    def _skip(self, data: bytes) -> None:
        """What stands before the first part has no meaning."""

    def _add(self, data: bytes) -> None:
        self._value += data
        if len(self._value) > _FIELD_BYTES_MAX:
            raise _broken(f"the field `{self._name[:100]}` is longer than {_FIELD_BYTES_MAX} bytes")

    def _in_body(self) -> bool:
        """Hand on a part's bytes up to the next boundary."""
        at = self._held.find(self._mark)
        if at < 0:
            safe = len(self._held) - len(self._mark) + 1
            if safe > 0:
                self._into(bytes(self._held[:safe]))
                del self._held[:safe]
            return False
        self._into(bytes(self._held[:at]))
        del self._held[: at + len(self._mark)]
        self._close_part()
        self._state = self._behind_mark
        return True

    def _close_part(self) -> None:
        if self._into == self._add:
            try:
                self.fields[self._name] = self._value.decode("utf-8")
            except UnicodeDecodeError:
                raise _broken(f"the field `{self._name[:100]}` is not UTF-8") from None
        self._into = self._skip

    def _behind_mark(self) -> bool:
        """Two hyphens end the form, a line break begins a part."""
        if len(self._held) < 2:
            return False
        two = bytes(self._held[:2])
        if two == b"--":
            self.done, self._state = True, self._over
            return True
        if two != b"\r\n":
            raise _broken("a boundary is followed by something else than a line break")
        self._state = self._in_head
        return True

    def _over(self) -> bool:
        self._held.clear()
        return False

    def _in_head(self) -> bool:
        end = self._held.find(b"\r\n\r\n")
        if end > _HEAD_BYTES_MAX or (end < 0 and len(self._held) > _HEAD_BYTES_MAX):
            raise _broken("the head of a part is too long")
        if end < 0:
            return False
        head = bytes(self._held[:end]).decode("utf-8", "replace")
        del self._held[: end + 4]
        said = next(
            (
                line.partition(":")[2]
                for line in head.split("\r\n")
                if line.lower().startswith("content-disposition:")
            ),
            "",
        )
        name = _NAME.search(said)
        if name is None:
            raise _broken("a part has no name")
        self._begin(name[1], _FILENAME.search(said))
        self._state = self._in_body
        return True

    def _begin(self, name: str, filename: re.Match[str] | None) -> None:
        if filename is not None:
            if name != "file" or self.filename is not None:
                raise _broken("a form has one file, and that is its field `file`")
            self.filename = re.sub(r"\\(.)", r"\1", filename[1])
            self._into = self._sink
            return
        if name in self.fields or len(self.fields) >= _FIELDS_MAX:
            raise _broken(
                f"the field `{name[:100]}` stands there twice, or there are more than {_FIELDS_MAX}"
            )
        self._name, self._value, self._into = name, bytearray(), self._add


def _broken(message: str) -> Problem:
    return Problem(400, f"the form cannot be read: {message}", code="invalid_form", close=True)
