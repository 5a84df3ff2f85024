-- Lists of one tenant's records in certain phases, which may be few among very many.
CREATE INDEX records_tenant_phase ON records (kind, tenant, phase, id) WHERE tenant != '' AND phase != '';
