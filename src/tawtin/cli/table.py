"""The verbs: where each lives, and what it does in a few words. The only place to touch when one is added."""

from __future__ import annotations

VERBS: dict[str, tuple[str, str]] = {
    "init": ("init", "write the settings of a new factory"),
    "doctor": ("doctor", "check this machine, and say how to mend what is wrong"),
    "up": ("up", "run the factory"),
    "run": ("run", "submit a workload and follow it"),
    "ps": ("ps", "list workloads"),
    "show": ("workloads", "show one workload, its runs and its outputs"),
    "logs": ("workloads", "print or follow the log of a workload"),
    "cancel": ("workloads", "end a workload"),
    "retry": ("workloads", "submit a finished workload again"),
    "serve": ("serve", "keep a service running: start, look, scale, update, end"),
    "workspace": ("workspace", "have a workspace: make, open, wake, let rest, share, delete"),
    "explain": ("explain", "say why a workload waits, or what a spec would do"),
    "capacity": ("capacity", "show nodes, and what is free; take a node out and back"),
    "engine": ("engines", "attach a cluster, look at its set-up, put it through its cases, take it away"),
    "node": ("nodes", "take nodes and GPUs out of service, and bring them back"),
    "peer": ("peers", "know other factories, and lend them room"),
    "lost": ("peers", "declare a run lost whose factory is gone for good"),
    "rules": ("rules", "show residency rules, and check packs of your own"),
    "tenant": ("tenants", "create, list, change and close tenants"),
    "key": ("tenants", "create, list and revoke keys"),
    "quota": ("tenants", "show and set what a tenant may hold"),
    "usage": ("usage", "show what tenants used, and its price"),
    "localisation": ("usage", "show which share was used at home, on the continent, outside"),
    "models": ("models", "list the models that can be asked, and their price"),
    "chat": ("models", "talk to a model"),
    "batches": ("batches", "list, show and cancel batches of requests for models"),
    "endpoints": ("models", "show what serves models and how it does, and the tokens used"),
    "data": ("datasets", "name data, so that specs read it by its name"),
    "artifacts": ("artifacts", "list, fetch, upload and drop artifacts"),
    "version": ("misc", "print the version of this command and of the factory"),
    "completion": ("misc", "print a completion script for a shell"),
}
"""Verb -> (module of this package that has `VERBS[verb]`, summary)."""
