"""Residency rules as data: packs, the facts they ask about, and verdicts.

A pack holds one country's rules with citation, confidence and dates, and cases that it has to pass. It is a research
aid and no legal advice; whoever relies on it has it read by counsel first.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from tawtin.model.base import Record

DATA_CLASSES: Final[dict[str, str]] = {
    "public": "lawfully published",
    "internal": "neither personal nor classified for security",
    "personal": "relates to an identifiable person",
    "sensitive": "a special category of the country's data protection law, such as health",
    "subscriber": "customers of telecommunications",
    "financial": "held by regulated financial institutions",
    "government": "held by or for public bodies",
    "government_sensitive": "sensitive for security: public bodies and vital infrastructure",
    "government_sensitive_system": "a system that is sensitive in itself",
    "government_classified": "secret and above",
}
"""What data can be, and what that means."""

SECTORS: Final = ("civil_registration", "education", "financial", "health", "telecom")
"""What rules bind owners as, besides their kind."""
OVERRIDE: Final = "owner_override"
"""The authorisation with which an owner sets a policy aside."""
FACT: Final = re.compile(
    r"site\.(law|control_plane|staff|keys|majority|qualifications\.[a-z0-9_-]+)(=|>=)(\w+)"
)
"""A need that is about the factory: which fact, how it is compared, with what."""
COMMON: Final = "*"
"""The country of the pack that holds everywhere."""
ANYWHERE: Final = "any"
HOME: Final = "home"

Text = Annotated[str, msgspec.Meta(max_length=4096)]
Token = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]


class Direction(StrEnum):
    """Whose law speaks."""

    EXPORT = "export"
    """That of the data's origin."""
    IMPORT = "import"
    """That of the country in which the factory stands, about data from elsewhere."""


class Standing(StrEnum):
    """How a rule stands."""

    IN_FORCE = "in_force"
    POLICY = "policy"
    """A published policy of the government. It binds here as a law does, unless the rule lets the owner override it."""
    ANNOUNCED = "announced"
    """Shown, and does not bind."""
    SUPERSEDED = "superseded"
    """Kept for history, and does not bind."""


def need_is_sound(need: str) -> bool:
    """Whether a need of a rule can be asked: names of authorisations, and facts that factories have."""
    for each in need.split("|"):
        fact = FACT.fullmatch(each)
        if fact is None:
            if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", each):
                return False
        elif fact[1].startswith("qualifications.") != fact[3].isdigit() or (
            fact[2] == ">=" and not fact[3].isdigit()
        ):
            return False
    return True


class Labels(Record, frozen=True, kw_only=True):
    """One sentence in each language of the product, with the country's own legal terms."""

    en: Text
    fr: Text
    ar: Text


class Rule(Record, frozen=True, kw_only=True):
    """One rule: whom and what it is about, where that may go, and what it needs for that."""

    id: Token
    group: Token | None = None
    """Rules of one group are alternatives: one that is met is enough."""
    direction: Direction = Direction.EXPORT
    binds: tuple[str, ...] = ()
    """Kinds and sectors of owners that it is about; empty for all."""
    classes: tuple[str, ...]
    purposes: tuple[str, ...] = ()
    """Purposes that it is about; empty for all."""
    inland: bool = False
    """It is asked at home too, not only when data leaves or enters."""
    to: tuple[str, ...] = (ANYWHERE,)
    """`any`, `home`, names of sets, or ISO 3166-1 codes: where the data may be under this rule."""
    needs: tuple[str, ...] = ()
    """Each has to be there. `a|b` asks for one of two. A name is an authorisation that the owner has, valid then and
    for that country; `site.<fact><op><value>` is about the factory."""
    attested: bool = False
    """Facts about the factory count only if somebody else vouches for them."""
    override: bool = False
    """The owner may set it aside (a policy, not a law)."""
    citation: Text
    source: Text = ""
    confidence: str = ""
    verified: Text = ""
    """How the rule was checked: primary_text, official_site, secondary, press, recall, inference."""
    status: Standing = Standing.IN_FORCE
    from_ms: int | None = None
    until_ms: int | None = None
    """The first moment at which it holds no more."""
    notes: Text = ""
    label: Labels


