"""Verdicts: how many (workload, factory) pairs a second are judged with all packs loaded, remembered and new ones."""

from __future__ import annotations

import sys
import time

from msgspec.structs import replace

from bench import common
from tawtin.core.residency import Judge
from tawtin.model.rules import DATA_CLASSES, Authorisation
from tawtin.model.site import Site
from tawtin.model.tenant import Tenant, TenantKind
from tawtin.model.workload import Data, WorkloadSpec
from tawtin.rules.load import load_packs
from tests.core.building import spec

NOW_MS = 1_795_737_600_000
COUNTRIES = (
    "MA", "ZA", "KE", "NG", "EG", "RW", "SN", "CI", "GH", "TN", "DZ", "FR", "DE", "CM", "ET", "TZ", "UG", "ZM", "MZ",
    "NA", "BW", "MU", "ML", "BF", "BJ", "TG",
)  # fmt: skip
GOAL_PER_S = 100_000


def pairs() -> tuple[list[tuple[WorkloadSpec, Tenant]], list[Site]]:
    """400 workloads that differ in data and owner, and 26 factories."""
    paper = Authorisation(
        kind="cndp_f118_authorisation", number="1", covers=("KE", "ZA"), expires_ms=NOW_MS + 1000
    )
    tenants = [
        Tenant(id=f"t{number}", kind=kind, authorisations=(paper,) if number % 2 else ())
        for number, kind in enumerate(TenantKind)
    ]
    specs = [
        replace(spec(), data=Data(data_class=data_class, origin=origin))
        for data_class in DATA_CLASSES
        for origin in ("", "MA", "KE", "ZA", "NG", "EG", "FR", "RW", "SN", "TN")
    ]
    sites = [Site(name=f"factory-{country}", country=country) for country in COUNTRIES]
    return [(each, tenant) for each in specs for tenant in tenants], sites


def rate(judge: Judge, rounds: int) -> float:
    """Verdicts a second of processor time."""
    asked, sites = pairs()
    began, count = time.process_time(), 0
    for _ in range(rounds):
        for site in sites:
            for wanted, tenant in asked:
                judge.verdict(wanted, tenant, site, NOW_MS, home="MA")
                count += 1
    return count / (time.process_time() - began)


def measure(*, quick: bool) -> list[common.Figure]:
    """All figures."""
    loaded = load_packs()
    new: list[float] = []
    known: list[float] = []
    for _ in range(2 if quick else 5):
        judge = Judge(loaded.packs, loaded.broken)
        new.append(rate(judge, 1))
        known.append(rate(judge, 1 if quick else 5))
    note = f"400 workloads and 26 factories, {sum(len(pack.rules) for pack in loaded.packs)} rules; processor time"
    return [
        common.figure("verdicts, questions asked before", "/s", known, at_least=GOAL_PER_S, note=note),
        common.figure("verdicts, each question new", "/s", new),
    ]


if __name__ == "__main__":
    sys.exit(common.main(measure))
