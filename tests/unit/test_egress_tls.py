"""TLS that ends here: who is trusted, by which rules, and what is kept."""

from __future__ import annotations

import contextlib
import copy
import pickle
import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from cryptography import x509

from fumehood import Allow, InvalidRequestError, Network
from fumehood.egress import authority, interception, trust
from fumehood.egress.authority import Authority
from fumehood.egress.interception import Interception
from fumehood.egress.part import check_available
from fumehood.egress.variables import TRUST_VARIABLES, variables
from fumehood.errors import FileMissingError
from fumehood.options import UnknownHeadersError, network_from_dict, to_dict
from fumehood.paths import absolute

SECRET = "Bearer hunter2"
HEADERS = {"Authorization": SECRET, "X-Api-Key": "k"}
OURS = Authority(["api.test", "*.wild.test"])
THEIRS = Authority(["test"])


# --- the authority --------------------------------------------------------------------------------


def trusting(made: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=made.pem.decode())


def shake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> ssl.SSLObject:
    """Let both agree, without anything between them; return the client's side."""
    one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(one, other, server_hostname=name)
    there = server.wrap_bio(other, one, server_side=True)
    for side in (here, there) * 3:
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    here.do_handshake()
    return here


@pytest.mark.parametrize("host", ["api.test", "a.wild.test", "a.b.wild.test", "x_y.wild.test"])
def test_a_certificate_is_good_for_a_name_that_a_rule_has(host: str) -> None:
    client = trusting(OURS)
    client.set_alpn_protocols(["h2", "http/1.1"])
    agreed = shake(OURS.server_context(host), client, host)
    assert agreed.version() == "TLSv1.3"
    assert agreed.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("host", ["evil.test", "api.test.evil", "xapi.test", "127.0.0.1", "::1"])
def test_the_authority_is_trusted_for_no_other_name(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Signed all the same, as whoever had the key could.
    with contextlib.suppress(ValueError):
        address = x509.IPAddress(ip_address(host))
        monkeypatch.setattr(x509, "DNSName", lambda _: address)
    server = OURS.server_context(host)
    with pytest.raises(ssl.SSLCertVerificationError, match="subtree violation"):
        shake(server, trusting(OURS), host)


def test_its_own_certificate_signs_others_and_nothing_below_them() -> None:
    made = x509.load_pem_x509_certificate(OURS.pem)
    basic = made.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    usage = made.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, False, False)
    assert made.extensions.get_extension_for_class(x509.NameConstraints).critical
    assert made.not_valid_after_utc - made.not_valid_before_utc < timedelta(days=32)


def test_two_sessions_do_not_trust_each_others_authority() -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(OURS.server_context("api.test"), trusting(Authority(["api.test"])), "api.test")


def test_a_client_that_says_another_name_than_the_tunnels_gets_no_certificate() -> None:
    with pytest.raises(ssl.SSLError, match="callback failed"):
        shake(OURS.server_context("a.wild.test"), trusting(OURS), "b.wild.test")


def test_it_serves_what_its_rules_cover_until_shortly_before_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert OURS.serves(["api.test"])
    assert OURS.serves(["*.wild.test", "wild.test"])
    assert not OURS.serves(["api.test", "other.test"])
    monkeypatch.setattr(authority, "RENEWAL", authority.LIFETIME)
    assert not OURS.serves(["api.test"])


# --- rules ----------------------------------------------------------------------------------------


def intercepting(host: str = "api.test", **more: Any) -> Allow:
    return Allow(host, headers=HEADERS, tls="intercept", **more)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Allow("a.test", headers=HEADERS, tls="mitm"), "tls must be"),  # type: ignore[arg-type]
        (lambda: Allow("a.test", tls="intercept"), "is for its headers"),
        (lambda: Allow("a.test", headers=HEADERS, ca="x"), "needs tls='intercept'"),
        (lambda: intercepting(ca="x"), "holds no certificates"),
        (lambda: intercepting(ca=""), "holds no certificates"),
        (lambda: intercepting(ca=b"x"), "PEM text"),
        (lambda: intercepting(ca="x" * (1 << 21)), "at most"),
        (lambda: Allow("10.0.0.1", headers=HEADERS, tls="intercept"), "is for a name"),
        *(
            (
                lambda value=value: Allow("a.test", headers={"X": value}, tls="intercept"),
                "printable",
            )
            for value in ("a\r\nHost: evil.test", "a\nb", "a\rb", "a\0b", " a", "ü", "")
        ),
    ],
)
def test_a_rule_that_could_not_hold_is_refused_when_it_is_made(
    make: Callable[[], Allow], says: str
) -> None:
    with pytest.raises(InvalidRequestError, match=says) as failure:
        make()
    assert "hunter2" not in str(failure.value)


def test_a_rule_is_itself_after_a_copy_and_shows_no_secret() -> None:
    rule = intercepting(ca=THEIRS.pem.decode())
    for same in (copy.deepcopy(rule), pickle.loads(pickle.dumps(rule))):
        assert same == rule
        assert (same.tls, same.ca, same.headers) == (rule.tls, rule.ca, rule.headers)
    assert "hunter2" not in repr(rule)
    assert "CERTIFICATE" not in repr(rule)


