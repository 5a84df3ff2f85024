"""Datasets: names that a tenant gives to artifacts, and what a spec that reads some comes to.

1. A name means one artifact at a time. Given to newer bytes it means those from then on, for what is submitted later.
2. A submission's names are looked up once, and recorded as mounts by digest: what was accepted reads the same bytes
   whenever and wherever it runs, retries included.
3. The laws that an artifact is under go with it into the spec, also where it is mounted by digest, so that nobody
   reads personal data as public by another door.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from tawtin.core.state import State
from tawtin.model.artifact import Artifact, Law
from tawtin.model.tenant import Tenant
from tawtin.model.workload import SANDBOX_DATASETS, Input, Mount, WorkloadSpec

PUBLIC: Final = "public"


def resolved(state: State, tenant: Tenant, spec: WorkloadSpec) -> WorkloadSpec | tuple[int, ...]:
    """Return `spec` with what it reads recorded in it, or the places in `data.datasets` of names that mean nothing.

    A spec that reads no dataset and nothing under another law stays as it is. One that was resolved before, and is
    tried again, reads what it read; laws that have come to be known since are added.
    """
    data = spec.data
    known = {each.name: each.artifact for each in data.inputs if each.name}
    names = known or state.datasets.get(tenant.id, {})
    unknown = tuple(number for number, name in enumerate(data.datasets) if name not in names)
    if unknown:
        return unknown
    read = (*data.inputs, *_of_datasets(state, tenant, spec, names), *_of_others(state, tenant, spec))
    inputs = tuple(dict.fromkeys(read))
    if inputs == data.inputs:
        return spec
    mounts = spec.mounts
    if not known:
        more = (Mount(path=f"{SANDBOX_DATASETS}/{name}", artifact=names[name]) for name in data.datasets)
        mounts = (*mounts, *more)
    return replace(spec, mounts=mounts, data=replace(data, inputs=inputs))


def changed(state: State, new: Artifact, name: str) -> tuple[Artifact, ...]:
    """Return the records that change as `new` is kept and called `name` (empty for no name), itself last.

    Nothing changes where it is known so already. Raises ValueError where its tenant has the same bytes under another
    law: what is public may be called more than that, and nothing less than it is.
    """
    known = state.artifacts.get((new.tenant, new.id))
    if not name:
        return () if known is not None else (new,)
    if known is not None:
        new = _narrowed(known, new, state)
    new = replace(new, datasets=tuple(sorted({*new.datasets, name})))
    before = state.datasets.get(new.tenant, {}).get(name, new.id)
    if before != new.id:
        old = state.artifacts[new.tenant, before]
        return replace(old, datasets=tuple(each for each in old.datasets if each != name)), new
    return () if new == known else (new,)


def made_again(known: Artifact | None, new: Artifact) -> Artifact:
    """Return what a run made as it is kept where its tenant has the same bytes: under both laws, with all names."""
    if known is None:
        return new
    both = (known, new)
    laws = [
        law
        for each in both
        for law in (Law(data_class=each.data_class, origin=each.origin), *each.more)
        if law.data_class != PUBLIC
    ] or [Law(data_class=new.data_class, origin=new.origin)]
    law, *more = dict.fromkeys(laws)
    return replace(
        new,
        data_class=law.data_class,
        origin=law.origin,
        more=tuple(more),
        places=tuple(sorted({*known.places, *new.places})),
        here=known.here or new.here,
        datasets=known.datasets,
    )


def _narrowed(known: Artifact, new: Artifact, state: State) -> Artifact:
    home = _home(state, state.tenants[new.tenant])
    if (known.data_class, known.origin or home) == (new.data_class, new.origin or home):
        return known
    if known.data_class == PUBLIC and not known.more:
        return replace(known, data_class=new.data_class, origin=new.origin)
    msg = (
        f"these files are here already, as `{known.data_class}` data of {known.origin or home} (`{known.id}`): "
        f"give them that class and origin, or drop that artifact first"
    )
    raise ValueError(msg)


def _home(state: State, tenant: Tenant) -> str:
    return tenant.country or state.site.country


def _laws(state: State, tenant: Tenant, artifact: str) -> Iterator[Law]:
    """What an artifact is under, origins said; nothing for one that is not here, which admission refuses."""
    held = state.artifacts.get((tenant.id, artifact))
    if held is not None:
        for law in (Law(data_class=held.data_class, origin=held.origin), *held.more):
            yield replace(law, origin=law.origin or _home(state, tenant))


def _of_datasets(state: State, tenant: Tenant, spec: WorkloadSpec, names: dict[str, str]) -> Iterator[Input]:
    for name in spec.data.datasets:
        for law in _laws(state, tenant, names[name]):
            yield Input(artifact=names[name], name=name, data_class=law.data_class, origin=law.origin)


def _of_others(state: State, tenant: Tenant, spec: WorkloadSpec) -> Iterator[Input]:
    """What is mounted by digest, or copied, and is under another law than the spec says."""
    own = Law(data_class=spec.data.data_class, origin=spec.data.origin or _home(state, tenant))
    named = {each.artifact for each in spec.data.inputs if each.name}
    for artifact in dict.fromkeys((spec.workdir, *(mount.artifact for mount in spec.mounts))):
        for law in _laws(state, tenant, artifact) if artifact not in named else ():
            if law.data_class != PUBLIC and law != own:
                yield Input(artifact=artifact, data_class=law.data_class, origin=law.origin)
