"""Where a workload may be: the single place that gives a verdict.

1. The owner's own wishes, of the spec and of the tenant: both narrow, and a denial wins over a permission.
2. Public data may be anywhere else.
3. The rules of the origin's country about data that leaves (some also about data that stays), then those of the
   factory's country about data that enters. Rules of one group are alternatives; every group has to be met.
4. Whatever is unknown is refused: no pack, a broken one, a class that the pack is silent about.
5. A workload is asked about under every law that what it reads is under, and each of them has to allow it.

`Judge` holds the packs, sorted for asking. It gives the same verdict to the same question, so that it remembers them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from msgspec.structs import replace

from tawtin.model.rules import (
    ANYWHERE,
    COMMON,
    DATA_CLASSES,
    FACT,
    HOME,
    OVERRIDE,
    Authorisation,
    Broken,
    Direction,
    Facts,
    Finding,
    Pack,
    Rule,
    Standing,
    Verdict,
)
from tawtin.model.site import Site
from tawtin.model.tenant import Tenant, TenantKind
from tawtin.model.workload import Owner, Residency, WorkloadSpec

PUBLIC: Final = "public"
CLASSIFIED: Final = "government_classified"
"""Where no rule speaks of it, it may be nowhere, not even at home."""
_COUNTRY_CHARS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_REMEMBERED_MAX: Final = 100_000
_KINDS: Final = frozenset(each.value for each in TenantKind)
_BINDING: Final = (Standing.IN_FORCE, Standing.POLICY)


class Question(NamedTuple):
    """All that rules ask about, but the time."""

    data_class: str
    origin: str
    purpose: str
    kind: str
    sectors: tuple[str, ...]
    authorisations: tuple[Authorisation, ...]
    country: str
    """The factory's."""
    facts: Facts


class _Remembered(NamedTuple):
    verdict: Verdict
    from_ms: int
    until_ms: int
    """The first moment at which it may be another one."""


class Judge:
    """Gives verdicts by these packs. Broken packs make everything that they touch refused."""

    def __init__(self, packs: Iterable[Pack] = (), broken: Iterable[Broken] = ()) -> None:
        self.packs: dict[str, Pack] = {pack.country: pack for pack in packs}
        self.broken: dict[str, Broken] = {each.country: each for each in broken}
        self._unions = {
            country: frozenset(pack.sets["members"].members)
            for country, pack in self.packs.items()
            if country != COMMON and "members" in pack.sets
        }
        self._remembered: dict[str, tuple[Site | None, dict[tuple[object, ...], _Remembered]]] = {}
        """By factory; begun anew when what is known of it changes."""

    def verdict(
        self, spec: WorkloadSpec, tenant: Tenant, site: Site, now_ms: int, *, home: str = ""
    ) -> Verdict:
        """Say whether `spec` of `tenant` may be at `site` now. Never raises: what is malformed is refused.

        `home` is the country of the factory that owns the workload; empty if that is `site` itself. Data whose origin
        is not said comes from the tenant's country, or from there.
        """
        data = spec.data
        key = (
            data.data_class, data.origin, data.laws if data.inputs else (), data.purpose, spec.residency, home,
            tenant.id, tenant.residency, tenant.kind, tenant.country, tenant.sectors, tenant.authorisations,
        )  # fmt: skip
        about, remembered = self._remembered.get(site.name, (None, {}))
        if about is not site or len(remembered) >= _REMEMBERED_MAX:
            remembered = {}
            self._remembered[site.name] = (site, remembered)
        known = remembered.get(key)
        if known is None or not known.from_ms <= now_ms < known.until_ms:
            known = remembered[key] = self._verdict(spec, tenant, site, now_ms, home)
        return known.verdict

    def _verdict(self, spec: WorkloadSpec, tenant: Tenant, site: Site, now_ms: int, home: str) -> _Remembered:
        refusal = _by_owner(spec, tenant, site)
        if refusal is not None:
            return _Remembered(refusal, 0, 1 << 62)
        said = [
            self.answer(
                Question(
                    data_class=law.data_class,
                    origin=law.origin or tenant.country or home or site.country,
                    purpose=spec.data.purpose,
                    kind=tenant.kind.value,
                    sectors=tenant.sectors,
                    authorisations=tenant.authorisations,
                    country=site.country,
                    facts=site.facts,
                ),
                site.name,
                now_ms,
            )
            for law in spec.data.laws
        ]
        return said[0] if len(said) == 1 else _strictest(said)

    # --- a question -------------------------------------------------------------------------------------------------

    def answer(self, question: Question, name: str, now_ms: int) -> _Remembered:
        """The verdict by law alone, and the span of time in which it is the same."""
        if question.data_class not in DATA_CLASSES:
            known = ", ".join(DATA_CLASSES)
            said = f"the data class `{question.data_class}` is not known; it has to be one of {known}"
            return _Remembered(_refused("data.class", said), 0, 1 << 62)
        if question.data_class == PUBLIC:
            said = f"public data may be at {name}: no country here has a rule against it"
            return _Remembered(
                Verdict(allowed=True, rule="public", sentence=said, packs=self._hashes(COMMON)), 0, 1 << 62
            )
        asked = _Asked(self, question, name, now_ms)
        return _Remembered(asked.verdict(), asked.from_ms, asked.until_ms)

    def packs_of(self, country: str) -> list[Pack | Broken]:
        """The pack of a country, and those of the unions that it is in."""
        found: list[Pack | Broken] = []
        for holder in (country, *(union for union, members in self._unions.items() if country in members)):
            each = self.broken.get(holder) or self.packs.get(holder)
            if each is not None:
                found.append(each)
        return found

    def _hashes(self, *countries: str) -> dict[str, str]:
        return {each: self.packs[each].sha256 for each in countries if each in self.packs}


