"""A certificate authority for one session, which lives in this client's memory and nowhere else."""

from __future__ import annotations

import secrets
import ssl
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=30)
"""From its making to its end; of all certificates that it issues too."""
RENEWAL = timedelta(days=1)
"""So long before its end another one takes its place."""

_SKEW = timedelta(days=1)
"""By which an engine's clock may be behind this machine's."""
_NO_ADDRESSES = (
    x509.IPAddress(IPv4Network("0.0.0.0/0")),
    x509.IPAddress(IPv6Network("::/0")),
)


class Authority:
    """Issues certificates for the names that rules intercept, and can for no others.

    The limit is in its own certificate: whoever got hold of its key could imitate these names
    alone, and to this session's commands alone, which are all that trust it.
    """

    def __init__(self, rules: Iterable[str]) -> None:
        """Make one.

        Args:
            rules: hosts of rules, with ``*.`` or without.
        """
        # A constraint on a name holds for everything below it too: `*.` is as near as it gets.
        self._names = frozenset(rule.removeprefix("*.") for rule in rules)
        self._key = ec.generate_private_key(ec.SECP256R1())
        # One for all: they are in the same memory, and end together.
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._password = secrets.token_hex(32).encode()
        self._leaf_pem = self._leaf_key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(self._password)
        )
        now = datetime.now(UTC).replace(microsecond=0)
        self._begins = now - _SKEW
        self.ends: datetime = now + LIFETIME
        """When it stops to be trusted."""
        self._certificate = self._sign_itself()

    def __repr__(self) -> str:
        return f"<Authority for {len(self._names)} names, until {self.ends:%Y-%m-%d}>"

    @property
    def pem(self) -> bytes:
        """Its certificate."""
        return self._certificate.public_bytes(Encoding.PEM)

    def serves(self, rules: Iterable[str]) -> bool:
        """Whether it can issue for all that these rules name, and for some time yet."""
        fresh = datetime.now(UTC) < self.ends - RENEWAL
        return fresh and {rule.removeprefix("*.") for rule in rules} <= self._names

    def server_context(self, host: str) -> ssl.SSLContext:
        """Return what answers for one host, to clients that ask for it or say no name.

        It blocks for some milliseconds. HTTP/1.1 is all that is agreed on.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # No session is taken up again: it would be one that a policy of before has let through.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])

        def named(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> int | None:
            if name is None or name.lower().removesuffix(".") == host:
                return None
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

        context.sni_callback = named
        # Python takes a key from a file alone. This one holds it for a moment, encrypted; what
        # opens it is never written down.
        with tempfile.NamedTemporaryFile() as file:
            file.write(self._issue(host).public_bytes(Encoding.PEM) + self._leaf_pem)
            file.flush()
            context.load_cert_chain(file.name, password=self._password)
        return context

    def _sign_itself(self) -> x509.Certificate:
        public = self._key.public_key()
        names = [x509.DNSName(name) for name in sorted(self._names)]
        constraints = x509.NameConstraints(names, list(_NO_ADDRESSES))
        return (
            self._builder(_subject("fumehood, for one session"), public)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(constraints, critical=True)
            .sign(self._key, SHA256())
        )

    def _issue(self, host: str) -> x509.Certificate:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            self._builder(_subject("intercepted by fumehood"), self._leaf_key.public_key())
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(identifier, critical=False)
            .sign(self._key, SHA256())
        )

    def _builder(
        self, subject: x509.Name, public: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_subject("fumehood, for one session"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._begins)
            .not_valid_after(self.ends)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )


def _subject(text: str) -> x509.Name:
    # An organisation and no common name: some would take that for a host's.
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, text)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
