"""Whatever is fed in, what comes out is a spec or a SpecError."""

from __future__ import annotations

import contextlib
import json

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tawtin.model.workload import WorkloadSpec
from tawtin.spec import SpecError, digest, parse_any, parse_json, parse_yaml
from tawtin.spec.fields import JOB, REFUSED, REFUSED_RESOURCES, RESOURCES
from tests.spec.cases import ACCEPTED, SBATCH
from tests.spec.cases import REFUSED as REFUSED_FILES

TEXTS = [path.read_text() for path in (*ACCEPTED, *REFUSED_FILES)]
SCRIPTS = [path.read_text() for path in sorted(SBATCH.glob("*.sbatch"))]
NAMES = sorted(
    {*JOB.fields, *RESOURCES.fields, *REFUSED, *REFUSED_RESOURCES, "class", "allow", "signal", "grace", "<<"}
)
PIECES = [
    "\n", "  ", ": ", "- ", "[", "]", "{", "}", "&a", "*a", "!!str", "|", ">", "'", '"', "#", "---\n", "\\", "$A",
    "${A}", "..", "/", "~", "null", "yes", "0123", "1e9", "-1", "9" * 40, "\u00e9", "\U0001f600", "\u0660", "\x00",
    "\x1b", "\ud800", "\r\n", "\ufeff", "%", "\t", "sha256:", "s3://x", "H100:1..4", "H100:0", "any", "2h", "P1D",
    "5 MAD", *NAMES,
]  # fmt: skip

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from([*PIECES, *NAMES]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@st.composite
def mutated(draw: st.DrawFn, texts: list[str]) -> str:
    """Cut, doubled and peppered texts."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        middle = draw(st.sampled_from(["", text[start:end] * 2, *PIECES]))
        text = text[:start] + middle + text[end:]
    return text


def sound(spec: WorkloadSpec) -> None:
    """What is accepted is a record that its own types accept, and that has a digest."""
    assert msgspec.json.decode(msgspec.json.encode(spec), type=WorkloadSpec) == spec
    assert len(digest(spec)) == 64


@given(mutated(TEXTS))
@settings(max_examples=400)
@example('run: x\nname: "\\ud800"')
def test_mutated_specs_give_a_spec_or_a_spec_error(text: str) -> None:
    with contextlib.suppress(SpecError):
        sound(parse_yaml(text).spec)


@given(mutated(SCRIPTS))
@settings(max_examples=200)
def test_mutated_scripts_give_a_spec_or_a_spec_error(text: str) -> None:
    with contextlib.suppress(SpecError):
        sound(parse_any(text, "job.sh").spec)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8), st.booleans())
@settings(max_examples=400)
def test_any_json_gives_a_spec_or_a_spec_error(document: dict[str, object], with_run: bool) -> None:
    body = json.dumps({"run": "x", **document} if with_run else document).encode()
    with contextlib.suppress(SpecError):
        sound(parse_json(body).spec)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_spec_or_a_spec_error(body: bytes) -> None:
    with contextlib.suppress(SpecError):
        sound(parse_json(body).spec)
    with contextlib.suppress(SpecError):
        sound(parse_yaml(body).spec)