class _Asked:
    """One question on its way through the packs."""

    def __init__(self, judge: Judge, question: Question, name: str, now_ms: int) -> None:
        self.judge = judge
        self.question = question
        self.name = name
        self.now_ms = now_ms
        self.findings: list[Finding] = []
        self.hashes: dict[str, str] = {}
        self.from_ms = 0
        self.until_ms = 1 << 62
        self.not_after_ms = 1 << 62

    def verdict(self) -> Verdict:
        question = self.question
        leaves = question.country != question.origin
        if "" in self.judge.broken:
            return self._refuse("pack", f"a rule pack cannot be read: {self.judge.broken[''].why}")
        steps = [(question.origin, Direction.EXPORT)]
        if leaves:
            steps.append((question.country, Direction.IMPORT))
        first: Rule | None = None
        for country, direction in steps:
            packs = self.judge.packs_of(country)
            if not packs:
                return self._refuse(
                    "pack.missing",
                    f"there is no rule pack for {country}, so that `{question.data_class}` data is kept out",
                )
            silent = True
            for pack in packs:
                if isinstance(pack, Broken):
                    return self._refuse(
                        "pack.broken", f"the rule pack of {pack.country} cannot be used: {pack.why}"
                    )
                self.hashes[pack.country] = pack.sha256
                groups = self._groups(pack, direction, leaves=leaves)
                silent = silent and not groups
                for rules in groups.values():
                    met = self._try_group(pack, rules)
                    if met is None:
                        return self._refuse_by(rules[-1])
                    first = first or met
            if silent and direction is Direction.EXPORT and (leaves or question.data_class == CLASSIFIED):
                said = f"the rule pack of {country} says nothing of `{question.data_class}` data"
                return self._refuse("pack.silent", said)
        sentence = f"{self.name} may have it: " + (
            first.label.en
            if first is not None
            else f"`{question.data_class}` data stays in {question.origin}"
        )
        return Verdict(
            allowed=True,
            rule=first.id if first is not None else "home",
            sentence=sentence,
            citation=first.citation if first is not None else "",
            findings=tuple(self.findings),
            not_after_ms=self.not_after_ms if self.not_after_ms < 1 << 62 else None,
            packs=self.hashes,
        )

    def _groups(self, pack: Pack, direction: Direction, *, leaves: bool) -> dict[str, list[Rule]]:
        """The rules that speak to this question now, by group."""
        question, groups = self.question, dict[str, list[Rule]]()
        for rule in pack.rules:
            if (
                rule.direction is not direction
                or question.data_class not in rule.classes
                or not (leaves or rule.inland)
                or (rule.purposes and question.purpose not in rule.purposes)
                or (
                    rule.binds and question.kind not in rule.binds and not {*question.sectors} & {*rule.binds}
                )
            ):
                continue
            now_on = self._in_time(rule.from_ms, rule.until_ms)
            if rule.status in _BINDING:
                ahead = [
                    edge for edge in (rule.from_ms, rule.until_ms) if edge is not None and edge > self.now_ms
                ]
                self.not_after_ms = min(self.not_after_ms, *ahead, 1 << 62)
            if not now_on:
                continue
            if rule.status in _BINDING:
                groups.setdefault(rule.group or rule.id, []).append(rule)
            elif rule.status is Standing.ANNOUNCED:
                self._find(pack, rule, met=True, why="announced; it does not bind", binding=False)
        return groups

    def _try_group(self, pack: Pack, rules: list[Rule]) -> Rule | None:
        """The first rule of a group that is met, if one is."""
        for rule in rules:
            why, until_ms = self._unmet(pack, rule)
            self._find(pack, rule, met=not why, why=why or "met")
            if not why:
                self.not_after_ms = min(self.not_after_ms, until_ms)
                return rule
        return None

    def _find(self, pack: Pack, rule: Rule, *, met: bool, why: str, binding: bool = True) -> None:
        self.findings.append(
            Finding(
                rule=rule.id,
                country=pack.country,
                met=met,
                why=why,
                citation=rule.citation,
                confidence=rule.confidence,
                binding=binding,
            )
        )

    def _unmet(self, pack: Pack, rule: Rule) -> tuple[str, int]:
        """Why a rule is not met, empty if it is; and until when."""
        override_ms = self._has(OVERRIDE, rule) if rule.override else 0
        if override_ms > self.now_ms:
            return "", override_ms
        if not self._reaches(pack, rule):
            return f"{self.question.country} is not where this rule lets it be", 0
        until_ms = 1 << 62
        for need in rule.needs:
            ends = [self._has(each, rule) for each in need.split("|")]
            latest = max(ends)
            if latest <= self.now_ms:
                return f"it needs {' or '.join(need.split('|'))}", 0
            until_ms = min(until_ms, latest)
        return "", until_ms

    def _reaches(self, pack: Pack, rule: Rule) -> bool:
        question = self.question
        for place in rule.to:
            if place in (ANYWHERE, question.country):
                return True
            if place == HOME and question.country == pack.country:
                return True
            if place in pack.sets and question.country in pack.sets[place].members:
                return True
        return False

    def _has(self, need: str, rule: Rule) -> int:
        """Until when a need is met; 0 if it is not."""
        fact = FACT.fullmatch(need)
        if fact is not None:
            name, sign, wanted = fact.groups()
            return (1 << 62) if self._fact(name, sign, wanted, attested=rule.attested) else 0
        until_ms = 0
        for each in self.question.authorisations:
            if each.kind != need or not ({"*", self.question.country} & {*each.covers}):
                continue
            if each.classes and self.question.data_class not in each.classes:
                continue
            if self._in_time(each.from_ms, each.expires_ms):
                until_ms = max(until_ms, each.expires_ms if each.expires_ms is not None else 1 << 62)
        return until_ms

    def _fact(self, name: str, sign: str, wanted: str, *, attested: bool) -> bool:
        facts = self.question.facts
        if attested and not facts.attested.get("ownership" if name == "majority" else name):
            return False
        if name.startswith("qualifications."):
            level = facts.qualifications.get(name.partition(".")[2], 0)
            return level >= int(wanted) if sign == ">=" else level == int(wanted)
        if name == "majority":
            return facts.ownership.get(wanted, 0) > 50
        return {
            "law": facts.law,
            "control_plane": facts.control_plane,
            "staff": facts.staff,
            "keys": facts.keys,
        }[name] == wanted

    def _in_time(self, from_ms: int | None, until_ms: int | None) -> bool:
        """Whether now is within; narrows the span in which the verdict stays the same."""
        now = self.now_ms
        for edge in (from_ms, until_ms):
            if edge is None:
                continue
            if edge <= now:
                self.from_ms = max(self.from_ms, edge)
            else:
                self.until_ms = min(self.until_ms, edge)
        return (from_ms is None or from_ms <= now) and (until_ms is None or now < until_ms)

    def _refuse(self, rule: str, sentence: str) -> Verdict:
        return Verdict(
            allowed=False,
            rule=rule,
            sentence=f"{self.name} refused: {sentence}",
            findings=tuple(self.findings),
            packs=self.hashes,
        )

    def _refuse_by(self, rule: Rule) -> Verdict:
        why = self.findings[-1].why
        return Verdict(
            allowed=False,
            rule=rule.id,
            sentence=f"{self.name} refused: {rule.label.en} ({rule.citation}); {why}",
            citation=rule.citation,
            findings=tuple(self.findings),
            packs=self.hashes,
        )


