"""`tawtin rules`: what the residency rules say, and whether a folder of packs can be used. Needs no factory."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tawtin.cli import exits, output, parser

if TYPE_CHECKING:
    from tawtin.model.rules import Pack, Rule
    from tawtin.rules.load import Packs

LANGUAGES = ("en", "fr", "ar")
WARNING = "a research aid, no legal advice: have the rules that you rely on read by counsel"


def _configure(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin rules list",
        "tawtin rules show MA --lang fr",
        "tawtin rules check my-packs  # before `rules.folder` names it in the settings",
    )
    actions = parser.verbs(verb)
    listed = parser.sub(actions, "list", "list the packs")
    parser.example(listed, "tawtin rules list --folder my-packs")
    listed.set_defaults(call=rules_list)
    shown = parser.sub(actions, "show", "show the rules of one pack, with their sources")
    parser.example(shown, "tawtin rules show KE")
    shown.add_argument("country", metavar="CC", help="ISO 3166-1 code, `EU`, or `*`")
    shown.add_argument("--lang", choices=LANGUAGES, default="en", help="of the sentences (default: en)")
    shown.set_defaults(call=rules_show)
    checked = parser.sub(actions, "check", "read packs, and put their own cases to them")
    parser.example(checked, "tawtin rules check my-packs")
    checked.add_argument("own", nargs="?", metavar="FOLDER", help="packs that replace those that ship")
    checked.set_defaults(call=rules_check)
    for action in (listed, shown):
        action.add_argument("--folder", metavar="FOLDER", help="packs that replace those that ship")
    for action in actions.choices.values():
        parser.local(action)


def _load(folder: str | None) -> Packs:
    from tawtin.rules.load import load_packs

    if folder is not None and not Path(folder).is_dir():
        raise exits.Fault(f"there is no folder `{folder}`", hint="name one that holds packs, such as ma.toml")
    return load_packs(Path(folder) if folder is not None else None)


def rules_list(arguments: argparse.Namespace) -> int:
    """List."""
    found = _load(arguments.folder)
    if arguments.json:
        items = [
            {"country": pack.country, "name": pack.name, "version": pack.version, "rules": len(pack.rules),
             "cases": len(pack.cases), "sha256": pack.sha256}
            for pack in found.packs
        ]  # fmt: skip
        output.emit({"items": items, "broken": found.broken})
        return exits.OK
    rows = [
        [
            pack.country,
            pack.name.en,
            str(pack.version),
            str(len(pack.rules)),
            str(len(pack.cases)),
            pack.sha256[:16],
        ]
        for pack in sorted(found.packs, key=lambda each: each.country)
    ]
    print(output.columns(["PACK", "NAME", "VERSION", "RULES", "CASES", "SHA-256"], rows))
    for each in found.broken:
        output.note(f"broken: {each.why}; everything that it touches is refused")
    output.note(WARNING)
    return exits.OK


def rules_show(arguments: argparse.Namespace) -> int:
    """Show."""
    found = _load(arguments.folder)
    pack = next((each for each in found.packs if each.country == arguments.country.upper()), None)
    if pack is None:
        broken = next((each for each in found.broken if each.country == arguments.country.upper()), None)
        if broken is not None:
            raise exits.Fault(
                f"the pack cannot be used: {broken.why}", hint="mend it, then: tawtin rules check"
            )
        known = ", ".join(sorted(each.country for each in found.packs))
        raise exits.Fault(f"there is no pack for `{arguments.country}`", hint=f"there are: {known}")
    if arguments.json:
        output.emit(pack)
        return exits.OK
    print(f"{pack.country}  {getattr(pack.name, arguments.lang)}, version {pack.version}, {pack.sha256}")
    for rule in pack.rules:
        print()
        print("\n".join(_lines(rule, pack, arguments.lang)))
    for each in pack.notes:
        print(f"\nnote {each.id}: {each.text}\n  {each.citation}")
    output.note(WARNING)
    return exits.OK


def _lines(rule: Rule, pack: Pack, lang: str) -> list[str]:
    """One rule in words."""
    about = ", ".join(rule.classes) + (f"; for {', '.join(rule.purposes)}" if rule.purposes else "")
    whom = ", ".join(rule.binds) or "every owner"
    lines = [
        f"{rule.id}  ({rule.direction.value}, {rule.status.value}"
        + (", at home too" if rule.inland else "")
        + (f", alternative in {rule.group}" if rule.group else "")
        + ")",
        f"  {getattr(rule.label, lang)}",
        f"  data:       {about}",
        f"  binds:      {whom}",
        f"  may be:     {', '.join(rule.to)}"
        + "".join(f"; {name}: {' '.join(pack.sets[name].members)}" for name in rule.to if name in pack.sets),
    ]
    if rule.needs:
        attested = " (somebody else has to vouch for facts about the factory)" if rule.attested else ""
        lines.append(
            f"  needs:      {'; '.join(' or '.join(each.split('|')) for each in rule.needs)}{attested}"
        )
    for what, edge in (("from", rule.from_ms), ("until", rule.until_ms)):
        if edge is not None:
            lines.append(f"  {what + ':':<12}{output.moment(edge)}")
    lines.append(f"  citation:   {rule.citation}")
    if rule.source:
        lines.append(f"  source:     {rule.source}")
    lines.append(f"  confidence: {rule.confidence or 'not said'}; {rule.verified or 'not verified'}")
    return lines


def rules_check(arguments: argparse.Namespace) -> int:
    """Read packs and try their cases; the exit code says whether all is well."""
    from tawtin.core.residency import Judge, trial

    found = _load(arguments.own)
    judge = Judge(found.packs, found.broken)
    now_ms = time.time_ns() // 1_000_000
    wrong = {pack.country: trial(judge, pack, now_ms) for pack in found.packs}
    bad = bool(found.broken) or any(wrong.values())
    if arguments.json:
        output.emit({"broken": found.broken, "wrong": {name: each for name, each in wrong.items() if each}})
        return exits.FAILED if bad else exits.OK
    for each in found.broken:
        print(f"broken  {each.country or '?'}: {each.why}")
    for pack in sorted(found.packs, key=lambda each: each.country):
        said = wrong[pack.country]
        print(
            f"{'wrong ' if said else 'ok    '}  {pack.country}: {len(pack.rules)} rules, {len(pack.cases)} cases"
        )
        for sentence in said:
            print(f"        {sentence}")
    return exits.FAILED if bad else exits.OK


VERBS = {"rules": _configure}
