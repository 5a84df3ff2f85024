"""A worker: one process that answers requests. All workers share the port, and the ledger decides for all."""