class Note(Record, frozen=True, kw_only=True):
    """What a pack says beside its rules: penalties, duties. Shown, never decisive."""

    id: Token
    text: Text
    citation: Text = ""
    source: Text = ""


class CountrySet(Record, frozen=True, kw_only=True):
    """A list of countries that rules refer to by name."""

    members: tuple[str, ...]
    note: Text = ""
    source: Text = ""
    confidence: str = ""


class Authorisation(Record, frozen=True, kw_only=True):
    """A document that an owner has: what it is, its number, what it covers, until when. Recorded by an operator."""

    kind: Token
    number: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    covers: tuple[str, ...] = ("*",)
    """ISO 3166-1 codes of destinations, or `*`."""
    classes: tuple[str, ...] = ()
    """Data classes that it is for; empty for all."""
    from_ms: int = 0
    expires_ms: int | None = None


class Facts(Record, frozen=True, kw_only=True):
    """What a factory says of itself, for rules that ask. Unknown is empty, and then such a rule is not met."""

    law: str = ""
    """Country under whose law its operator is a company."""
    ownership: dict[str, Annotated[int, msgspec.Meta(ge=0, le=100)]] = {}
    """Percent of the operator's capital by country."""
    control_plane: str = ""
    """Country from which it is managed and supervised."""
    staff: str = ""
    """Nationality of all operating staff, if it is one."""
    keys: str = ""
    """Country in which encryption keys are held."""
    qualifications: dict[Token, int] = {}
    """Levels by scheme, such as `dgssi`."""
    attested: dict[str, str] = {}
    """Which of the facts above somebody else vouches for: name of the fact (`ownership`, `qualifications.dgssi`) -> by
    whom. What is not here is the factory's own word."""


class Case(Record, frozen=True, kw_only=True):
    """A question with the answer that the pack has to give."""

    name: Text
    data_class: str = msgspec.field(name="class")
    origin: str = ""
    purpose: str = ""
    kind: str = "private"
    sectors: tuple[str, ...] = ()
    authorisations: tuple[Authorisation, ...] = ()
    site: str
    """The factory's country."""
    facts: Facts = Facts()
    at_ms: int | None = None
    want: str
    """`allowed` or `refused`."""
    rule: str = ""
    """The rule that decides."""


class Pack(Record, frozen=True, kw_only=True):
    """One country's rules."""

    country: str
    """ISO 3166-1 code; `EU` for what holds in all its member states, `*` for what holds everywhere."""
    name: Labels
    version: int = 1
    sets: dict[str, CountrySet] = {}
    rules: tuple[Rule, ...] = ()
    notes: tuple[Note, ...] = ()
    cases: tuple[Case, ...] = ()
    sha256: str = ""
    """Of the canonical content, hexadecimal."""


class Broken(Record, frozen=True, kw_only=True):
    """A pack that cannot be used. Everything that it touches is refused."""

    country: str
    """Empty if not even that could be read: then everything but public data is refused."""
    why: Text


class Finding(Record, frozen=True, kw_only=True):
    """What one rule says to one question."""

    rule: str
    country: str
    met: bool
    why: str
    citation: str = ""
    confidence: str = ""
    binding: bool = True


class Verdict(Record, frozen=True, kw_only=True):
    """Whether a workload may be at a factory, the rule that says so, and the same in words."""

    allowed: bool
    rule: str
    sentence: str
    citation: str = ""
    findings: tuple[Finding, ...] = ()
    """Every rule that was looked at, in the order of the packs."""
    not_after_ms: int | None = None
    """An allowed verdict holds until then at most: an authorisation or a rule ends."""
    packs: dict[str, str] = {}
    """The packs that were asked: country -> SHA-256."""