def is_country(code: str) -> bool:
    """Whether `code` has the form of an ISO 3166-1 alpha-2 code, upper case."""
    return len(code) == 2 and code[0] in _COUNTRY_CHARS and code[1] in _COUNTRY_CHARS


def unrestricted(spec: WorkloadSpec, tenant: Tenant) -> bool:
    """Whether nobody says anything about places: the common case, told without making a verdict."""
    wish, wide = spec.residency, tenant.residency
    public = spec.data.data_class == PUBLIC and all(each.data_class == PUBLIC for each in spec.data.inputs)
    return public and not (wish.allow or wish.deny or wide.allow or wide.deny)


def stand_in(tenant: Tenant, owner: Owner) -> Tenant:
    """The owner of a guest as the rules see it: what its home says of it, under the tenant that the peer has here."""
    return replace(
        tenant,
        kind=TenantKind(owner.kind) if owner.kind in _KINDS else TenantKind.VITAL_INFRASTRUCTURE,
        country=owner.country,
        sectors=owner.sectors,
        authorisations=owner.authorisations,
    )


def _strictest(said: list[_Remembered]) -> _Remembered:
    """The verdict under several laws: the first refusal, else what allows that which is not public, and no longer."""
    from_ms, until_ms = max(each.from_ms for each in said), min(each.until_ms for each in said)
    verdicts = [each.verdict for each in said]
    refused = next((each for each in verdicts if not each.allowed), None)
    if refused is not None:
        return _Remembered(refused, from_ms, until_ms)
    ends = [each.not_after_ms for each in verdicts if each.not_after_ms is not None]
    packs: dict[str, str] = {}
    for each in verdicts:
        packs |= each.packs
    telling = next((each for each in verdicts if each.rule != PUBLIC), verdicts[0])
    found = tuple(finding for each in verdicts for finding in each.findings)
    verdict = replace(telling, findings=found, not_after_ms=min(ends, default=None), packs=packs)
    return _Remembered(verdict, from_ms, until_ms)


