"""Certificates and kubeconfigs of a test cluster: an authority of its own, and who may present themselves as whom."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = dt.timedelta(days=1)
_HOSTS = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


def _name(common: str, organisation: str = "") -> x509.Name:
    found = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organisation:
        found.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(found)


def _private(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


@dataclass
class Trust:
    """An authority, whose files lie in an existing folder."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    authority: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        """Make the authority's own certificate, and the key that service account tokens are signed with."""
        usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        self.authority = (
            self._builder("tawtin-test", "", self.key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self.key, hashes.SHA256())
        )
        (self.folder / "ca.crt").write_bytes(self.authority.public_bytes(serialization.Encoding.PEM))
        accounts = rsa.generate_private_key(65537, 2048)
        self._secret("accounts.key", _private(accounts))
        (self.folder / "accounts.pub").write_bytes(
            accounts.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

    def _builder(
        self, common: str, organisation: str, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(_name(common, organisation))
            .issuer_name(_name("tawtin-test"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + 365 * _DAY)
        )

    def _secret(self, name: str, body: bytes) -> None:
        path = self.folder / name
        path.touch(0o600)
        path.write_bytes(body)

    def _issue(self, name: str, common: str, organisation: str, addresses: tuple[str, ...]) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if addresses else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = self._builder(common, organisation, key).add_extension(
            x509.ExtendedKeyUsage([purpose]), critical=False
        )
        if addresses:
            names: list[x509.GeneralName] = [x509.DNSName(host) for host in _HOSTS]
            names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        self._secret(f"{name}.key", _private(key))
        (self.folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, name: str, *addresses: str) -> None:
        """`name.crt` and `name.key` for a server at these addresses."""
        self._issue(name, "kube-apiserver", "", addresses)

    def client(self, name: str, common: str, organisation: str, server: str) -> str:
        """A kubeconfig for this user at this server; return its path."""
        self._issue(name, common, organisation, ())
        user = {
            "client-certificate-data": self._text(f"{name}.crt"),
            "client-key-data": self._text(f"{name}.key"),
        }
        return self.kubeconfig(name, server, user)

    def kubeconfig(self, name: str, server: str, user: dict[str, str]) -> str:
        """A kubeconfig with these words about the user; return its path."""
        cluster = {"server": server, "certificate-authority-data": self._text("ca.crt")}
        text = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "current-context": "test",
        }
        self._secret(f"{name}.kubeconfig", json.dumps(text).encode())
        return str(self.folder / f"{name}.kubeconfig")

    def _text(self, name: str) -> str:
        return base64.b64encode((self.folder / name).read_bytes()).decode("ascii")
