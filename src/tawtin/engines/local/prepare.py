"""From an order to a prepared folder and the plan that goes with it."""

from __future__ import annotations

import os

from tawtin.engines.local import plan, setupcache
from tawtin.engines.local.folders import Folders
from tawtin.engines.local.orders import Plan
from tawtin.engines.local.plan import Ground
from tawtin.engines.shared import folders, places
from tawtin.ports import Artifacts, RunOrder


def prepare(prepared: str, order: RunOrder, ground: Ground, kept: Folders, artifacts: Artifacts) -> Plan:
    """Fill the folder `prepared` with all that the run needs, and say what is to be done. Raises PlanError, OSError."""
    user = plan.user_of(ground, order)
    owner = user if os.geteuid() == 0 else None
    held = () if order.gpus_declared else plan.real_gpus(order, ground)
    scripts = {} if ground.box else plan.scripts(order, ground)
    kept.lay_out(prepared, order, scripts, owner, held)
    cache = plan.setup_cache(order, ground, root=kept.root)
    cached = False
    if cache is not None and os.path.isdir(setupcache.entry(cache)):
        with setupcache.locked(cache, lambda: None) as claim:
            cached = claim.ready and setupcache.restore(cache, os.path.join(prepared, places.FILES))
    # a workspace that comes back has its home there already, into which nothing is copied any more
    comes_back = order.spec.workspace is not None and bool(
        os.listdir(os.path.join(prepared, places.FILES, "work"))
    )
    laid = folders.lay_inputs(
        prepared, order, artifacts, owner, sandboxed=bool(ground.box), workdir=not (cached or comes_back)
    )
    return plan.make_plan(
        order, ground, folder=kept.live(order.run), root=kept.root, laid=laid, cached=cached
    )
