"""Where a workload may be: the single place that gives a verdict.

So far it knows the owner's own wishes, of the spec and of the tenant. Both narrow, a denial wins over a permission, and
whatever cannot be understood is refused. National rule packs will be asked here as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tawtin.model.site import Site
from tawtin.model.tenant import Tenant
from tawtin.model.workload import Residency, WorkloadSpec

_COUNTRY_CHARS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a workload may be at a site, the rule that says so, and the same in words."""

    allowed: bool
    rule: str
    sentence: str


def verdict(spec: WorkloadSpec, tenant: Tenant, site: Site) -> Verdict:
    """Say whether `spec` of `tenant` may be at `site`. Never raises: what is malformed is refused."""
    if not is_country(site.country):
        return _refused(
            "site.country", f"the factory's country `{site.country}` is not an ISO 3166-1 alpha-2 code"
        )
    for origin, wish in (("spec.residency", spec.residency), ("tenant.residency", tenant.residency)):
        refusal = _narrowed(origin, wish, site)
        if refusal is not None:
            return refusal
    return Verdict(
        allowed=True,
        rule="owner",
        sentence=f"neither the workload nor the tenant `{tenant.id}` keeps it out of {site.country}",
    )


def is_country(code: str) -> bool:
    """Whether `code` has the form of an ISO 3166-1 alpha-2 code, upper case."""
    return len(code) == 2 and code[0] in _COUNTRY_CHARS and code[1] in _COUNTRY_CHARS


def unrestricted(spec: WorkloadSpec, tenant: Tenant) -> bool:
    """Whether neither owner says anything about places: the common case, told without making a verdict."""
    wish, wide = spec.residency, tenant.residency
    return not (wish.allow or wish.deny or wide.allow or wide.deny)


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
