"""Journals and blobs: where state, events and bytes are kept."""
