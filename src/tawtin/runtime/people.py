"""People who are signed in without a key, under the names by which the log knows them.

What somebody began in the console goes on elsewhere, as in a workspace, which asks by that name whether it still
counts. They are known as long as their session, and after a restart from the next page on that they open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from tawtin.runtime.actor import Actor

    Look = Callable[[], Actor | None]

PEOPLE_MAX: Final = 10_000
"""So many are known at one time; who was met longest ago is forgotten first."""


class People:
    """Those of one factory, in memory."""

    def __init__(self) -> None:
        """Nobody is known yet."""
        self._met: dict[str, tuple[int, Look]] = {}

    def meet(self, name: str, until_ms: int, look: Look) -> None:
        """Know somebody until then; `look` says who they are to the factory at the time of asking."""
        self._met.pop(name, None)
        self._met[name] = until_ms, look
        while len(self._met) > PEOPLE_MAX:
            self._met.pop(next(iter(self._met)))

    def find(self, name: str, now_ms: int) -> Actor | None:
        """Who somebody is now; None for nobody any more."""
        until_ms, look = self._met.get(name, (0, None))
        return look() if look is not None and now_ms < until_ms else None
