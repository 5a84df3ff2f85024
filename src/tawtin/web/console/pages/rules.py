"""The rule packs as text: what each rule demands, of whom, by which citation, and what is unknown."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from babel.dates import format_date
from markupsafe import Markup, escape

from tawtin.model.base import Record
from tawtin.model.rules import ANYWHERE, COMMON, FACT, HOME, OVERRIDE, Standing

if TYPE_CHECKING:
    from tawtin.model.rules import Broken, Labels, Note, Pack, Rule
    from tawtin.web.console.visit import Visit
    from tawtin.web.console.words import Words
    from tawtin.web.exchange import Answer

BUILT_IN: Final = (
    "home", "public", "pack", "pack.missing", "pack.broken", "pack.silent", "data.class", "site.country",
    "spec.residency.allow", "spec.residency.deny", "tenant.residency.allow", "tenant.residency.deny",
)  # fmt: skip
"""What verdicts name where no rule of a pack decided."""
LOOKS: Final = {
    Standing.IN_FORCE: ("ok", "yes"),
    Standing.POLICY: ("run", "info"),
    Standing.ANNOUNCED: ("wait", "wait"),
    Standing.SUPERSEDED: ("", "stop"),
}
_CHARS_MAX: Final = 200
_MEMBERS_SHOWN: Final = 60
_LINK: Final = re.compile(r"https?://[^\s;,<>\"'`\\]+")


class RuleText(Record, frozen=True, kw_only=True):
    """One rule in words."""

    id: str
    label: str
    citation: str
    links: tuple[str, ...]
    notes: str
    status: str
    look: tuple[str, str]
    facts: tuple[tuple[str, object], ...]
    """Heading (a key of the catalogue) and what stands under it."""


class NoteText(Record, frozen=True, kw_only=True):
    """What a pack says beside its rules."""

    id: str
    text: str
    citation: str
    links: tuple[str, ...]


class PackText(Record, frozen=True, kw_only=True):
    """One country."""

    country: str
    anchor: str
    name: str
    version: int
    sha256: str
    rules: tuple[RuleText, ...]
    notes: tuple[NoteText, ...]


class BrokenText(Record, frozen=True, kw_only=True):
    """A pack that cannot be used."""

    country: str
    name: str
    why: str


async def show_rules(visit: Visit) -> Answer:
    """The page."""
    words, judge = visit.words, visit.service.state.judge
    wanted = visit.query.get("country", "")[:_CHARS_MAX]
    query = visit.query.get("q", "")[:_CHARS_MAX].strip()
    packs = sorted(judge.packs.values(), key=lambda pack: _place(visit, pack))
    chosen = wanted if wanted in judge.packs else ""
    shown = [
        _pack(words, pack, query)
        for pack in packs
        if not chosen or pack in judge.packs_of(chosen) or pack.country == chosen
    ]
    return visit.render(
        "rules.html",
        current="rules",
        packs=[each for each in shown if not query or each.rules or each.notes],
        countries=[(pack.country, _label(words, pack.name)) for pack in packs],
        broken=[_broken(words, each) for each in judge.broken.values()],
        built_in=() if chosen or query else BUILT_IN,
        chosen=chosen,
        query=query,
        count=sum(len(each.rules) for each in shown),
    )


def _place(visit: Visit, pack: Pack) -> tuple[int, str]:
    """This factory's own country first, what holds everywhere last."""
    own = pack in visit.service.state.judge.packs_of(visit.service.site.country)
    rank = 0 if own else 2 if pack.country == COMMON else 1
    return rank, _label(visit.words, pack.name)


def _label(words: Words, labels: Labels) -> str:
    return {"en": labels.en, "fr": labels.fr, "ar": labels.ar}[words.tag]


def _pack(words: Words, pack: Pack, query: str) -> PackText:
    return PackText(
        country=pack.country,
        anchor=f"pack-{pack.country}" if pack.country != COMMON else "pack-everywhere",
        name=_label(words, pack.name),
        version=pack.version,
        sha256=pack.sha256,
        rules=tuple(_rule(words, pack, rule) for rule in pack.rules if _fits_rule(rule, query)),
        notes=tuple(_note(note) for note in pack.notes if _fits_note(note, query)),
    )


def _fits_rule(rule: Rule, query: str) -> bool:
    texts = (rule.id, rule.citation, rule.notes, rule.label.en, rule.label.fr, rule.label.ar, *rule.classes)
    return _fits(texts, query)


def _fits_note(note: Note, query: str) -> bool:
    return _fits((note.id, note.text, note.citation), query)


def _fits(texts: tuple[str, ...], query: str) -> bool:
    return not query or any(query.casefold() in text.casefold() for text in texts)