def test_what_is_noted_of_a_rule_is_found_again_with_its_headers_or_not_at_all() -> None:
    network = Network.allow(intercepting(ca=THEIRS.pem.decode()), "b.test")
    noted = to_dict(network)
    assert "hunter2" not in str(noted)
    assert network_from_dict(noted, network) == network
    with pytest.raises(UnknownHeadersError):
        network_from_dict(noted, Network.allow(Allow("api.test", headers=HEADERS)))
    # As an earlier version has noted it.
    plain = Network.allow(Allow("api.test", headers=HEADERS))
    old = {
        **to_dict(plain),
        "domains": [{"host": "api.test", "ports": None, "headers": sorted(HEADERS)}],
    }
    assert network_from_dict(old, plain) == plain


def test_commands_are_told_whom_to_trust_only_where_a_rule_intercepts() -> None:
    assert variables(Network.none()) == {}
    assert not TRUST_VARIABLES.keys() & variables(Network.allow("a.test")).keys()
    assert TRUST_VARIABLES.items() <= variables(Network.allow("a.test", intercepting())).items()


def test_what_is_not_installed_is_said_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def find(name: str) -> object | None:
        return None if name == "cryptography" else object()

    monkeypatch.setattr("importlib.util.find_spec", find)
    check_available(Network.allow("a.test"))
    with pytest.raises(InvalidRequestError, match=r"pip install 'fumehood\[egress\]'"):
        check_available(Network.allow(intercepting()))


# --- what is kept ---------------------------------------------------------------------------------


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The certificates that a session was given, which has no roots of its own."""
    given: list[bytes] = []

    async def image_roots(*_: object) -> bytes:
        return b""

    async def place(_: object, __: str, certificate: bytes, roots: bytes) -> None:
        # This machine's in place of the image's.
        assert roots.count(b"BEGIN CERTIFICATE") > 1
        given.append(certificate)

    monkeypatch.setattr(trust, "image_roots", image_roots)
    monkeypatch.setattr(trust, "place", place)
    return given


@contextlib.contextmanager
def intercepted() -> Iterator[Interception]:
    nothing: Any = None
    made = Interception(nothing, "s1", None)
    yield made
    made.close()


async def test_no_authority_is_made_before_a_rule_needs_one(placed: list[bytes]) -> None:
    with intercepted() as made:
        await made.prepare([])
        assert placed == []
        await made.prepare(["api.test", "*.wild.test"])
        await made.prepare(["api.test"])
        assert len(placed) == 1
        await made.prepare(["other.test"])
        assert len(placed) == 2


async def test_certificates_for_names_without_end_are_not_kept(
    placed: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interception, "MAX_CONTEXTS", 3)
    with intercepted() as made:
        await made.prepare(["*.wild.test"])
        first = await made.inside("a.wild.test")
        for name in "bcaedac":
            await made.inside(f"{name}.wild.test")
        assert made.statistics() == {"hosts": 3, "trusted": 0}
        # It was asked for again and again, and the others only once.
        assert await made.inside("a.wild.test") is first


async def test_an_authority_at_its_end_is_replaced_before_it_answers_again(
    placed: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with intercepted() as made:
        await made.prepare(["api.test"])
        before = await made.inside("api.test")
        with monkeypatch.context() as patch:
            patch.setattr(authority, "RENEWAL", authority.LIFETIME)
            assert await made.inside("api.test") is not before
        assert len(placed) == 2
        assert placed[0] != placed[1]


async def test_whom_it_trusts_is_kept_for_each_set_of_certificates() -> None:
    with intercepted() as made:
        own = await made.outside(None)
        assert await made.outside(None) is own
        assert own.check_hostname
        assert own.verify_mode is ssl.CERT_REQUIRED
        given = await made.outside(THEIRS.pem.decode())
        # Of one set alone, and none of this machine's.
        (only,) = given.get_ca_certs(binary_form=True)
        assert ssl.DER_cert_to_PEM_cert(only) == THEIRS.pem.decode()


@pytest.mark.parametrize("said", [None, "/opt/roots.pem", "../\0", "x" * 9000, ""])
async def test_the_images_roots_are_where_it_says_or_where_they_usually_are(
    said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"/opt/roots.pem": b"its own", "/etc/ssl/cert.pem": b"usual\n"}

    async def read(_: object, session_id: str, path: str) -> bytes:
        absolute(path)
        if path not in there:
            raise FileMissingError(path, path=path, op="read_file", session_id=session_id)
        return there[path]

    monkeypatch.setattr(trust, "_read", read)
    nothing: Any = None
    found = await trust.image_roots(nothing, "s1", said)
    # As lines, whatever comes behind them.
    assert found == (b"its own\n" if said == "/opt/roots.pem" else b"usual\n")
    there.clear()
    assert await trust.image_roots(nothing, "s1", said) == b""