def _by_owner(spec: WorkloadSpec, tenant: Tenant, site: Site) -> Verdict | None:
    if not is_country(site.country):
        return _refused(
            "site.country", f"the factory's country `{site.country}` is not an ISO 3166-1 alpha-2 code"
        )
    for origin, wish in (("spec.residency", spec.residency), ("tenant.residency", tenant.residency)):
        refusal = _narrowed(origin, wish, site)
        if refusal is not None:
            return refusal
    return None


def _narrowed(origin: str, wish: Residency, site: Site) -> Verdict | None:
    for field, codes in (("deny", wish.deny), ("allow", wish.allow)):
        for code in codes:
            if not is_country(code):
                return _refused(
                    f"{origin}.{field}", f"`{code}` is not an ISO 3166-1 alpha-2 code; write `MA` for Morocco"
                )
    if site.country in wish.deny:
        return _refused(f"{origin}.deny", f"`{origin}.deny` names {site.country}, where this factory is")
    if wish.allow and site.country not in wish.allow:
        names = ", ".join(wish.allow)
        return _refused(
            f"{origin}.allow", f"`{origin}.allow` is {names}, and this factory is in {site.country}"
        )
    return None


def _refused(rule: str, sentence: str) -> Verdict:
    return Verdict(allowed=False, rule=rule, sentence=sentence)


def trial(judge: Judge, pack: Pack, now_ms: int) -> tuple[str, ...]:
    """Put a pack's cases to the judge; return what came out otherwise, a sentence each."""
    wrong: list[str] = []
    for case in pack.cases:
        question = Question(
            data_class=case.data_class,
            origin=case.origin or pack.country,
            purpose=case.purpose,
            kind=case.kind,
            sectors=case.sectors,
            authorisations=case.authorisations,
            country=case.site,
            facts=case.facts,
        )
        said = judge.answer(
            question, f"a factory in {case.site}", now_ms if case.at_ms is None else case.at_ms
        ).verdict
        got = "allowed" if said.allowed else "refused"
        if got != case.want or (case.rule and said.rule != case.rule):
            wrong.append(
                f"`{case.name}`: {got} by {said.rule}, and it should be {case.want} by {case.rule or 'any rule'}"
            )
    return tuple(wrong)
