"""From TOML files to packs. Strict: whatever cannot be understood makes its pack broken, with the place and the reason.

Packs ship in `packs/`; a folder of the operator's own replaces those of the same country. A broken pack stays in the
result, so that what it touches is refused; it is never left out.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from tawtin.model.base import Record
from tawtin.model.codes import COUNTRIES
from tawtin.model.rules import (
    ANYWHERE,
    COMMON,
    DATA_CLASSES,
    HOME,
    SECTORS,
    Broken,
    Case,
    Pack,
    Rule,
    need_is_sound,
)

SHIPPED: Final = Path(__file__).parent / "packs"
UNIONS: Final = ("EU",)
FILE_BYTES_MAX: Final = 1 << 20
_KINDS: Final = ("private", "public_body", "vital_infrastructure", "student")
_DATES: Final = {"from": "from_ms", "until": "until_ms", "expires": "expires_ms", "at": "at_ms"}


class Packs(Record, frozen=True, kw_only=True):
    """Everything that was read."""

    packs: tuple[Pack, ...] = ()
    broken: tuple[Broken, ...] = ()


class PackError(Exception):
    """A pack cannot be used; the message names the place."""


def load_packs(own: Path | None = None) -> Packs:
    """Read the packs that ship, and those of the folder `own`, which replace them by country. Never raises."""
    found: dict[str, Pack | Broken] = {}
    for folder in (SHIPPED, own):
        if folder is None:
            continue
        if not folder.is_dir():
            found[""] = Broken(country="", why=f"the folder of rule packs `{folder}` is not there")
            continue
        seen: dict[str, str] = {}
        for path in sorted(folder.glob("*.toml")):
            each = _load(path)
            if each.country in seen:
                why = f"`{path.name}` and `{seen[each.country]}` are both for {each.country or 'no country'}"
                each = Broken(country=each.country, why=why)
            seen[each.country] = path.name
            found[each.country] = each
    return Packs(
        packs=tuple(each for each in found.values() if isinstance(each, Pack)),
        broken=tuple(each for each in found.values() if isinstance(each, Broken)),
    )


def _load(path: Path) -> Pack | Broken:
    country = ""
    try:
        with path.open("rb") as file:
            body = file.read(FILE_BYTES_MAX + 1)
        if len(body) > FILE_BYTES_MAX:
            return Broken(country="", why=f"`{path.name}` is larger than {FILE_BYTES_MAX} bytes")
        raw = tomllib.loads(body.decode())
        said = raw.get("country")
        country = said if isinstance(said, str) and _is_holder(said) else ""
        return parse(raw)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, PackError) as error:
        return Broken(country=country, why=f"`{path.name}`: {error}")


def parse(raw: dict[str, Any]) -> Pack:
    """Return the pack in a TOML document. Raises PackError, which names the field."""
    try:
        pack = msgspec.convert(_dated(raw, ""), Pack)
    except msgspec.ValidationError as error:
        raise PackError(str(error)) from None
    if not _is_holder(pack.country):
        msg = f"country: `{pack.country}` is no ISO 3166-1 code, and neither `EU` nor `*`"
        raise PackError(msg)
    for name, members in pack.sets.items():
        _each_is(f"sets.{name}.members", members.members, COUNTRIES, "an ISO 3166-1 code")
    seen: set[str] = set()
    for number, rule in enumerate(pack.rules):
        if rule.id in seen:
            msg = f"rules[{number}].id: `{rule.id}` is there twice"
            raise PackError(msg)
        seen.add(rule.id)
        _check_rule(f"rules[{number}]", rule, pack)
    for number, case in enumerate(pack.cases):
        _check_case(f"cases[{number}]", case, pack, seen)
    body = msgspec.json.encode(msgspec.structs.replace(pack, sha256=""), order="deterministic")
    return msgspec.structs.replace(pack, sha256=hashlib.sha256(body).hexdigest())


def _check_rule(place: str, rule: Rule, pack: Pack) -> None:
    _each_is(f"{place}.classes", rule.classes, DATA_CLASSES, "a data class")
    _each_is(f"{place}.binds", rule.binds, (*_KINDS, *SECTORS), "a kind or sector of owners")
    places = (ANYWHERE, HOME, *pack.sets)
    _each_is(
        f"{place}.to",
        rule.to,
        {*places, *COUNTRIES},
        "`any`, `home`, a set of this pack or an ISO 3166-1 code",
    )
    for need in rule.needs:
        if not need_is_sound(need):
            msg = f"{place}.needs: `{need}` cannot be asked; name an authorisation, or write `site.<fact>=<value>`"
            raise PackError(msg)
    if not rule.classes or not rule.to:
        msg = f"{place}: `classes` and `to` may not be empty"
        raise PackError(msg)
    if rule.from_ms is not None and rule.until_ms is not None and rule.until_ms <= rule.from_ms:
        msg = f"{place}.until: it ends before it begins"
        raise PackError(msg)


def _check_case(place: str, case: Case, pack: Pack, rules: set[str]) -> None:
    _each_is(f"{place}.class", (case.data_class,), DATA_CLASSES, "a data class")
    _each_is(f"{place}.site", (case.site,), COUNTRIES, "an ISO 3166-1 code")
    _each_is(f"{place}.kind", (case.kind,), _KINDS, "a kind of owner")
    _each_is(f"{place}.sectors", case.sectors, SECTORS, "a sector")
    _each_is(f"{place}.want", (case.want,), ("allowed", "refused"), "`allowed` or `refused`")
    origin = case.origin or pack.country
    _each_is(f"{place}.origin", (origin,), COUNTRIES, "an ISO 3166-1 code, which this pack's cases need")
    builtin = ("home", "public", "pack.silent", "pack.missing")
    if case.rule:
        _each_is(
            f"{place}.rule", (case.rule,), {*rules, *builtin, *_others(case, pack)}, "a rule of this pack"
        )


def _others(case: Case, pack: Pack) -> Iterable[str]:
    """Rules of the factory's own country may decide a case too."""
    return (case.rule,) if case.site != pack.country and case.rule.startswith(case.site.lower()) else ()


def _each_is(place: str, values: Iterable[str], known: Iterable[str], what: str) -> None:
    allowed = set(known)
    for value in values:
        if value not in allowed:
            msg = f"{place}: `{value}` is not {what}"
            raise PackError(msg)


def _is_holder(country: str) -> bool:
    return country in COUNTRIES or country in UNIONS or country == COMMON


def _dated(value: Any, place: str) -> Any:  # noqa: ANN401 - whatever TOML holds
    """Turn dates into milliseconds UTC, and the names of the fields that hold them."""
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for key, each in value.items():  # pyright: ignore[reportUnknownVariableType]
            name = str(key)  # pyright: ignore[reportUnknownArgumentType]
            inner = _dated(each, f"{place}.{name}".lstrip("."))
            if isinstance(inner, int) and isinstance(each, dt.date):
                if name not in _DATES:
                    msg = f"{place}.{name}: a date is not expected here".lstrip(".")
                    raise PackError(msg)
                name = _DATES[name]
            elif name in _DATES or name in _DATES.values():
                msg = f"{place}.{name}: write a date, such as 2026-11-27".lstrip(".")
                raise PackError(msg)
            found[name] = inner
        return found
    if isinstance(value, list):
        return [_dated(each, f"{place}[{number}]") for number, each in enumerate(value)]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            msg = f"{place}: a time needs its zone, such as 2026-11-27T00:00:00Z"
            raise PackError(msg)
        return int(value.timestamp() * 1000)
    if isinstance(value, dt.date):
        midnight = dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
        return int(midnight.timestamp()) * 1000
    return value
