"""The only place that names concrete parts and wires them."""

from __future__ import annotations

from tawtin.bootstrap.settings import Settings, SettingsError, load_settings
from tawtin.bootstrap.wire import run_factory, start_service

__all__ = ["Settings", "SettingsError", "load_settings", "run_factory", "start_service"]
