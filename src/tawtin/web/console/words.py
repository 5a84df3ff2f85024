"""Every visible word, number and date, in the reader's language.

Messages are Fluent files in `web/locales/<tag>/`; plurals, digits, dates and money are those of CLDR, for Arabic by the
factory's country, as ar-MA writes 12.345,60 and ar-EG may write other digits and names of months. What is put into a
message is isolated, so that a name in one direction does not mix up a sentence in the other.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

from babel import Locale, UnknownLocaleError
from babel.dates import format_datetime
from babel.numbers import format_decimal, get_currency_precision
from babel.units import format_unit
from fluent.runtime import FluentBundle, FluentResource
from markupsafe import Markup, escape

LANGUAGES: Final = ("en", "fr", "ar")
"""Those that there are catalogues for; the first is what others see."""
NAMES: Final = {"en": "English", "fr": "Français", "ar": "العربية"}
SHORT: Final = {"en": "EN", "fr": "FR", "ar": "ع"}
ABSENT: Final = "\u2013"
"""What stands where there is no figure: an absent one is never 0."""
TIMES: Final = "\u00d7"
_FOLDER: Final = Path(__file__).parent.parent / "locales"
_FSI, _PDI = "\u2068", "\u2069"
_SLOT: Final = re.compile("\ue000([0-9]+)\ue001")
_UNITS: Final = (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1_000))
_SIZES: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_OCTETS: Final = ("o", "ko", "Mo", "Go", "To", "Po")
"""What French calls them."""
_TURNS: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What turns the direction of writing: a name must not end its own isolation."""


