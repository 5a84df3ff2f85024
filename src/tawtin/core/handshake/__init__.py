"""The roaming handshake as pure functions: what each side writes and sends for each message, in each state.

The tables are those of docs/protocol.md. `home` and `visited` return a `Move`: events that become durable first, then
messages that are sent. Nothing here remembers anything.
"""
