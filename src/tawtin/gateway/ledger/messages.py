"""What workers, the control plane and the ledger say to each other, over a Unix socket: length, then MessagePack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from tawtin.gateway.settings import Limits
from tawtin.model.base import Record
from tawtin.model.gateway import Charge, TokensUsed

if TYPE_CHECKING:
    from collections.abc import Iterator

SOCKET: Final = "ledger.sock"
_LENGTH_BYTES: Final = 4
_MESSAGE_BYTES_MAX: Final = 64 << 20


class Hello(Record, frozen=True, kw_only=True, tag="hello"):
    """A worker is there, and these of its reservations are under way. All others that it ever made are over."""

    worker: str
    open: tuple[str, ...] = ()


class Reserve(Record, frozen=True, kw_only=True, tag="reserve"):
    """Hold so much for a request. Answered when it is durable, or refused."""

    receipt: str
    tenant: str
    key: str
    model: str
    tokens_in: int
    """An estimate."""
    tokens_max: int
    """What request and answer can come to."""
    micro_in: int
    """The price of `tokens_in`, in millionths of a minor unit."""
    micro_max: int
    tenant_limits: Limits = Limits()
    key_limits: Limits = Limits()


class Settle(Record, frozen=True, kw_only=True, tag="settle"):
    """What became of a request. Repeats change nothing."""

    receipt: str
    replica: str = ""
    country: str = ""
    provider: str = ""
    """The external provider that answered; empty for the factory's own."""
    also: tuple[str, ...] = ()
    """Other replicas that had the request: those that failed, or that a faster one was asked beside."""
    tokens_in: int = 0
    tokens_out: int = 0
    micro: int = 0
    estimated: bool = False
    cause: str = "done"
    """`done`, `client_gone`, `replica_failed`, `not_sent`, `worker_lost`."""


class ReplicaState(Record, frozen=True, kw_only=True):
    """How one replica does, as one worker sees it."""

    id: str
    open: int = 0
    requests: int = 0
    failures: int = 0
    hedges: int = 0
    shut: bool = False
    given: int = 0
    """Requests that it was given."""
    tokens: int = 0
    """Of requests and answers that are over."""
    waited_ms: int = 0
    """How long the streams that it began took to begin, together."""
    began: int = 0


class Told(Record, frozen=True, kw_only=True, tag="told"):
    """A worker tells how its replicas do."""

    replicas: tuple[ReplicaState, ...] = ()
    held: dict[str, int] = {}
    """Model -> requests that wait until it has a replica."""


class AskLoads(Record, frozen=True, kw_only=True, tag="ask-loads"):
    """Ask what each worker told, by its name."""


class Loads(Record, frozen=True, kw_only=True, tag="loads"):
    """What each worker told last."""

    workers: dict[str, Told]


class AskEndpoints(Record, frozen=True, kw_only=True, tag="ask-endpoints"):
    """Ask what the workers told."""


class AskUsage(Record, frozen=True, kw_only=True, tag="ask-usage"):
    """Ask what was used, by all or one tenant, ever or in one month."""

    tenant: str = ""
    month: str = ""


class AskLives(Record, frozen=True, kw_only=True, tag="ask-lives"):
    """Ask in which lives of the ledger requests were settled, and how many in this one of them."""

    known: str = ""
    charged: dict[str, int] = {}
    """Life -> the number of its last settlement that is in the accounts: what is old and charged may be folded."""


class AskCharge(Record, frozen=True, kw_only=True, tag="ask-charge"):
    """Ask for what was settled in a life of the ledger after a number."""

    ledger: str
    after: int


class Granted(Record, frozen=True, kw_only=True, tag="granted"):
    """It is held, and durable."""

    receipt: str


class Denied(Record, frozen=True, kw_only=True, tag="denied"):
    """It would go beyond a limit."""

    receipt: str
    limit: str
    """`requests_per_minute`, `tokens_per_minute` or `minor_per_month`."""
    whose: str
    """`tenant` or `key`."""
    most: int
    retry_ms: int = 0
    """When it may be tried again; 0 if waiting does not help this month."""


class Settled(Record, frozen=True, kw_only=True, tag="settled"):
    """These are durable."""

    receipts: tuple[str, ...]


class Endpoints(Record, frozen=True, kw_only=True, tag="endpoints"):
    """What each worker told last."""

    workers: tuple[tuple[ReplicaState, ...], ...]


class Used(Record, frozen=True, kw_only=True, tag="used"):
    """What was used."""

    rows: tuple[TokensUsed, ...]


class Life(Record, frozen=True, kw_only=True):
    """A life of the ledger, from one start to its end."""

    ledger: str
    settled: int
    """The number of its last settlement."""


class Lives(Record, frozen=True, kw_only=True, tag="lives"):
    """Those in which something was settled, the oldest first."""

    lives: tuple[Life, ...] = ()
    known: int = 0
    """The number of the last settlement of the one that was asked for; 0 if the ledger never heard of it."""


class Charges(Record, frozen=True, kw_only=True, tag="charges"):
    """What was settled, as far as it goes into one charge; nothing if there is nothing."""

    charge: Charge | None = None


Question = AskEndpoints | AskLoads | AskUsage | AskLives | AskCharge
ToLedger = Hello | Reserve | Settle | Told | Question
FromLedger = Granted | Denied | Settled | Endpoints | Loads | Used | Lives | Charges
_encoder: Final = msgspec.msgpack.Encoder()
to_ledger: Final = msgspec.msgpack.Decoder(ToLedger)
from_ledger: Final = msgspec.msgpack.Decoder(FromLedger)


def frame(message: ToLedger | FromLedger) -> bytes:
    """A message as it travels."""
    body = _encoder.encode(message)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class Frames:
    """Cuts a stream of bytes into the bodies of messages."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes, give whole bodies. Raises ValueError for a length that no message has."""
        held = self._held
        held += data
        at = 0
        while len(held) - at >= _LENGTH_BYTES:
            length = int.from_bytes(held[at : at + _LENGTH_BYTES], "big")
            if length > _MESSAGE_BYTES_MAX:
                msg = f"a message of {length} bytes"
                raise ValueError(msg)
            end = at + _LENGTH_BYTES + length
            if len(held) < end:
                break
            yield bytes(held[at + _LENGTH_BYTES : end])
            at = end
        del held[:at]
