"""The table of all pages."""

from __future__ import annotations

from typing import Final

from tawtin.model.tenant import Scope
from tawtin.web.console.app import Page
from tawtin.web.console.pages import (
    account,
    models,
    network,
    new,
    oidc,
    operator,
    operator_events,
    operator_keys,
    operator_nodes,
    rules,
    usage,
    workload,
    workloads,
    workspaces,
)
from tawtin.web.console.pages.live import live

PAGES: Final = (
    Page("/sign-in", account.sign_in),
    Page("/sign-in", account.signed_in, method="POST"),
    Page("/sign-out", account.sign_out, method="POST"),
    Page("/language", account.language),
    Page("/oidc/begin", oidc.begin),
    Page("/oidc/callback", oidc.callback),
    Page("/", network.show_network, scope=Scope.AUDIT),
    Page("/live", live, scope=Scope.AUDIT),
    Page("/workloads", workloads.show_list, scope=Scope.AUDIT),
    Page("/workloads/cancel", workloads.cancel_chosen, method="POST", scope=Scope.SUBMIT),
    Page("/workloads/{id}", workload.show_workload, scope=Scope.AUDIT),
    Page("/workloads/{id}/log", workload.log_of, scope=Scope.READ),
    Page("/workloads/{id}/cancel", workload.cancel, method="POST", scope=Scope.SUBMIT),
    Page("/workloads/{id}/retry", workload.retry, method="POST", scope=Scope.SUBMIT),
    Page("/new", new.show_new, scope=Scope.READ),
    Page("/new", new.submit, method="POST", scope=Scope.SUBMIT),
    Page("/plan", new.check, method="POST", scope=Scope.READ),
    Page("/form", new.fill, method="POST", scope=Scope.READ),
    Page("/schema.json", new.schema, scope=Scope.READ),
    Page("/workspaces", workspaces.show_workspaces, scope=Scope.READ),
    Page("/workspaces", workspaces.create, method="POST", scope=Scope.SUBMIT),
    Page("/workspaces/enter", workspaces.enter, scope=Scope.READ),
    Page("/workspaces/change", workspaces.change, method="POST", scope=Scope.SUBMIT),
    Page("/models", models.show_models, scope=Scope.AUDIT),
    Page("/models/ask", models.asked, scope=Scope.READ),
    Page("/models/ask", models.ask_model, method="POST", scope=Scope.SUBMIT),
    Page("/usage", usage.show_usage, scope=Scope.AUDIT),
    Page("/usage.csv", usage.download, scope=Scope.AUDIT),
    Page("/rules", rules.show_rules, scope=Scope.AUDIT),
    Page("/operator", operator.show_operator, scope=Scope.ADMIN),
    Page("/operator/events", operator_events.show_events, scope=Scope.AUDIT),
    Page("/operator/node", operator_nodes.show_node, scope=Scope.ADMIN),
    Page("/operator/node/drain", operator_nodes.drain, method="POST", scope=Scope.ADMIN),
    Page("/operator/node/ready", operator_nodes.ready, method="POST", scope=Scope.ADMIN),
    Page("/operator/node/quarantine", operator_nodes.take_out, method="POST", scope=Scope.ADMIN),
    Page("/operator/node/return", operator_nodes.bring_back, method="POST", scope=Scope.ADMIN),
    Page("/operator/tenants/{id}", operator_keys.show_tenant, scope=Scope.ADMIN),
    Page("/operator/tenants/{id}/quota", operator_keys.set_quota, method="POST", scope=Scope.ADMIN),
    Page("/operator/tenants/{id}/keys", operator_keys.issue, method="POST", scope=Scope.ADMIN),
    Page("/operator/tenants/{id}/revoke", operator_keys.revoke, method="POST", scope=Scope.ADMIN),
    Page("/{rest:path}", account.nowhere),
)
