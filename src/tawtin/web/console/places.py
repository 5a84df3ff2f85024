"""Where things are drawn on the map: its projection, the places of factories, and labels that do not hide each other.

Coast lines only: a jurisdiction is a code beside a factory, so that the map takes no side on any territory.
"""

from __future__ import annotations

import math
from typing import Final

from tawtin.model.base import Record

WIDTH: Final = 1062.0
HEIGHT: Final = 886.0
_WEST, _NORTH = -34.0, 44.5
_Y: Final = 11.0
_X: Final = _Y * math.cos(math.radians(10))
_BEND: Final = 0.12
"""How far the middle of a link is from the straight line, in lengths of it: links in one direction come apart."""
_LINK_LABEL: Final = (150.0, 26.0)
_SAMPLES: Final = 40
_CROSSED: Final = 500.0
"""What hiding a piece of a link costs a label, in units of hidden area."""
_APART: Final = 26.0
"""Factories nearer to each other than this are drawn side by side."""

CAPITALS: Final[dict[str, tuple[float, float]]] = {
    "AE": (24.5, 54.4), "AL": (41.3, 19.8), "AO": (-8.8, 13.2), "BF": (12.4, -1.5), "BH": (26.2, 50.6),
    "BI": (-3.4, 29.9), "BJ": (6.5, 2.6), "BW": (-24.7, 25.9), "CD": (-4.3, 15.3), "CF": (4.4, 18.6),
    "CG": (-4.3, 15.3), "CI": (6.8, -5.3), "CM": (3.9, 11.5), "CV": (14.9, -23.5), "CY": (35.2, 33.4),
    "DJ": (11.6, 43.1), "DZ": (36.8, 3.1), "EG": (30.0, 31.2), "ER": (15.3, 38.9), "ES": (40.4, -3.7),
    "ET": (9.0, 38.7), "GA": (0.4, 9.5), "GH": (5.6, -0.2), "GM": (13.5, -16.6), "GN": (9.5, -13.7),
    "GQ": (3.8, 8.8), "GR": (38.0, 23.7), "GW": (11.9, -15.6), "IL": (31.8, 35.2), "IQ": (33.3, 44.4),
    "IT": (41.9, 12.5), "JO": (31.9, 35.9), "KE": (-1.3, 36.8), "KM": (-11.7, 43.3), "KW": (29.4, 48.0),
    "LB": (33.9, 35.5), "LR": (6.3, -10.8), "LS": (-29.3, 27.5), "LY": (32.9, 13.2), "MA": (34.0, -6.8),
    "MG": (-18.9, 47.5), "ML": (12.6, -8.0), "MR": (18.1, -15.9), "MT": (35.9, 14.5), "MU": (-20.2, 57.5),
    "MW": (-14.0, 33.8), "MZ": (-25.9, 32.6), "NA": (-22.6, 17.1), "NE": (13.5, 2.1), "NG": (9.1, 7.5),
    "OM": (23.6, 58.4), "PS": (31.9, 35.2), "PT": (38.7, -9.1), "QA": (25.3, 51.5), "RW": (-1.9, 30.1),
    "SA": (24.7, 46.7), "SC": (-4.6, 55.5), "SD": (15.5, 32.5), "SL": (8.5, -13.2), "SN": (14.7, -17.4),
    "SO": (2.0, 45.3), "SS": (4.9, 31.6), "ST": (0.3, 6.7), "SY": (33.5, 36.3), "SZ": (-26.3, 31.1),
    "TD": (12.1, 15.0), "TG": (6.1, 1.2), "TN": (36.8, 10.2), "TR": (39.9, 32.9), "TZ": (-6.2, 35.7),
    "UG": (0.3, 32.6), "YE": (15.4, 44.2), "ZA": (-25.7, 28.2), "ZM": (-15.4, 28.3), "ZW": (-17.8, 31.1),
}  # fmt: skip
"""Latitude and longitude of capitals, in degrees, by ISO 3166-1 alpha-2."""


class Spot(Record, frozen=True, kw_only=True):
    """A place on the map, in its own units, and on which side of it its label stands."""

    name: str
    x: float
    y: float
    side: str = "right"
    """right, left, above or below."""


def project(latitude: float, longitude: float) -> tuple[float, float]:
    """Where a place is drawn; places outside the map are drawn at its edge."""
    x, y = (longitude - _WEST) * _X, (_NORTH - latitude) * _Y
    return min(max(x, 20.0), WIDTH - 20), min(max(y, 20.0), HEIGHT - 20)


