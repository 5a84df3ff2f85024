"""Identity tokens and grants without a provider: which tokens count, and what claims come to."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey
from msgspec.structs import replace

from tawtin.bootstrap.settings import SettingsError, load_settings
from tawtin.core.keep import keep
from tawtin.core.state import State
from tawtin.model.tenant import Scope, Tenant
from tawtin.runtime.actor import Actor
from tawtin.runtime.people import PEOPLE_MAX, People
from tawtin.web.console.app import _open_desk
from tawtin.web.console.oidc.fetch import Away
from tawtin.web.console.oidc.grants import actor_of, marks
from tawtin.web.console.oidc.settings import OidcGrant, OidcSettings, safe_url, unsound
from tawtin.web.console.oidc.token import Rejected, UnknownKey, keys_of, verify
from tawtin.web.console.session import Person, Sessions
from tests.web.harness import SITE

ISSUER = "https://login.example/realms/one"
NOW_S = 1_800_000_000
KEY = ECKey.generate_key("P-256", {"kid": "one", "use": "sig"})
RSA = RSAKey.generate_key(2048, {"kid": "two"})
KEYS = KeySet([KEY, RSA])
CLAIMS: dict[str, object] = {
    "iss": ISSUER, "aud": "casa", "sub": "s-1", "exp": NOW_S + 300, "iat": NOW_S, "nonce": "n",
}  # fmt: skip
SETTINGS = OidcSettings(
    issuer=ISSUER,
    client_id="casa",
    grants=(
        OidcGrant(value="staff", tenant="lab", scope=Scope.SUBMIT),
        OidcGrant(claim="realm_access.roles", value="ai", tenant="lab", scope=Scope.READ),
        OidcGrant(claim="email", value="a@lab.example", tenant="casa", scope=Scope.AUDIT),
    ),
)


def _verified(claims: dict[str, object], *, alg: str = "ES256", key: ECKey | RSAKey | OctKey = KEY) -> object:
    token = jwt.encode({"alg": alg, "kid": key.kid}, claims, key, algorithms=[alg])
    return _checked(token)


def _checked(token: str) -> object:
    return verify(token, KEYS, issuer=ISSUER, client="casa", nonce="n", now_s=NOW_S, skew_s=60)


def test_a_token_of_the_provider_for_this_factory_counts() -> None:
    assert _verified(CLAIMS) == CLAIMS
    assert _verified(CLAIMS, alg="RS256", key=RSA) == CLAIMS
    both = {**CLAIMS, "aud": ["casa", "other"], "azp": "casa"}
    assert _verified(both) == both
    late = {**CLAIMS, "exp": NOW_S - 59, "iat": NOW_S + 59}
    assert _verified(late) == late, "clocks may differ a little"


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"iss": "https://login.example/realms/two"}, "token"),
        ({"aud": "other"}, "token"),
        ({"aud": ["casa", "other"]}, "token"),
        ({"azp": "other"}, "token"),
        ({"aud": None}, "token"),
        ({"sub": None}, "token"),
        ({"exp": None}, "token"),
        ({"iat": None}, "token"),
        ({"exp": NOW_S - 61}, "clock"),
        ({"iat": NOW_S + 61}, "clock"),
        ({"nbf": NOW_S + 61}, "clock"),
        ({"nonce": "m"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"nonce": ["n"]}, "nonce"),
    ],
)
def test_a_token_that_is_not_for_this_sign_in_does_not_count(changed: dict[str, object], fault: str) -> None:
    with pytest.raises(Rejected) as caught:
        _verified({name: value for name, value in {**CLAIMS, **changed}.items() if value is not None})
    assert caught.value.fault == fault


def test_only_the_private_keys_of_the_provider_sign() -> None:
    shared = OctKey.generate_key(256, {"kid": "one"})
    with pytest.raises(Rejected):
        _verified(CLAIMS, alg="HS256", key=shared)
    head, body, signature = jwt.encode({"alg": "ES256", "kid": "one"}, CLAIMS, KEY).split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","kid":"one"}').decode().rstrip("=")
    for forged in (f"{head}.{body}.", f"{none}.{body}.", f"{head}.{body}.{signature[::-1]}", "", ".."):
        with pytest.raises(Rejected):
            _checked(forged)
    with pytest.raises(UnknownKey):
        _verified(CLAIMS, key=ECKey.generate_key("P-256", {"kid": "three"}))


def test_keys_that_cannot_be_used_are_left_out_and_none_is_an_error() -> None:
    public = KEY.as_dict(private=False)
    odd = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "x"},
        {"kty": "RSA", "kid": "y"},
        {**public, "use": "enc", "kid": "z"},
    ]
    found = keys_of(msgspec.json.encode({"keys": [*odd, {"kty": "lattice"}, public]}))
    assert [each.kid for each in found] == ["one"]
    with pytest.raises(Away):
        keys_of(msgspec.json.encode({"keys": odd}))


# --- grants -------------------------------------------------------------------------------------------------------


def _state(*tenants: Tenant) -> State:
    state = State(site=SITE)
    for each in tenants:
        keep(state, each)
    return state


@pytest.mark.parametrize(
    ("claims", "want"),
    [
        ({"groups": ["other", "staff"]}, ("lab", Scope.SUBMIT)),
        ({"groups": "staff"}, ("lab", Scope.SUBMIT)),
        ({"groups": ["Staff", "staff ", "sta"]}, None),
        ({"groups": {"staff": True}}, None),
        ({"realm_access": {"roles": ["ai"]}}, ("lab", Scope.READ)),
        ({"realm_access.roles": ["ai"]}, ("lab", Scope.READ)),
        ({"realm_access": "ai"}, None),
        ({"groups": ["staff"], "email": "a@lab.example", "email_verified": True}, ("lab", Scope.SUBMIT)),
        ({"email": "a@lab.example", "email_verified": True}, ("casa", Scope.AUDIT)),
        ({"email": "a@lab.example", "email_verified": "true"}, None),
        ({"email": "a@lab.example"}, None),
        ({}, None),
    ],
)
def test_the_first_grant_that_fits_counts(claims: dict[str, object], want: tuple[str, Scope] | None) -> None:
    person = Person(subject="s-1", marks=marks(SETTINGS, claims))
    got = actor_of(SETTINGS, _state(Tenant(id="lab"), Tenant(id="casa")), person)
    assert (got and (got.tenant, got.scope)) == want
    assert got is None or got.key == "oidc:s-1@login.example"


def test_what_a_session_is_worth_follows_the_settings_and_the_tenants() -> None:
    state = _state(Tenant(id="lab"))
    person = Person(subject="s-1", marks=marks(SETTINGS, {"groups": ["staff"]}))
    less = replace(SETTINGS, grants=(replace(SETTINGS.grants[0], scope=Scope.READ),))
    now = actor_of(less, state, person)
    assert now is not None
    assert now.scope is Scope.READ
    for changed in (
        replace(SETTINGS, grants=SETTINGS.grants[1:]),
        replace(SETTINGS, blocked=("s-1",)),
        replace(SETTINGS, issuer="https://login.example/realms/two"),
        replace(SETTINGS, client_id="other"),
    ):
        assert actor_of(changed, state, person) is None
    assert actor_of(SETTINGS, _state(Tenant(id="lab", closed=True)), person) is None
    assert actor_of(SETTINGS, _state(), person) is None


def test_people_are_known_until_their_session_is_over_and_not_too_many() -> None:
    people, actor = People(), Actor(key="oidc:s-1@a", tenant="lab", scope=Scope.READ, person=True)
    people.meet(actor.key, 10, lambda: actor)
    assert people.find(actor.key, 9) is actor
    assert people.find(actor.key, 10) is None
    assert people.find("oidc:s-2@a", 9) is None
    people.meet(actor.key, 10, lambda: None)
    assert people.find(actor.key, 9) is None, "looked at anew"
    for number in range(PEOPLE_MAX):
        people.meet(str(number), 10, lambda: actor)
    assert people.find("0", 9) is actor
    people.meet("one more", 10, lambda: actor)
    assert people.find("0", 9) is None


# --- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"issuer": "http://login.example"}, "issuer"),
        ({"issuer": "https://login.example/?a"}, "issuer"),
        ({"issuer": ""}, "client_id"),
        ({"client_id": ""}, "client_id"),
        ({"grants": ()}, "grants"),
        ({"scopes": ("email",)}, "scopes"),
        ({"address": "https://ai.example/below"}, "address"),
    ],
)
def test_settings_that_let_nobody_in_or_tell_secrets_are_named(
    changed: dict[str, object], names: str
) -> None:
    assert unsound(SETTINGS) == ""
    assert unsound(replace(SETTINGS, **changed)).startswith(f"console.oidc.{names}: ")


def test_a_wrong_setting_is_named_with_its_line_and_files_are_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "factory.toml"
    text = (
        '[factory]\nname = "casa"\ncountry = "MA"\n[console.oidc]\nissuer = "https://login.example"\n'
        'client_id = "casa"\nclient_secret_file = "oidc.secret"\n'
        '[[console.oidc.grants]]\nvalue = "staff"\ntenant = "lab"\nscope = "audit"\n'
    )
    file.write_text(text)
    found = load_settings(file).console.oidc
    assert found.grants == (OidcGrant(value="staff", tenant="lab", scope=Scope.AUDIT),)
    assert found.client_secret_file == str(tmp_path / "oidc.secret")
    with pytest.raises(OSError, match=r"console\.oidc\.client_secret_file: .* cannot be read"):
        _open_desk(found, Sessions(b"s" * 32, 1_000), b"s" * 32)
    file.write_text(text.replace("https://", "http://"))
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    assert str(caught.value).startswith(f"{file}:5: console.oidc.issuer: has to be an `https` address")


def test_without_the_extra_the_pages_are_there_and_the_log_names_it() -> None:
    program = (
        "import sys; sys.modules['joserfc'] = None\n"
        "from tawtin.web.console import app, table\n"
        "from tawtin.web.console.oidc.settings import OidcSettings\n"
        "from tawtin.web.console.session import Sessions\n"
        "assert app._open_desk(OidcSettings(issuer='https://a.example'), Sessions(b's', 1), b's') is None"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    assert "`joserfc` is missing: install tawtin[oidc]" in ended.stderr


def test_addresses_are_over_tls_or_on_this_machine() -> None:
    assert safe_url("https://login.example:8443/a?b=c")
    assert safe_url("http://127.0.0.1:8080/a")
    for wrong in (
        "http://login.example", "ftp://127.0.0.1", "https://", "https://a@b.example", "https://a.example/#b",
        "javascript:alert(1)", "https://a.example/ b", "https://[::1", "https://a.example:99999",
    ):  # fmt: skip
        assert not safe_url(wrong), wrong
