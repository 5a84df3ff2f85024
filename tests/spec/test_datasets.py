"""Names of datasets in a spec: what they may be, and that only a spec with some is another spec for them."""

from __future__ import annotations

import hashlib

import pytest

from tawtin.model.views import FieldError
from tawtin.model.workload import Data
from tawtin.spec import SpecError, digest, parse_yaml
from tawtin.spec.errors import one_line, placed

BASE = "name: job\nresources: {cpus: 1}\nrun: 'true'\n"


def refusal(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse_yaml(BASE + text, file="job.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    "name", ["../up", ".", "..", ".hidden", "a/b", "", "a b", "-x", "x" * 64, "new\\nline"]
)
def test_what_cannot_be_a_folder_is_no_name_of_a_dataset(name: str) -> None:
    said = refusal(f'data:\n  datasets:\n    - fine\n    - "{name}"\n')
    assert said.startswith("job.yaml:7:7: data.datasets[1]: ")
    assert "is no name of a dataset" in said


@pytest.mark.parametrize("name", ["census-2024", "digits.csv", "إحصاء_2024", "x" * 63])
def test_names_may_be_of_any_script(name: str) -> None:
    parsed = parse_yaml(f"{BASE}data: {{datasets: [{name}]}}\n")
    assert parsed.spec.data == Data(datasets=(name,))


def test_a_name_that_stands_twice_is_refused_where_it_stands_again() -> None:
    assert "data.datasets[1]: `a` is read already" in refusal("data: {datasets: [a, a]}\n")


@pytest.mark.parametrize("path", ["~/datasets/a", "~/datasets", "~/datasets/a/deep", "/home/run/datasets/a"])
def test_a_mount_at_the_place_of_a_dataset_is_refused(path: str) -> None:
    said = refusal(f"data: {{datasets: [b, a]}}\nfile_mounts: {{{path}: sha256:{'0' * 64}}}\n")
    assert "`file_mounts` has something at `/home/run/datasets/" in said


def test_a_mount_beside_a_dataset_is_fine() -> None:
    parsed = parse_yaml(f"{BASE}data: {{datasets: [a]}}\nfile_mounts: {{~/datasets2: sha256:{'0' * 64}}}\n")
    assert [mount.path for mount in parsed.spec.mounts] == ["/home/run/datasets2"]


def test_the_digest_of_a_spec_without_datasets_knows_nothing_of_datasets() -> None:
    canonical = (
        b'{"data":{"class":"personal","origin":"MA"},"demand":{"options":[{}]},"name":"job","run":"true"}'
    )
    want = hashlib.sha256(canonical).hexdigest()
    assert digest(parse_yaml(f"{BASE}data: {{class: personal, origin: MA}}\n").spec) == want


def test_the_places_of_names_are_kept_for_what_only_a_factory_can_find_wrong() -> None:
    parsed = parse_yaml(f"{BASE}data:\n  datasets:\n    - a\n    - b\n", file="job.yaml")
    assert parsed.marks["data.datasets[1]"] == (7, 7)
    (error,) = placed((FieldError(field="data.datasets[1]", message="gone"),), parsed.file, parsed.marks)
    assert one_line(error) == "job.yaml:7:7: data.datasets[1]: gone"
