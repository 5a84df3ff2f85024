"""The words of the console: one catalogue a language, complete, and no visible word outside of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Final, get_args

import pytest
from babel import Locale
from fluent.syntax import FluentParser
from fluent.syntax.ast import (
    Identifier,
    Message,
    NumberLiteral,
    Pattern,
    Placeable,
    SelectExpression,
    VariableReference,
)
from jinja2 import Environment, nodes

import tawtin.web.console
from tawtin.model.events import Event
from tawtin.model.health import FaultKind
from tawtin.model.reasons import Cause, Waiting
from tawtin.model.resources import NodeHealth
from tawtin.model.roaming import PeerState
from tawtin.model.services import Readiness
from tawtin.model.tenant import Scope
from tawtin.model.workload import WorkloadType
from tawtin.spec.edit import FIELDS
from tawtin.web.console.pages.oidc import STATUSES as STATUSES_OF_OIDC
from tawtin.web.console.pages.operator_keys import FACTORS
from tawtin.web.console.pages.workloads import COLUMNS, STATUSES
from tawtin.web.console.words import LANGUAGES, Words

CONSOLE: Final = Path(tawtin.web.console.__file__).parent
LOCALES: Final = CONSOLE.parent / "locales"
TEMPLATES: Final = sorted((CONSOLE / "templates").glob("*.html"))
FAMILIES: Final[dict[str, tuple[str, ...]]] = {
    "why-": tuple(Waiting),
    "cause-": tuple(Cause),
    "type-": tuple(WorkloadType),
    "status-": STATUSES,
    "role-": tuple(Scope),
    "col-": COLUMNS,
    "health-": tuple(NodeHealth),
    "fault-": tuple(FaultKind),
    "peer-": tuple(PeerState),
    "key-": ("valid", "expired", "revoked"),
    "limit-": tuple(FACTORS),
    "event-": tuple(each.__name__ for each in get_args(Event)),
    "usage-rate-of-": ("gpu", "cpu"),
    "usage-ring-": ("gpu", "cpu", "bytes", "runs", "tokens"),
    "workspace-is-": tuple(Readiness),
    "field-": tuple(each.name for each in FIELDS),
    "metric-": ("cpu", "memory", "gpu"),
    "metric-short-": ("cpu", "memory", "gpu"),
    "problem-": ("403", "404", "503"),
    "oidc-": tuple(STATUSES_OF_OIDC),
    "oidc-what-": tuple(STATUSES_OF_OIDC),
    "step-": ("queued", "placed", "running", "end", "succeeded", "failed", "cancelled"),
}
"""What the ends of keys can be that are put together from what a factory knows."""
OPEN: Final = ("rules-", "usage-", "models-")
"""Beginnings of keys that pages choose as strings, or whose ends are data, such as what rules of a pack demand."""
HELD: Final = {"heading"}
"""Names in templates that hold a key which a page has chosen."""
PROPER: Final = {"curl", "Python"}
"""Names of programs, the same in every language."""
VISIBLE: Final = {"aria-label", "title", "placeholder", "alt", "data-h", "label"}
BIDI: Final = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


# --- catalogues ---------------------------------------------------------------------------------------------------


@cache
def catalogue(tag: str) -> dict[str, Pattern]:
    found: dict[str, Pattern] = {}
    for path in sorted((LOCALES / tag).glob("*.ftl")):
        for entry in FluentParser(with_spans=False).parse(path.read_text(encoding="utf-8")).body:
            assert type(entry).__name__ in {"Message", "ResourceComment"}, f"{path.name}: {entry}"
            if isinstance(entry, Message):
                assert entry.value is not None
                assert entry.id.name not in found, f"`{entry.id.name}` is twice in {tag}"
                found[entry.id.name] = entry.value
    return found


def selects(pattern: Pattern) -> Iterator[SelectExpression]:
    for part in pattern.elements:
        if isinstance(part, Placeable) and isinstance(part.expression, SelectExpression):
            yield part.expression
            for variant in part.expression.variants:
                yield from selects(variant.value)


def placeables(pattern: Pattern) -> set[str]:
    found: set[str] = set()
    for part in pattern.elements:
        if isinstance(part, Placeable) and isinstance(part.expression, VariableReference):
            found.add(part.expression.id.name)
    for select in selects(pattern):
        assert isinstance(select.selector, VariableReference)
        found.add(select.selector.id.name)
        for variant in select.variants:
            found |= placeables(variant.value)
    return found


@pytest.mark.parametrize("tag", LANGUAGES)
def test_a_catalogue_has_the_keys_and_placeables_of_english(tag: str) -> None:
    english, other = catalogue("en"), catalogue(tag)
    assert other.keys() == english.keys()
    wrong = [key for key in english if placeables(other[key]) != placeables(english[key])]
    assert not wrong


@pytest.mark.parametrize("tag", LANGUAGES)
def test_all_plural_forms_of_the_language_are_there(tag: str) -> None:
    wanted = {*Locale(tag).plural_form.tags, "other"}
    seen = 0
    for key, pattern in catalogue(tag).items():
        for select in selects(pattern):
            names = {each.key.name for each in select.variants if isinstance(each.key, Identifier)}
            assert names == wanted, key
            assert all(isinstance(each.key, Identifier | NumberLiteral) for each in select.variants)
            seen += 1
    assert seen > 3
    assert tag != "ar" or len(wanted) == 6


@pytest.mark.parametrize("tag", ["fr", "ar"])
def test_a_catalogue_is_translated(tag: str) -> None:
    """Few messages may be the same in two languages: words such as `service`."""
    english, other = Words("en", "MA"), Words(tag, "MA")
    same = [
        key
        for key, pattern in catalogue("en").items()
        if not placeables(pattern) and english.plain(key) == other.plain(key)
    ]
    assert len(same) < len(catalogue("en")) / 10, same
    if tag == "ar":
        assert not [key for key in same if english.plain(key) not in {"GPU", "GPUs"}]


def test_french_has_narrow_spaces_before_its_marks() -> None:
    for path in sorted((LOCALES / "fr").glob("*.ftl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            message = line.partition("=")[2]
            assert not re.search(r"[ \u00a0\w)}][;?!](?:\s|$)|[ \u00a0\w)}]:\s", message), line
            assert not re.search('\'|« | »|"[^"]* "', message), line


# --- what templates and pages say ---------------------------------------------------------------------------------


def looped(node: nodes.Node, within: tuple[nodes.For, ...]) -> tuple[str, ...] | None:
    """The strings that a name stands for, where it is that of a loop over a tuple."""
    if not isinstance(node, nodes.Name):
        return None
    for loop in reversed(within):
        targets = loop.target.items if isinstance(loop.target, nodes.Tuple) else [loop.target]
        names = [each.name for each in targets if isinstance(each, nodes.Name)]
        if node.name in names and isinstance(loop.iter, nodes.Tuple):
            items = [each.as_const() for each in loop.iter.items]
            place = names.index(node.name)
            return tuple(each if isinstance(each, str) else each[place] for each in items)
    return None


def keys_of(node: nodes.Node, within: tuple[nodes.For, ...]) -> set[str]:
    match node:
        case nodes.Const(value=str() as key):
            return {key}
        case nodes.CondExpr():
            assert node.expr2 is not None
            return keys_of(node.expr1, within) | keys_of(node.expr2, within)
        case nodes.Concat(nodes=[nodes.Const(value=str() as prefix), rest]):
            return family(prefix, looped(rest, within))
        case nodes.Getitem(node=nodes.Tuple(items=items)):
            return set[str]().union(*(keys_of(each, within) for each in items))
        case nodes.Name(name=name) if name in HELD:
            return set()
        case nodes.Name():
            found = looped(node, within)
            assert found, f"a key that no test can know: {node}"
            return set(found)
        case _:
            raise AssertionError(f"a key that no test can know: {node}")


def family(prefix: str, ends: tuple[str, ...] | None = None) -> set[str]:
    """The keys that begin with `prefix`: those with these ends, else those that there can be."""
    if ends is None and prefix not in FAMILIES and prefix.startswith(OPEN):
        found = {key for key in catalogue("en") if key.startswith(prefix)}
        assert found, prefix
        return found
    return {f"{prefix}{end}" for end in ends or FAMILIES[prefix]}


def is_words(node: nodes.Node) -> bool:
    if isinstance(node, nodes.Getattr) and node.attr == "plain":
        node = node.node
    return isinstance(node, nodes.Name) and node.name in {"t", "words"}


def said(node: nodes.Node, within: tuple[nodes.For, ...] = ()) -> Iterator[str]:
    if isinstance(node, nodes.Call) and is_words(node.node):
        yield from keys_of(node.args[0], within)
    inside = (*within, node) if isinstance(node, nodes.For) else within
    for child in node.iter_child_nodes():
        yield from said(child, inside)


def said_by_page(path: Path) -> Iterator[str]:
    """Keys of messages in a module: what `words(...)` is called with."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Constant(value=str() as key) if key.startswith(OPEN):
                yield from family(key) if key.endswith("-") else {key}
            case ast.JoinedStr(values=[ast.Constant(value=str() as prefix), *_]) if prefix.startswith(OPEN):
                yield from family(prefix)
            case ast.Call(args=[asked, *_]) if name_of(node.func) == "words":
                yield from called_with(asked, path)
            case _:
                pass


