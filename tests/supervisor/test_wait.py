"""A supervisor in stock: it waits for its configuration, and for nothing else."""

from __future__ import annotations

import pytest

from fumehood._wire import codec, table
from fumehood._wire.messages import Welcome
from fumehood._wire.requests import Hello
from fumehood._wire.table import EndCode, ErrorCode, Frame
from supervisor.conftest import Containers
from supervisor.container import Container, configuration
from supervisor.peer import NONCE

HELLO = Hello(nonce=NONCE, client="test", capabilities=(table.CAPABILITY_WAIT,))


def in_stock(containers: Containers) -> Container:
    """Return a container that has been asked to wait, and does."""
    container = containers()
    container.peer.send_bytes(HELLO.encode())
    welcome = Welcome.decode(container.peer.expect(Frame.WELCOME))
    assert (welcome.configured, welcome.capabilities) == (False, (table.CAPABILITY_WAIT,))
    return container


def test_it_waits_and_then_is_what_it_is_told_to_be(containers: Containers) -> None:
    container = in_stock(containers)
    peer = container.peer
    peer.ping()
    assert peer.is_silent(0.2)
    note = b'{"run": "7", "odd": "\xff\0"}'
    ready = peer.configure(configuration(container.workspace, ttl_ms=60_000, metadata=note))
    assert ready.metadata == note
    assert peer.run("true").exit.exit_code == 0
    # The time to live counts from the configuration.
    left = peer.status().ttl_left_ms
    assert left is not None
    assert 50_000 < left <= 60_000
    # Who comes later learns what the creator noted, and nothing of the wait.
    second, _ = container.relay()
    welcome = second.hello()
    assert (welcome.configured, welcome.capabilities) == (True, ())
    assert second.ready == ready


def test_one_that_can_be_resumed_acknowledges_while_it_waits(containers: Containers) -> None:
    container = containers()
    peer = container.peer
    both = (table.CAPABILITY_RESUME, table.CAPABILITY_WAIT)
    peer.send_bytes(Hello(nonce=NONCE, client="test", capabilities=both).encode())
    raw = peer.expect(Frame.WELCOME)
    assert set(Welcome.decode(raw).capabilities) == set(both)
    received = table.HEADER_BYTES + len(raw.payload)
    peer.send(Frame.ACK, 0, received.to_bytes(table.ACK_BYTES, "big"))
    peer.send(Frame.PING, 0, b"12345678")
    assert peer.expect(Frame.PONG).payload == b"12345678"
    assert peer.expect(Frame.ACK)
    peer.configure(configuration(container.workspace, grace_ms=60_000))
    assert peer.run("true").exit.exit_code == 0


def test_it_ends_with_its_client_and_has_no_grace(containers: Containers) -> None:
    container = in_stock(containers)
    container.peer.close()
    assert container.wait_exit() is EndCode.NOT_CONFIGURED


def test_it_can_be_ended(containers: Containers) -> None:
    container = in_stock(containers)
    container.peer.send(Frame.DESTROY)
    assert container.peer.wait_end().reason is EndCode.DESTROYED
    assert container.wait_exit() is EndCode.DESTROYED


def test_nobody_else_gets_in_before_it_is_configured(containers: Containers) -> None:
    container = in_stock(containers)
    second, relay = container.relay()
    second.send_bytes(Hello(nonce=NONCE, client="other").encode())
    assert second.is_silent(0.3)
    container.peer.configure(configuration(container.workspace))
    assert Welcome.decode(second.expect(Frame.WELCOME)).configured
    second.close()
    relay.wait()


@pytest.mark.parametrize(
    "data",
    [
        HELLO.encode(),
        codec.encode_frame(Frame.STDIN, 1, b"x"),
        codec.encode_frame(Frame.CREDIT, 0, b"\0\0\0\1"),
        codec.encode_frame(Frame.LEAVE, 0),
    ],
    ids=["a second hello", "input", "credit", "leave"],
)
def test_whatever_else_comes_first_ends_it(containers: Containers, data: bytes) -> None:
    container = in_stock(containers)
    container.peer.send_bytes(data)
    assert container.peer.wait_closed() == []
    assert container.wait_exit() is EndCode.NOT_CONFIGURED


def test_metadata_has_a_bound_and_the_most_of_it_comes_back(containers: Containers) -> None:
    container = in_stock(containers)
    most = bytes(range(256)) * (table.MAX_METADATA // 256)
    assert (
        container.peer.configure(configuration(container.workspace, metadata=most)).metadata == most
    )
    other = in_stock(containers)
    other.peer.send_bytes(configuration(other.workspace, metadata=most + b"x").encode())
    end = other.peer.wait_end()
    assert (end.reason, end.error) == (EndCode.NOT_CONFIGURED, ErrorCode.INVALID)
    assert "metadata" in end.message
