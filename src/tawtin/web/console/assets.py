"""Style sheets, scripts and the coast line: read once, named by their content, so that browsers may keep them for good.

`static/built/` is made from npm packages (`sh tools/bootstrap.sh console`) and comes with every release. Where it is
missing, pages do without scripts.
"""

from __future__ import annotations

import gzip
import hashlib
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
_FOREVER: Final = (b"cache-control", b"public, max-age=31536000, immutable")


def steps() -> str:
    """A sheet for places and lengths in steps of half a per cent, as pages have no `style` attributes."""
    lines: list[str] = []
    for step in range(201):
        share = f"{step / 2:g}%"
        lines.append(f".x{step}{{--x:{share}}}.y{step}{{--y:{share}}}.w{step}{{inline-size:{share}}}")
    return "\n".join(lines) + "\n"


class Assets:
    """What is served as it is."""

    def __init__(self) -> None:
        """Read all of it."""
        found = {path.name: path.read_bytes() for path in sorted(_FOLDER.glob("*.*"))}
        found["steps.css"] = steps().encode()
        found |= {path.name: path.read_bytes() for path in sorted((_FOLDER / "built").glob("*.*"))}
        self._kept = {
            name: (hashlib.sha256(body).hexdigest()[:12], body, gzip.compress(body, 9, mtime=0))
            for name, body in found.items()
            if Path(name).suffix in _MEDIA
        }

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return name in self._kept

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
