"""What may be reached, decided without a network: spellings of hosts, kinds of addresses, rules."""

# ruff: noqa: RUF001 - characters that look like others are what is tried

from __future__ import annotations

import copy
import ipaddress
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases.spellings import LOOPBACK, METADATA
from fumehood import Allow, EgressReason, InvalidRequestError, Network
from fumehood.egress.addresses import is_public
from fumehood.egress.hosts import Host, HostError, Name, parse_authority, parse_host, show
from fumehood.egress.policy import Policy

OPEN = Policy([Allow("example.org"), Allow("*.example.org"), Allow("k.example.org")])


def reached(policy: Policy, text: str, port: int = 80) -> bool:
    """Whether a request for this host would lead to a connection, if its name's addresses may."""
    try:
        host, number = parse_authority(text, port)
    except HostError:
        return False
    if not policy.decide(host, number).allowed:
        return False
    return isinstance(host, Name) or policy.permits(host, number)


def test_there_are_spellings_enough() -> None:
    assert len(set(METADATA)) >= 60
    assert len(set(LOOPBACK)) >= 40


@pytest.mark.parametrize("text", METADATA + LOOPBACK)
def test_no_spelling_of_an_address_that_is_not_public_is_reached(text: str) -> None:
    assert not reached(OPEN, text)


@pytest.mark.parametrize("text", METADATA + LOOPBACK)
def test_no_spelling_of_it_is_an_address_that_may_be_connected_to(text: str) -> None:
    try:
        host = parse_host(text)
    except HostError:
        return
    if isinstance(host, Name):
        assert not any(part.isdigit() for part in host.text.rpartition(".")[2:])
    else:
        assert not OPEN.permits(host, 80)


@pytest.mark.parametrize("text", METADATA + LOOPBACK)
def test_what_is_not_the_plain_spelling_is_not_reached_even_where_all_is_named(text: str) -> None:
    everything = Policy([Allow("0.0.0.0/0"), Allow("::/0")])
    try:
        host = parse_host(text)
    except HostError:
        return
    if isinstance(host, Name):
        assert not everything.decide(host, 80).allowed
    else:
        # One spelling leads to it: the one in which it would be written here.
        assert show(host).lower() in (text.lower(), show(ipaddress.ip_address(str(host))))


@pytest.mark.parametrize(
    "text,host,port",
    [
        ("example.org:443", Name("example.org"), 443),
        ("EXAMPLE.org.:1", Name("example.org"), 1),
        ("a_b.example.org:65535", Name("a_b.example.org"), 65535),
        ("xn--bcher-kva.de:80", Name("xn--bcher-kva.de"), 80),
        ("93.184.216.34:80", ipaddress.ip_address("93.184.216.34"), 80),
        ("[2606:2800:220:1::]:80", ipaddress.ip_address("2606:2800:220:1::"), 80),
        ("[2606:2800:220:1::]", ipaddress.ip_address("2606:2800:220:1::"), 8080),
        ("1.example", Name("1.example"), 8080),
        ("0x.example", Name("0x.example"), 8080),
    ],
)
def test_a_plain_spelling_is_understood(text: str, host: Host, port: int) -> None:
    assert parse_authority(text, 8080) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        "example.org:0",
        "example.org:65536",
        "example.org:+80",
        "example.org: 80",
        "example.org:080",
        "example.org:８０",
        "example.org:80:80",
        "example.org:http",
        "example.org:",
        ":80",
        "a" * 64 + ".org",
        ".".join(["a" * 60] * 5),
        "-a.org",
        "a-.org",
        "a b.org",
        "a,b.org",
        "a;b.org",
        "a'b.org",
        "bücher.de",
    ],
)
def test_what_is_not_a_host_and_a_port_is_refused(text: str) -> None:
    with pytest.raises(HostError):
        parse_authority(text, 80)


def test_without_a_port_of_its_own_there_must_be_one() -> None:
    with pytest.raises(HostError, match="no port"):
        parse_authority("example.org", None)


@given(st.text(max_size=40))
def test_whatever_is_accepted_is_read_again_as_the_same(text: str) -> None:
    try:
        host = parse_host(text)
    except HostError:
        return
    assert parse_host(show(host)) == host
    assert text.isascii()


# --- addresses ------------------------------------------------------------------------------------

NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "168.63.129.16",
    "169.254.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::2",
    "::7f00:1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "100:0:0:1::1",
    "2001::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:1ff::1",
    "2001:db8::1",
    "2002:808:808::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fdff::1",
    "fe80::1",
    "fe80::1%1",
    "2606:4700::1111%1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00::1",
    "3ffe::1",
]


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_it_is_not_an_address_of_the_internet(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert not is_public(address)
    assert not OPEN.permits(address, 80)


@pytest.mark.parametrize("text", PUBLIC)
def test_it_is_an_address_of_the_internet(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert is_public(address)
    assert OPEN.permits(address, 80)


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_what_python_calls_private_is_never_public(address: ipaddress.IPv4Address) -> None:
    if address.is_private or address.is_multicast or address.is_link_local or address.is_reserved:
        assert not is_public(address)


# --- rules ----------------------------------------------------------------------------------------


def reason(policy: Policy, text: str, port: int = 443) -> EgressReason:
    host = parse_host(text)
    return policy.decide(host, port).reason


def test_a_name_is_exactly_that_name() -> None:
    policy = Policy(Network.allow("pypi.org").rules)
    assert reason(policy, "pypi.org") is EgressReason.ALLOWED
    assert reason(policy, "PyPI.ORG.") is EgressReason.ALLOWED
    for other in ("www.pypi.org", "xpypi.org", "pypi.org.evil.example", "org", "pypi.or"):
        assert reason(policy, other) is EgressReason.NOT_LISTED


def test_a_star_is_everything_below_at_any_depth_and_not_the_name_itself() -> None:
    policy = Policy(Network.allow("*.pythonhosted.org").rules)
    for below in ("files.pythonhosted.org", "a.b.c.pythonhosted.org"):
        assert reason(policy, below) is EgressReason.ALLOWED
    for other in ("pythonhosted.org", "xpythonhosted.org", "files.pythonhosted.org.evil.example"):
        assert reason(policy, other) is EgressReason.NOT_LISTED


def test_ports_are_the_rules_own_or_the_networks() -> None:
    network = Network.allow("a.org", Allow("b.org", ports=(8443,)), ports=(443,))
    policy = Policy(network.rules, network.ports)
    assert reason(policy, "a.org") is EgressReason.ALLOWED
    assert reason(policy, "a.org", 80) is EgressReason.PORT
    assert reason(policy, "b.org") is EgressReason.PORT
    assert reason(policy, "b.org", 8443) is EgressReason.ALLOWED
    assert reason(policy, "c.org", 8443) is EgressReason.NOT_LISTED


def test_the_most_specific_rule_that_has_the_port_counts() -> None:
    exact = Allow("a.example.org", headers={"X-Token": "exact"})
    near = Allow("*.b.example.org", headers={"X-Token": "near"})
    far = Allow("*.example.org", headers={"X-Token": "far"})
    other_port = Allow("a.example.org", ports=(8080,), headers={"X-Token": "port"})
    policy = Policy([far, near, exact, other_port])
    for text, port, rule in (
        ("a.example.org", 80, exact),
        ("a.example.org", 8080, other_port),
        ("x.b.example.org", 80, near),
        ("b.example.org", 80, far),
        ("x.example.org", 80, far),
    ):
        assert policy.decide(Name(text), port).rule is rule


def test_an_address_is_reached_by_a_rule_that_names_it() -> None:
    policy = Policy([Allow("10.1.2.0/24", ports=(5432,)), Allow("::1"), Allow("1.1.1.1")])
    assert reason(policy, "10.1.2.3", 5432) is EgressReason.ALLOWED
    assert reason(policy, "10.1.2.3", 5433) is EgressReason.PORT
    assert reason(policy, "10.1.3.3", 5432) is EgressReason.PRIVATE_ADDRESS
    assert reason(policy, "[::1]") is EgressReason.ALLOWED
    assert reason(policy, "1.1.1.1") is EgressReason.ALLOWED
    assert reason(policy, "1.0.0.1") is EgressReason.NOT_LISTED
    # The same machine in another family is another address.
    assert reason(policy, "[::ffff:10.1.2.3]", 5432) is EgressReason.PRIVATE_ADDRESS


def test_of_rules_for_an_address_the_narrowest_that_has_the_port_counts() -> None:
    one = Allow("10.1.2.3", headers={"X-Token": "one"})
    other_port = Allow("10.1.2.3", ports=(8080,))
    near, far = Allow("10.1.2.0/24"), Allow("10.0.0.0/8", ports=(80, 443, 22))
    policy = Policy([far, near, other_port, one])
    for text, port, rule in (
        ("10.1.2.3", 80, one),
        ("10.1.2.3", 8080, other_port),
        ("10.1.2.3", 22, far),
        ("10.1.2.4", 80, near),
        ("10.1.3.4", 80, far),
    ):
        assert policy.decide(parse_host(text), port).rule is rule


def test_a_name_leads_to_a_private_address_only_where_a_rule_names_that_too() -> None:
    network = Network.allow("git.corp.example", "10.0.0.0/8")
    policy = Policy(network.rules, network.ports)
    assert policy.decide(Name("git.corp.example"), 443).allowed
    assert policy.permits(ipaddress.ip_address("10.7.7.7"), 443)
    assert not policy.permits(ipaddress.ip_address("10.7.7.7"), 22)
    assert not policy.permits(ipaddress.ip_address("192.168.7.7"), 443)
    assert policy.permits(ipaddress.ip_address("9.9.9.9"), 443)


def test_no_rule_at_all_lets_nothing_through() -> None:
    policy = Policy(Network.none().rules)
    assert reason(policy, "example.org") is EgressReason.NOT_LISTED
    assert reason(policy, "1.1.1.1") is EgressReason.NOT_LISTED
    assert policy.describe() == "nothing"


def test_a_list_is_described_without_its_secrets_and_cut() -> None:
    rules = [Allow(f"a{n}.org", headers={"X": "hunter2"}) for n in range(30)]
    text = Policy(rules).describe()
    assert "a0.org (port 443, 80)" in text
    assert text.endswith("and 10 more")
    assert "hunter2" not in text + repr(Policy(rules))


@pytest.mark.parametrize(
    "text,kept",
    [
        ("EXAMPLE.Org.", "example.org"),
        ("*.EXAMPLE.org", "*.example.org"),
        ("bücher.de", "xn--bcher-kva.de"),
        ("*.Bücher.de", "*.xn--bcher-kva.de"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.1/32", "10.0.0.1"),
        ("FD00::/8", "fd00::/8"),
        ("::1", "::1"),
        ("localhost", "localhost"),
    ],
)
def test_a_rules_host_has_one_spelling(text: str, kept: str) -> None:
    rule = Allow(text)
    assert rule.host == kept
    assert Allow(rule.host) == rule
    assert pickle.loads(pickle.dumps(rule)) == copy.deepcopy(rule) == rule


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "*.",
        "a.*",
        "*.*.org",
        "**.org",
        "a..b",
        "-a.org",
        "http://a.org",
        "a.org:80",
        "a.org/path",
        "user@a.org",
        "a b",
        "a_b.org",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "010.0.0.1",
        "2130706433",
        "0x7f.1",
        "*.1.2.3.4",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "[::1]",
        "::1%lo",
        "a" * 1_000_000,
        "bücher..de",
    ],
)
def test_what_is_not_a_rules_host_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        Allow(text)


@pytest.mark.parametrize(
    "text", ["http://a.org", "a.org:80", "127.0.0.1:80", "a.org/path", "[::1]", "https://10.0.0.1"]
)
def test_what_is_more_than_a_host_is_said_to_be(text: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"no scheme, no port \(see ports=\), no path"):
        Allow(text)


@pytest.mark.parametrize(
    "name,value",
    [
        ("", "x"),
        ("A B", "x"),
        ("A:", "x"),
        ("A\r\nB", "x"),
        ("Ä", "x"),
        ("A", ""),
        ("A", " x"),
        ("A", "x "),
        ("A", "x\r\nB: y"),
        ("A", "x\0"),
        ("A", "ü"),
        ("A", "x" * 10_000),
        ("Host", "evil.example"),
        ("content-length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "keep-alive"),
        ("Proxy-Authorization", "x"),
    ],
)
def test_a_header_that_is_none_or_the_proxys_own_is_refused_without_being_shown(
    name: str, value: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Allow("a.org", headers={name: value})
    assert len(value) < 3 or value not in str(caught.value)


def test_headers_are_for_one_host_and_once_each() -> None:
    assert Allow("10.0.0.1/32", headers={"A": "x"}).headers == {"A": "x"}
    for addresses in ("10.0.0.0/8", "10.0.0.0/31", "fd00::/8"):
        with pytest.raises(InvalidRequestError, match="for a name or one address"):
            Allow(addresses, headers={"A": "x"})
    with pytest.raises(InvalidRequestError, match="for a name, not for '::1'"):
        Allow("::1", headers={"A": "x"}, tls="intercept")
    with pytest.raises(InvalidRequestError, match="twice"):
        Allow("a.org", headers={"A": "x", "a": "y"})
    with pytest.raises(InvalidRequestError, match="at most"):
        Allow("a.org", headers={f"A{n}": "x" for n in range(33)})
