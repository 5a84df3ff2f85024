"""The provider as this factory knows it: its discovery document and keys, kept for a while, and its tokens."""

from __future__ import annotations

import asyncio
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec

from tawtin.web.console.oidc.fetch import Away, fetch
from tawtin.web.console.oidc.settings import safe_url
from tawtin.web.console.oidc.token import Rejected, UnknownKey, keys_of, verify

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

    from tawtin.web.console.oidc.settings import OidcSettings

_OK: Final = 200
_THREADS: Final = 4
_WAITING_MAX: Final = 64
_BASIC: Final = "client_secret_basic"


class Discovery(msgspec.Struct, frozen=True):
    """What is needed of a discovery document (OpenID Connect Discovery 1.0)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = (_BASIC,)
    authorization_response_iss_parameter_supported: bool = False


class _Tokens(msgspec.Struct, frozen=True):
    """What is needed of an answer with tokens, or of one that refuses them."""

    id_token: str = ""
    error: str = ""


class Provider:
    """One provider."""

    def __init__(self, settings: OidcSettings, secret: str) -> None:
        """`secret` is the client's; empty for a client without one. Nothing is asked yet. Raises OSError."""
        self.settings = settings
        self._secret = secret
        self._tls = ssl.create_default_context(cafile=settings.ca_file or None)
        self._threads = ThreadPoolExecutor(_THREADS, "tawtin-oidc")
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._known: Discovery | None = None
        self._keys: KeySet | None = None
        self._until_s = 0.0
        self._failures = 0

    async def address(self, asked: dict[str, str]) -> str:
        """Where a browser is sent to sign in. Raises Away."""
        known, _ = await self._look()
        between = "&" if "?" in known.authorization_endpoint else "?"
        return f"{known.authorization_endpoint}{between}{urlencode(asked)}"

    async def names_itself(self) -> bool:
        """Whether it says in each answer who it is (RFC 9207). Raises Away."""
        return (await self._look())[0].authorization_response_iss_parameter_supported

    async def claims(
        self, code: str, *, verifier: str, redirect: str, nonce: str, now_s: int
    ) -> dict[str, Any]:
        """The claims of the identity token for a code, checked. Raises Away, and Rejected with what is wrong."""
        known, keys = await self._look()
        token = await self._redeem(known, code, verifier, redirect)
        try:
            return self._verify(token, keys, nonce, now_s)
        except UnknownKey:
            _, keys = await self._look(anew=True)
            return self._verify(token, keys, nonce, now_s)

    def _verify(self, token: str, keys: KeySet, nonce: str, now_s: int) -> dict[str, Any]:
        settings = self.settings
        return verify(
            token,
            keys,
            issuer=settings.issuer,
            client=settings.client_id,
            nonce=nonce,
            now_s=now_s,
            skew_s=settings.skew_seconds,
        )

    async def _redeem(self, known: Discovery, code: str, verifier: str, redirect: str) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "code_verifier": verifier,
        }
        basic = None
        if self._secret and _BASIC in known.token_endpoint_auth_methods_supported:
            basic = (self.settings.client_id, self._secret)
        else:
            form["client_id"] = self.settings.client_id
            if self._secret:
                form["client_secret"] = self._secret
        status, body = await self._ask(known.token_endpoint, form=form, basic=basic)
        try:
            said = msgspec.json.decode(body, type=_Tokens)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            msg = f"its tokens cannot be read, with status {status}: {error}"
            raise Away(msg) from None
        if said.error:
            raise Rejected("code", f"the provider refuses the code: {said.error[:100]}")
        if status != _OK or not said.id_token:
            msg = f"it answers a code with status {status} and without an identity token"
            raise Away(msg)
        return said.id_token

    async def _look(self, *, anew: bool = False) -> tuple[Discovery, KeySet]:
        """Its discovery document and keys, fetched if they are too old. Raises Away.

        Whoever waits for the fetch of somebody else has what comes of it, a failure as well.
        """
        clock = asyncio.get_running_loop().time
        seen, failures = self._keys, self._failures
        async with self._lock:
            if self._failures != failures:
                msg = "it did not answer whoever asked just before"
                raise Away(msg)
            fetched_meanwhile = anew and self._keys is not seen
            old = clock() >= self._until_s
            if self._known is None or self._keys is None or old or (anew and not fetched_meanwhile):
                try:
                    self._known = await self._discover()
                    self._keys = keys_of(await self._get(self._known.jwks_uri))
                except Away:
                    self._failures += 1
                    raise
                self._until_s = clock() + self.settings.keys_seconds
            return self._known, self._keys

    async def _discover(self) -> Discovery:
        url = f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        body = await self._get(url)
        try:
            found = msgspec.json.decode(body, type=Discovery)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            msg = f"its discovery document cannot be read: {error}"
            raise Away(msg) from None
        if found.issuer != self.settings.issuer:
            msg = f"its discovery document is of `{found.issuer[:200]}`, and the setting names `{self.settings.issuer}`"
            raise Away(msg)
        for each in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
            if not safe_url(each):
                msg = f"its discovery document names `{each[:200]}`, which is neither `https` nor on this machine"
                raise Away(msg)
        return found

    async def _get(self, url: str) -> bytes:
        status, body = await self._ask(url)
        if status != _OK:
            msg = f"{url} answers with status {status}"
            raise Away(msg)
        return body

    async def _ask(
        self, url: str, *, form: dict[str, str] | None = None, basic: tuple[str, str] | None = None
    ) -> tuple[int, bytes]:
        if self._waiting >= _WAITING_MAX:
            msg = f"{self._waiting} sign-ins wait for the provider already"
            raise Away(msg)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads,
                lambda: fetch(
                    url,
                    seconds=self.settings.timeout_seconds,
                    bytes_max=self.settings.answer_bytes_max,
                    tls=self._tls,
                    form=form,
                    basic=basic,
                ),
            )
        finally:
            self._waiting -= 1
