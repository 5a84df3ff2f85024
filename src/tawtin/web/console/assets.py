"""Style sheets, scripts and the coast line: read once, named by their content, so that browsers may keep them for good.

What every page needs in order to be painted is one sheet, `page.css`. A browser that does not have it yet gets it
within the page, which saves a slow line one round trip and the wait for whatever else the page loads; the page's script
then fetches the sheet for the pages to come, and says so in a cookie that names the sheet's content.

`static/built/` is made from npm packages (`sh tools/bootstrap.sh console`) and comes with every release. Where it is
missing, pages do without scripts.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from pathlib import Path
from typing import Final

from tawtin.web.errors import HttpError
from tawtin.web.exchange import Answer

BASE: Final = "/console/static"
_FOLDER: Final = Path(__file__).parent / "static"
_MEDIA: Final = {
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
    ".txt": b"text/plain; charset=utf-8",
}
SHEET: Final = "page.css"
_SHEET_OF: Final = ("tokens.css", "base.css", "console.css")
_FOREVER: Final = (b"cache-control", b"public, max-age=31536000, immutable")


def steps() -> str:
    """A sheet for places and lengths in steps of half a per cent, as pages have no `style` attributes."""
    lines: list[str] = []
    for step in range(201):
        share = f"{step / 2:g}%"
        lines.append(f".x{step}{{--x:{share}}}.y{step}{{--y:{share}}}.w{step}{{inline-size:{share}}}")
    return "\n".join(lines) + "\n"


def tight(sheet: str) -> str:
    """A style sheet without its comments and without the space between its rules."""
    plain = re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", "", sheet, flags=re.DOTALL))
    return re.sub(r" ?([{};,]) ?", r"\1", plain).strip() + "\n"


class Assets:
    """What is served as it is."""

    def __init__(self) -> None:
        """Read all of it."""
        found = {path.name: path.read_bytes() for path in sorted(_FOLDER.glob("*.*"))}
        parts = [found.pop(name).decode() for name in _SHEET_OF]
        self.sheet = tight("".join([*parts, steps()]))
        """What every page needs in order to be painted."""
        found[SHEET] = self.sheet.encode()
        self.sheet_source = f"'sha256-{base64.b64encode(hashlib.sha256(found[SHEET]).digest()).decode()}'"
        """Allows it within a page, as a source in a Content-Security-Policy."""
        found |= {path.name: path.read_bytes() for path in sorted((_FOLDER / "built").glob("*.*"))}
        self._kept = {
            name: (hashlib.sha256(body).hexdigest()[:12], body, gzip.compress(body, 9, mtime=0))
            for name, body in found.items()
            if Path(name).suffix in _MEDIA
        }

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return name in self._kept

    @property
    def sheet_digest(self) -> str:
        """What the cookie of a browser that has the sheet says."""
        return self._kept[SHEET][0]

    def url(self, name: str) -> str:
        """Where a file is; another address once its content is another one. Raises KeyError."""
        return f"{BASE}/{self._kept[name][0]}/{name}"

    def answer(self, digest: str, name: str, accepted: str) -> Answer:
        """A file. Raises HttpError."""
        kept = self._kept.get(name)
        if kept is None or kept[0] != digest:
            raise HttpError(404, "there is no such file", "NotFound")
        headers = [_FOREVER, (b"vary", b"accept-encoding")]
        media = _MEDIA[Path(name).suffix]
        if "gzip" in accepted:
            return Answer(kept[2], media=media, headers=[*headers, (b"content-encoding", b"gzip")])
        return Answer(kept[1], media=media, headers=headers)
