"""A receipt has one form that is signed, whoever made it and whatever it passed through."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tawtin.model.money import Rate
from tawtin.model.reasons import Cause
from tawtin.model.resources import Shape
from tawtin.model.roaming import as_signed, receipt_bytes
from tawtin.model.workload import Kept, Outcome, Receipt, Usage

RECEIPT = Receipt(
    home="casa",
    visited="nairobi",
    workload="wl-1",
    epoch=1,
    shape=Shape(gpu_model="H100", gpus=1),
    nodes=1,
    rate=Rate(currency="KES", minor_per_gpu_hour=3600),
    outcome=Outcome.FINISHED,
    cause=Cause.COMPLETED,
    exit_code=0,
    ended_ms=5,
    usage=Usage(wall_ms=1000, gpu_ms=1000),
    cost_minor=1,
    outputs=(Kept(name="out", artifact="a", size_bytes=0),),
)
EXPLICIT = msgspec.json.encode(RECEIPT).replace(
    b'"gpus":1', b'"gpus":1,"cpus_milli":1000,"memory_mib":1024,"disk_mib":0'
)


def test_a_default_that_was_written_out_is_no_other_receipt():
    read = msgspec.json.decode(EXPLICIT, type=Receipt)
    assert read == RECEIPT
    assert receipt_bytes(read) == receipt_bytes(RECEIPT)
    assert b"cpus_milli" not in receipt_bytes(read)


def test_what_crosses_has_the_fields_that_are_signed_and_no_others():
    crosses = msgspec.json.encode(as_signed(msgspec.json.decode(EXPLICIT, type=Receipt)))
    assert json.loads(crosses) == json.loads(receipt_bytes(RECEIPT))


@pytest.mark.parametrize("field", ["size_bytes", "exit_code", "cost_minor"])
def test_a_zero_that_is_no_default_is_signed(field: str):
    assert f'"{field}":0'.encode() in receipt_bytes(replace(RECEIPT, cost_minor=0))


@given(st.text(max_size=40), st.integers(0, 1 << 60))
def test_any_json_library_gets_the_same_bytes(text: str, count: int):
    bytes_ = receipt_bytes(replace(RECEIPT, message=text, usage=Usage(wall_ms=count)))
    want = json.dumps(json.loads(bytes_), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert bytes_ == want.encode()