class Words:
    """One language, as one factory writes it."""

    def __init__(self, tag: str, country: str) -> None:
        """Read the catalogue of `tag`. `country` is ISO 3166-1 alpha-2."""
        self.tag = tag
        self.rtl = tag == "ar"
        try:
            self.locale = Locale.parse(f"{tag}_{country}")
        except (UnknownLocaleError, ValueError):
            self.locale = Locale.parse(tag)
        name = str(self.locale).replace("_", "-")  # the names of CLDR and of BCP 47 differ in this alone
        self.written = f"{name}-u-nu-latn"
        """How scripts write what they add, so that it looks like the rest: BCP 47, with the digits of `number`."""
        self._bundle = FluentBundle([name], use_isolating=False)
        for path in sorted((_FOLDER / tag).glob("*.ftl")):
            self._bundle.add_resource(FluentResource(path.read_text(encoding="utf-8")))

    def has(self, key: str) -> bool:
        """Whether there is such a message."""
        return self._bundle.has_message(key)

    def __call__(self, key: str, /, **values: Any) -> Markup:  # noqa: ANN401 - whatever the message names
        """A message as HTML. Numbers choose plurals; all else is isolated, and escaped unless it is Markup.

        Raises KeyError where there is no such message.
        """
        slots: list[Markup] = []
        given: dict[str, Any] = {}
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                given[name] = value
            else:
                given[name] = f"\ue000{len(slots)}\ue001"
                slots.append(
                    value if isinstance(value, Markup) else Markup("<bdi>{}</bdi>").format(_still(value))
                )
        text = str(escape(self._format(key, given)))
        return Markup(_SLOT.sub(lambda found: slots[int(found[1])], text))  # noqa: S704 - escaped above

    def plain(self, key: str, /, **values: Any) -> str:  # noqa: ANN401 - as above
        """A message as text, for attributes and titles."""
        given = {
            name: value if isinstance(value, int | float) else f"{_FSI}{_still(value)}{_PDI}"
            for name, value in values.items()
        }
        return self._format(key, given)

    def _format(self, key: str, values: dict[str, Any]) -> str:
        message = self._bundle.get_message(key)
        if message.value is None:
            raise KeyError(key)
        text, errors = self._bundle.format_pattern(message.value, values)
        if errors:
            raise errors[0]
        return str(text)

    # --- figures ------------------------------------------------------------------------------------------------

    def number(self, value: float, digits: int = 0) -> Markup:
        """A number with so many digits after the point."""
        pattern = "#,##0" + ("." + "0" * digits if digits else "")
        return _ltr(format_decimal(value, format=pattern, locale=self.locale))

    def money(self, minor: float, currency: str) -> Markup:
        """An amount in minor units, with its currency (ISO 4217)."""
        digits = get_currency_precision(currency)
        pattern = "#,##0" + ("." + "0" * digits if digits else "")
        text = format_decimal(minor / 10**digits, format=pattern, locale=self.locale)
        code = Markup('<span class="unit">{}</span>').format(currency)
        parts = (code, text) if self.tag == "en" else (text, code)
        return Markup('<bdi dir="ltr">{} {}</bdi>').format(*parts)

    def fine_money(self, minor: float, currency: str) -> Markup:
        """A price that may be far below a minor unit: with six digits more."""
        digits = get_currency_precision(currency)
        pattern = "#,##0." + "0" * digits + "#" * 6
        text = format_decimal(minor / 10**digits, format=pattern, locale=self.locale)
        return Markup('<bdi dir="ltr">{} <span class="unit">{}</span></bdi>').format(text, currency)

    def percent(self, basis_points: int) -> Markup:
        """A share in hundredths of a per cent."""
        return _ltr(format_decimal(basis_points / 100, format="0.0", locale=self.locale) + "\u202f%")

    def span(self, ms: int) -> Markup:
        """A stretch of time: its two largest units."""
        left = max(0, ms)
        parts: list[str] = []
        for unit, size in _UNITS:
            count, left = divmod(left, size)
            if count:
                parts.append(
                    format_unit(count, f"duration-{unit}", length="short", format="0", locale=self.locale)
                )
            if len(parts) == 2 or (parts and not count):
                break
        if not parts:
            parts = [format_unit(0, "duration-second", length="short", format="0", locale=self.locale)]
        return Markup("<bdi>{}</bdi>").format(" ".join(parts))

    def size(self, count: int) -> Markup:
        """So many bytes."""
        size, unit = self.size_unit(count)
        value = count / size
        pattern = "0" if size == 1 or value >= 100 else "0.#"
        return _ltr(f"{format_decimal(value, format=pattern, locale=self.locale)} {unit}")

    def size_unit(self, count: int) -> tuple[int, str]:
        """The unit that so many bytes are best said in: its size in bytes, and its sign."""
        step = 0
        while count >= 1000 ** (step + 1) and step + 1 < len(_SIZES):
            step += 1
        return 1000**step, (_OCTETS if self.tag == "fr" else _SIZES)[step]

    def moment(self, ms: int | None) -> Markup:
        """A point in time, UTC."""
        if ms is None:
            return escape(ABSENT)
        when = datetime.fromtimestamp(ms / 1000, UTC)
        text = format_datetime(when, "d MMM yyyy HH:mm:ss", locale=self.locale)
        return Markup('<time datetime="{}"><bdi>{}</bdi></time>').format(
            when.isoformat(timespec="milliseconds"), text
        )

    def clock(self, ms: int | None) -> Markup:
        """The time of day of a point in time, UTC."""
        if ms is None:
            return escape(ABSENT)
        when = datetime.fromtimestamp(ms / 1000, UTC)
        return Markup('<time datetime="{}"><bdi dir="ltr">{}</bdi></time>').format(
            when.isoformat(timespec="milliseconds"), format_datetime(when, "HH:mm:ss", locale=self.locale)
        )

    def month(self, text: str) -> str:
        """A month that is written `2026-11`."""
        when = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
        return format_datetime(when, "LLLL yyyy", locale=self.locale)

    def country(self, code: str) -> str:
        """The name of a country; its code where CLDR has none."""
        return str(cast("dict[str, str]", self.locale.territories).get(code, code))


def _still(value: object) -> str:
    return _TURNS.sub("", str(value))


def _ltr(text: str) -> Markup:
    return Markup('<bdi dir="ltr">{}</bdi>').format(text)


@cache
def words_of(tag: str, country: str) -> Words:
    """The language `tag` as a factory in `country` writes it."""
    return Words(tag, country)


def preferred(accept: str) -> str:
    """The language that a browser's `Accept-Language` asks for first, of those that there are."""
    wanted: list[tuple[float, int, str]] = []
    for place, part in enumerate(accept[:1000].split(",")):
        tag, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality or 1)
        except ValueError:
            weight = 0.0
        primary = tag.partition("-")[0].lower()
        if primary in LANGUAGES and weight > 0:
            wanted.append((-weight, place, primary))
    return min(wanted)[2] if wanted else LANGUAGES[0]