def name_of(target: ast.expr) -> str:
    if isinstance(target, ast.Attribute) and target.attr == "plain":
        target = target.value
    if isinstance(target, ast.Attribute):
        return target.attr
    return target.id if isinstance(target, ast.Name) else ""


def called_with(asked: ast.expr, path: Path) -> set[str]:
    match asked:
        case ast.Constant(value=str() as key):
            return {key}
        case ast.JoinedStr(values=[ast.Constant(value=str() as prefix), *_]):
            return family(prefix)
        case ast.Name():
            return set()  # it is a string of the same module, which is looked at by itself
        case _:
            raise AssertionError(f"{path.name}:{asked.lineno}: a key that no test can know")


def test_every_message_is_known_and_every_known_one_is_said() -> None:
    wanted: set[str] = set()
    for path in TEMPLATES:
        wanted |= set(said(Environment(autoescape=True).parse(path.read_text(encoding="utf-8"))))
    for path in sorted((CONSOLE / "pages").glob("*.py")):
        wanted |= set(said_by_page(path))
    known = set(catalogue("en"))
    assert wanted - known == set(), "said, and in no catalogue"
    assert known - wanted == set(), "in the catalogue, and said nowhere"


class Seen(HTMLParser):
    """Collects what a reader sees or hears of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._hidden = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden = tag if tag in {"script", "style", "pre"} else self._hidden  # `pre` has code and logs
        self.found += [value or "" for name, value in attrs if name in VISIBLE and value not in PROPER]

    def handle_endtag(self, tag: str) -> None:
        self._hidden = "" if tag == self._hidden else self._hidden

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.found.append(data)


def written(node: nodes.Node) -> str:
    """What an expression writes by itself, without what it calls or looks up."""
    match node:
        case nodes.Const(value=str() as text):
            return text
        case nodes.CondExpr():
            return written(node.expr1) + (written(node.expr2) if node.expr2 is not None else "")
        case nodes.Concat():
            return "".join(written(each) for each in node.nodes)
        case _:
            return ""


def bare(source: str) -> str:
    """A template with what it writes by itself: orders and comments are dropped."""
    # this block is written among the attributes of `body`
    source = re.sub(r"\{% block live %\}(.*?)\{% endblock %\}", r"<body\1>", source)
    source = re.sub(r"\{#.*?#\}|\{%.*?%\}", "", source, flags=re.DOTALL)

    def expression(found: re.Match[str]) -> str:
        parsed = Environment(autoescape=True).parse(found[0])
        (output,) = parsed.body
        assert isinstance(output, nodes.Output)
        return "".join(written(each) for each in output.nodes)

    return re.sub(r"\{\{.*?\}\}", expression, source, flags=re.DOTALL)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_visible_word_stands_in_a_template(path: Path) -> None:
    page = Seen()
    page.feed(bare(path.read_text(encoding="utf-8")))
    page.close()
    assert [each.strip() for each in page.found if re.search(r"[^\W\d_]", each)] == []


# --- figures ------------------------------------------------------------------------------------------------------


def test_numbers_are_those_of_language_and_country() -> None:
    assert Words("en", "MA").number(12345.6, 1) == '<bdi dir="ltr">12,345.6</bdi>'
    assert Words("fr", "MA").number(12345.6, 1) == '<bdi dir="ltr">12\u202f345,6</bdi>'
    assert Words("ar", "MA").number(12345.6, 1) == '<bdi dir="ltr">12.345,6</bdi>'
    assert Words("ar", "EG").number(12345.6, 1) == '<bdi dir="ltr">12,345.6</bdi>'


def test_money_has_its_currency_and_its_digits() -> None:
    unit = '<span class="unit">{}</span>'
    assert Words("fr", "MA").money(123_456, "MAD") == (
        f'<bdi dir="ltr">1\u202f234,56 {unit.format("MAD")}</bdi>'
    )
    assert Words("en", "KE").money(123_456, "KES") == f'<bdi dir="ltr">{unit.format("KES")} 1,234.56</bdi>'
    # the dinar of Tunisia has thousandths, the franc of West Africa nothing below it
    assert "1.234,567" in Words("ar", "TN").money(1_234_567, "TND")
    assert "1\u202f234\u202f567 " in Words("fr", "SN").money(1_234_567, "XOF")


def test_spans_and_months_are_words_of_the_language() -> None:
    assert Words("fr", "MA").span(2 * 3_600_000 + 41 * 60_000 + 5_000) == "<bdi>2\u202fh 41\u00a0min</bdi>"
    assert Words("ar", "MA").span(0) == "<bdi>0 ث</bdi>"
    assert Words("ar", "MA").month("2026-11") == "نونبر 2026"
    assert Words("ar", "EG").month("2026-11") == "نوفمبر 2026"
    assert Words("fr", "MA").month("2026-08") == "août 2026"
    assert Words("fr", "SN").size(41_000_000_000) == '<bdi dir="ltr">41 Go</bdi>'
    assert Words("ar", "SN").moment(None) == "\u2013"


def test_arabic_counts_in_six_forms() -> None:
    words = Words("ar", "MA")
    said = [str(words("gpus-free", count=count)) for count in (0, 1, 2, 3, 11, 100)]
    assert len(set(said)) == 6
    assert said[2] == "وحدتا GPU متاحتان"
    assert said[3].startswith("3 وحدات")
    assert said[4].startswith("11 وحدة")


def test_a_hostile_name_is_escaped_and_stays_within_itself() -> None:
    name = f"<b onclick=x>{BIDI}a"
    for tag in LANGUAGES:
        html = str(Words(tag, "MA")("foot-served", factory=name))
        assert "<bdi>&lt;b onclick=x&gt;a</bdi>" in html
        text = Words(tag, "MA").plain("choose-this", name=name)
        assert "\u2068<b onclick=x>a\u2069" in text
        assert text.count("\u2069") == 1
