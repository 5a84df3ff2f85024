"""The body of a submission, in any of the forms that a spec is written in, becomes what the service takes."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tawtin.model.base import Record
from tawtin.model.views import FieldError
from tawtin.model.workload import WorkloadSpec
from tawtin.runtime.errors import Refused
from tawtin.spec.errors import SpecError, placed
from tawtin.spec.parse import digest, parse_any, parse_json, parse_yaml

if TYPE_CHECKING:
    from collections.abc import Generator

    from tawtin.spec.job import Parsed
    from tawtin.web.exchange import Exchange

JSON: Final = "application/json"
YAML: Final = "application/yaml"
SBATCH: Final = "text/x-sbatch"
MEDIA: Final = (JSON, YAML, SBATCH, "application/x-yaml", "text/yaml", "text/x-shellscript")
UPLOAD_FIRST: Final = (
    "is a local path, which the factory cannot see: upload it, and put the artifact's id here"
)


class Submission(Record, frozen=True, kw_only=True):
    """A spec as the service takes it."""

    spec: WorkloadSpec
    digest: str
    array: tuple[int, ...] | None
    secrets: dict[str, str]
    warnings: tuple[str, ...]
    request_sha256: str
    """Of media type, tenant and body: what an idempotency key stands for."""
    marks: dict[str, tuple[int, int]] = {}
    """Where the names of datasets were written, if the body has lines."""

    @contextmanager
    def places(self) -> Generator[None]:
        """Say of a refusal that is about fields in which line they are."""
        try:
            yield
        except Refused as error:
            raise Refused(str(error), error.token, placed(error.errors, "", self.marks)) from None


async def read_submission(exchange: Exchange) -> Submission:
    """Read and check the body. Raises SpecError with every place that is wrong, HttpError for a wrong media type."""
    media = exchange.expects(*MEDIA)
    body = await exchange.body()
    return submission_of(media, body, exchange.query.tenant or "", exchange.service.site.currency)


def submission_of(media: str, body: bytes, tenant: str, currency: str) -> Submission:
    """A spec as the service takes it, for a factory that charges in `currency`. Raises SpecError."""
    parsed = _parse(media, body)
    _only_what_is_here(parsed, currency)
    array = None
    if parsed.array_size is not None:
        array = parsed.array or tuple(range(parsed.array_size))
    request = hashlib.sha256(f"{media}\n{tenant}\n".encode())
    request.update(body)
    return Submission(
        spec=parsed.spec,
        digest=_digest(parsed.spec),
        array=array,
        secrets=parsed.secret_values,
        warnings=parsed.warnings,
        request_sha256=request.hexdigest(),
        marks=parsed.marks,
    )


def _parse(media: str, body: bytes) -> Parsed:
    if media == JSON:
        return parse_json(body)
    if media in {SBATCH, "text/x-shellscript"}:
        return parse_any(body, "<script>")
    return parse_yaml(body)


def _digest(spec: WorkloadSpec) -> str:
    try:
        return digest(spec)
    except OverflowError:
        message = "a number in it has more than 64 bits: no quantity here needs that"
        raise SpecError((FieldError(message=message),)) from None


def _only_what_is_here(parsed: Parsed, currency: str) -> None:
    wrong: list[FieldError] = []
    if parsed.workdir_local is not None:
        wrong.append(FieldError(message=f"`{parsed.workdir_local}` {UPLOAD_FIRST}", field="workdir"))
    wrong += [
        FieldError(message=f"`{local}` {UPLOAD_FIRST}", field=f"file_mounts.{path}")
        for path, local in parsed.mounts_local
    ]
    if parsed.budget_currency not in {"", currency}:
        message = (
            f"is in `{parsed.budget_currency}`, and this factory charges in `{currency}`: give it in that"
        )
        wrong.append(FieldError(message=message, field="budget"))
    if wrong:
        raise SpecError(tuple(wrong))
