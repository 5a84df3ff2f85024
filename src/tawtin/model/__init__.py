"""Records, ids and units: what every other part of tawtin speaks.

Records are frozen, keyword-only msgspec structs. The same record is what the client decodes, the server encodes and
the journal keeps. State holds whole GPUs, integer milliseconds (UTC) and minor currency units; no floats.
"""
