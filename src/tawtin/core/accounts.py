"""What a tenant's account of a month is after a run of it was charged, or what it asked of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from tawtin.core import meter
from tawtin.model.tenant import Account, Spent, Tokens

if TYPE_CHECKING:
    from tawtin.core.state import State
    from tawtin.model.gateway import TokensUsed
    from tawtin.model.workload import Run


def charged(state: State, run: Run) -> Account:
    """The account of the month in which a run ended, with the run added to it."""
    usage = run.usage
    month = meter.month_of(run.ended_ms or 0)
    known = state.accounts.get((run.tenant, month))
    old = known or Account(tenant=run.tenant, month=month, version=0)
    gpu_ms = dict(old.gpu_ms)
    if usage.gpu_ms:
        gpu_ms[usage.gpu_model] = gpu_ms.get(usage.gpu_model, 0) + usage.gpu_ms
    place = run.country or state.site.country
    spent = old.places.get(place) or Spent()
    here = replace(
        spent,
        runs=spent.runs + 1,
        gpu_ms=spent.gpu_ms + usage.gpu_ms,
        cpu_ms=spent.cpu_ms + usage.cpu_ms,
        bytes=spent.bytes + usage.bytes_in + usage.bytes_out,
    )
    return replace(
        old,
        runs=old.runs + 1,
        wall_ms=old.wall_ms + usage.wall_ms,
        cpu_ms=old.cpu_ms + usage.cpu_ms,
        gpu_ms=gpu_ms,
        bytes_in=old.bytes_in + usage.bytes_in,
        bytes_out=old.bytes_out + usage.bytes_out,
        energy_mj=old.energy_mj + (usage.energy_mj or 0),
        cost_minor=old.cost_minor + run.cost_minor,
        places={**old.places, place: here},
        version=old.version + 1,
    )


def with_tokens(known: Account | None, line: TokensUsed) -> Account:
    """An account with a line of a charge added to it; a new one if there is none."""
    old = known or Account(tenant=line.tenant, month=line.month, version=0)
    asked = old.models.get(line.model) or Tokens()
    asked = Tokens(
        requests=asked.requests + line.requests,
        tokens_in=asked.tokens_in + line.tokens_in,
        tokens_out=asked.tokens_out + line.tokens_out,
        estimated=asked.estimated + line.estimated,
        cost_micro=asked.cost_micro + line.cost_micro,
    )
    places = old.places
    if line.country:
        spent = places.get(line.country) or Spent()
        spent = replace(
            spent,
            requests=spent.requests + line.requests,
            tokens=spent.tokens + line.tokens_in + line.tokens_out,
        )
        places = {**places, line.country: spent}
    return replace(
        old,
        models={**old.models, line.model: asked},
        tokens_micro=old.tokens_micro + line.cost_micro,
        places=places,
        version=old.version + 1,
    )