def _broken(words: Words, broken: Broken) -> BrokenText:
    name = words.country(broken.country) if broken.country not in {"", COMMON} else broken.country
    return BrokenText(country=broken.country, name=name, why=broken.why)


def _note(note: Note) -> NoteText:
    return NoteText(id=note.id, text=note.text, citation=note.citation, links=_links(note.source))


def _links(source: str) -> tuple[str, ...]:
    """The addresses in a source, which are shown and never fetched."""
    return tuple(dict.fromkeys(_LINK.findall(source)))


def _rule(words: Words, pack: Pack, rule: Rule) -> RuleText:
    direction = f"rules-{rule.direction.value}-inland" if rule.inland else f"rules-{rule.direction.value}"
    facts: list[tuple[str, object]] = [
        ("rules-about", words(direction)),
        ("rules-binds", _list(words, "bind", rule.binds) if rule.binds else words("rules-binds-all")),
        ("rules-classes", _list(words, "class", rule.classes)),
    ]
    if rule.purposes:
        facts.append(("rules-purposes", _list(words, "purpose", rule.purposes)))
    facts.append(("rules-to", _joined(words, "comma", [_to(words, pack, each) for each in rule.to])))
    facts.extend(("rules-needs", _need(words, each)) for each in rule.needs)
    if rule.attested:
        facts.append(("rules-attested", words("rules-attested-what")))
    if rule.override:
        facts.append(("rules-override", words("rules-override-what", name=_mono(OVERRIDE))))
    if rule.group:
        facts.append(("rules-group", words("rules-group-what", name=_mono(rule.group))))
    if rule.from_ms is not None:
        facts.append(("rules-from", _day(words, rule.from_ms)))
    if rule.until_ms is not None:
        facts.append(("rules-until", _day(words, rule.until_ms)))
    if rule.confidence:
        facts.append(("rules-confidence", _word(words, "confidence", rule.confidence)))
    if rule.verified:
        facts.append(("rules-verified", Markup('<span lang="en" dir="ltr">{}</span>').format(rule.verified)))
    return RuleText(
        id=rule.id,
        label=_label(words, rule.label),
        citation=rule.citation,
        links=_links(rule.source),
        notes=rule.notes,
        status=rule.status.value,
        look=LOOKS[rule.status],
        facts=tuple(facts),
    )


def _need(words: Words, need: str) -> Markup:
    """What has to be there, in words: one of several is enough."""
    return _joined(words, "or", [_one_need(words, each) for each in need.split("|")])


def _one_need(words: Words, need: str) -> Markup:
    fact = FACT.fullmatch(need)
    if fact is None:
        return _word(words, "need", need)
    name, sign, value = fact.groups()
    if name.startswith("qualifications."):
        scheme = _mono(name.partition(".")[2])
        key = "rules-fact-level" if sign == "=" else "rules-fact-level-least"
        return words(key, scheme=scheme, level=value)
    return words(f"rules-fact-{name}", country=words.country(value))


def _to(words: Words, pack: Pack, place: str) -> Markup:
    """Where data may be: a place in words, and the members of a set of countries."""
    if place == ANYWHERE:
        return words("rules-anywhere")
    if place == HOME:
        return words("rules-at-home", country=_label(words, pack.name))
    members = pack.sets[place].members if place in pack.sets else None
    if members is None:
        return Markup("<bdi>{}</bdi>").format(words.country(place))
    names = [
        Markup("<bdi>{}</bdi>").format(name)
        for name in sorted(words.country(each) for each in members[:_MEMBERS_SHOWN])
    ]
    return Markup("{} {}").format(
        words("rules-set", name=_mono(place), count=len(members)), _joined(words, "comma", names)
    )


def _list(words: Words, kind: str, names: tuple[str, ...]) -> Markup:
    return _joined(words, "comma", [_word(words, kind, each) for each in names])


def _word(words: Words, kind: str, name: str) -> Markup:
    """What the catalogue calls something; what it does not know stands there as it is."""
    key = f"rules-{kind}-{name}"
    return words(key) if words.has(key) else _mono(name)


def _joined(words: Words, how: str, parts: list[Markup]) -> Markup:
    between = Markup(" {} ").format(words("rules-or")) if how == "or" else words("rules-comma") + Markup(" ")
    return between.join(parts)


def _mono(text: str) -> Markup:
    return Markup('<bdi dir="ltr" class="mono">{}</bdi>').format(text)


def _day(words: Words, ms: int) -> Markup:
    when = datetime.fromtimestamp(ms / 1000, UTC).date()
    text = format_date(when, "d MMMM yyyy", locale=words.locale)
    return Markup('<time datetime="{}"><bdi>{}</bdi></time>').format(when.isoformat(), escape(text))