def spots(
    names: list[tuple[str, str]], places: dict[str, tuple[float, float]], label: tuple[float, float]
) -> dict[str, Spot]:
    """Where factories and their labels go. `names` are pairs of name and country, the own factory first.

    `label` is the size of a label. One without a place of its own stands at its country's capital; those that would
    hide each other stand side by side. Labels go one after the other to the side that is freest.
    """
    at: dict[str, tuple[float, float]] = {}
    for name, country in names:
        place = places.get(name) or CAPITALS.get(country)
        x, y = project(*place) if place is not None else (60.0, HEIGHT - 60.0)
        turn = 0
        while any(math.hypot(x - ox, y - oy) < _APART for ox, oy in at.values()) and turn < 64:
            x, y = x + _APART * math.cos(turn * 2.4), y + _APART * math.sin(turn * 2.4)
            turn += 1
        at[name] = (min(max(x, 20.0), WIDTH - 20), min(max(y, 20.0), HEIGHT - 20))
    taken = [(x - 16, y - 16, x + 16, y + 16) for x, y in at.values()]
    links = [Link.between(at[names[0][0]], at[name]) for name, _ in names[1:]] if names else []
    taken += [_around(link.middle, _LINK_LABEL) for link in links]
    points = [link.at(step / _SAMPLES) for link in links for step in range(2, _SAMPLES - 1)]
    found: dict[str, Spot] = {}
    for name, (x, y) in at.items():
        side, box = min(
            ((side, _box(side, x, y, label)) for side in ("right", "left", "above", "below")),
            key=lambda each: (_lost(each[1], taken) + _hidden(each[1], points), each[0] != "right"),
        )
        taken.append(box)
        found[name] = Spot(name=name, x=x, y=y, side=side)
    return found


Point = tuple[float, float]
Box = tuple[float, float, float, float]


class Link(Record, frozen=True, kw_only=True):
    """A bent line between two factories: a quadratic curve."""

    begin: Point
    bend: Point
    end: Point

    @classmethod
    def between(cls, begin: Point, end: Point) -> Link:
        """The link of two places."""
        (x1, y1), (x2, y2) = begin, end
        bend = (x1 + x2) / 2 + 2 * _BEND * (y2 - y1), (y1 + y2) / 2 - 2 * _BEND * (x2 - x1)
        return cls(begin=begin, bend=bend, end=end)

    def at(self, share: float) -> Point:
        """The point at this share of it, from 0 to 1."""
        a, b, c = (1 - share) ** 2, 2 * share * (1 - share), share**2
        return (
            a * self.begin[0] + b * self.bend[0] + c * self.end[0],
            a * self.begin[1] + b * self.bend[1] + c * self.end[1],
        )

    @property
    def middle(self) -> Point:
        """Where its label stands."""
        return self.at(0.5)

    @property
    def whole(self) -> str:
        """All of it, as the `d` of a path."""
        return self._path(0.0, 1.0)

    @property
    def gap(self) -> str:
        """It with a gap in the middle."""
        return self._path(0.0, 0.4) + self._path(0.6, 1.0)

    def _path(self, first: float, last: float) -> str:
        """A part of it; parts of a quadratic curve are such curves."""
        (x1, y1), (x3, y3) = self.at(first), self.at(last)
        bends = [
            (1 - first) * (1 - last) * a + (first + last - 2 * first * last) * b + first * last * c
            for a, b, c in zip(self.begin, self.bend, self.end, strict=True)
        ]
        return f"M{x1:.1f} {y1:.1f}Q{bends[0]:.1f} {bends[1]:.1f} {x3:.1f} {y3:.1f}"


def _around(middle: Point, size: tuple[float, float]) -> Box:
    (x, y), (width, height) = middle, size
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _hidden(box: Box, points: list[Point]) -> float:
    """What it costs that these points lie under a label."""
    left, top, right, bottom = box
    return _CROSSED * sum(1 for x, y in points if left <= x <= right and top <= y <= bottom)


def _box(side: str, x: float, y: float, label: tuple[float, float]) -> Box:
    width, height = label
    match side:
        case "right":
            left, top = x + 20, y - height / 2
        case "left":
            left, top = x - 20 - width, y - height / 2
        case "above":
            left, top = x - width / 2, y - 20 - height
        case _:
            left, top = x - width / 2, y + 20
    return left, top, left + width, top + height


def _lost(box: Box, taken: list[Box]) -> float:
    """How much of a label would be hidden, or outside of the map."""
    left, top, right, bottom = box
    inside = max(0.0, min(right, WIDTH) - max(left, 0.0)) * max(0.0, min(bottom, HEIGHT) - max(top, 0.0))
    lost = (right - left) * (bottom - top) - inside
    for each in taken:
        wide = min(right, each[2]) - max(left, each[0])
        high = min(bottom, each[3]) - max(top, each[1])
        lost += max(0.0, wide) * max(0.0, high)
    return lost
