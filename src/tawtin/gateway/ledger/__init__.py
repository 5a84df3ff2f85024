"""The ledger: one process that decides on every reservation of a gateway, and keeps what was used."""
