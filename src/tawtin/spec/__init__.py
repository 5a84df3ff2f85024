"""Untrusted specs become model records here, once: YAML, JSON, Python, SkyPilot tasks and sbatch scripts.

parsed = parse_any(text, "train.yaml")
parsed.spec       # what the factory works with
parsed.body()     # what a client sends
"""

from __future__ import annotations

from tawtin.spec.errors import SpecError, one_line
from tawtin.spec.job import (
    Alternative,
    DataUse,
    Job,
    OutputPath,
    Parsed,
    Places,
    Resources,
    Save,
)
from tawtin.spec.parse import digest, parse_any, parse_job, parse_json, parse_yaml
from tawtin.spec.sbatch import parse_sbatch
from tawtin.spec.schema import json_schema

__all__ = [
    "Alternative",
    "DataUse",
    "Job",
    "OutputPath",
    "Parsed",
    "Places",
    "Resources",
    "Save",
    "SpecError",
    "digest",
    "json_schema",
    "one_line",
    "parse_any",
    "parse_job",
    "parse_json",
    "parse_sbatch",
    "parse_yaml",
]
