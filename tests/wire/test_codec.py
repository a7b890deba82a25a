"""What is written can be read, and what cannot be written is a bug of ours, said at once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fumehood._wire import codec, table
from fumehood._wire.codec import FrameReader, WireViolationError
from fumehood._wire.records import EntryReader
from fumehood._wire.requests import Configure, Hello, exec_request, file_request
from fumehood._wire.table import Field, Frame, Operation, Root, Violation
from fumehood.errors import LocalProtocolError, ProtocolError
from wire.strategies import legal_frame, pieces

PATHS = st.binary(min_size=1, max_size=30)
UINT = st.integers(0, 2**64 - 1)


def read(data: bytes, sender: codec.Side = "client") -> list[codec.RawFrame]:
    reader = FrameReader(sender)
    frames = list(reader.feed(data))
    assert reader.pending == 0
    return frames


@given(
    argv=st.lists(st.binary(max_size=20), min_size=1, max_size=5),
    env=st.lists(st.binary(max_size=20), max_size=3),
    cwd=PATHS,
    user=st.none() | st.text("abc019_.-:", max_size=9),
    numbers=st.tuples(UINT, UINT, UINT),
    stdin=st.booleans(),
)
def test_an_exec_is_read_as_it_was_written(
    argv: list[bytes],
    env: list[bytes],
    cwd: bytes,
    user: str | None,
    numbers: tuple[int, int, int],
    stdin: bool,
) -> None:
    timeout, stdout, stderr = numbers
    request = exec_request(
        tuple(argv),
        cwd=cwd,
        env=tuple(env),
        user=user,
        timeout_ms=timeout,
        stdout_limit=stdout,
        stderr_limit=stderr,
        stdin=stdin,
    )
    (raw,) = read(request.encode(7))
    fields = codec.decode_frame_fields(raw)
    assert (raw.frame, raw.channel) == (Frame.OPEN, 7)
    assert codec.operation_of(raw.payload) is Operation.EXEC
    assert fields.pop(Field.ENV, []) == env
    assert fields.pop(Field.USER, None) == user
    assert fields == {
        Field.OPERATION: Operation.EXEC,
        Field.ARGUMENT: argv,
        Field.CWD: cwd,
        Field.TIMEOUT_MS: timeout,
        Field.STDOUT_LIMIT: stdout,
        Field.STDERR_LIMIT: stderr,
        Field.STDIN: int(stdin),
    }


@given(path=PATHS, root=st.sampled_from(Root), limit=UINT, offset=UINT)
def test_a_file_operation_is_read_as_it_was_written(
    path: bytes, root: Root, limit: int, offset: int
) -> None:
    request = file_request(Operation.READ, path, root, offset=offset, limit=limit)
    (raw,) = read(request.encode(1))
    assert codec.decode_frame_fields(raw) == {
        Field.OPERATION: Operation.READ,
        Field.PATH: path,
        Field.ROOT: root,
        Field.OFFSET: offset,
        Field.LIMIT: limit,
    }


def test_a_connection_begins_with_frames_that_a_supervisor_reads() -> None:
    hello = Hello(nonce=bytes(range(32)), client="fumehood/0 pid 1")
    configure = Configure(
        user="",
        workdir=b"/workspace",
        env=(b"A=1", b"B="),
        ttl_ms=1,
        idle_ms=2,
        grace_ms=3,
        heartbeat_ms=4,
        detached=True,
        workload_caps=5,
        max_file_bytes=6,
        max_processes=7,
        chown_workspace=False,
        write_hosts=True,
    )
    first, second = read(hello.encode() + configure.encode())
    assert codec.decode_frame_fields(first)[Field.NONCE] == bytes(range(32))
    assert Field.CAPABILITY not in codec.decode_frame_fields(first)
    fields = codec.decode_frame_fields(second)
    assert fields[Field.ENV] == [b"A=1", b"B="]
    assert (fields[Field.DETACHED], fields[Field.CHOWN_WORKSPACE]) == (1, 0)


@pytest.mark.parametrize(
    "size", [0, 1, table.MAX_PAYLOAD, table.MAX_PAYLOAD + 1, 3 * table.MAX_PAYLOAD, table.MAX_BODY]
)
def test_a_body_of_any_size_up_to_the_limit_comes_whole(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    data = codec.encode_body(Frame.OPEN, 3, body)
    assert read(data) == [codec.RawFrame(Frame.OPEN, 3, body)]
    reader = FrameReader("client")
    most = 0
    for at in range(0, len(data), 50_000):
        list(reader.feed(data[at : at + 50_000]))
        most = max(most, reader.pending)
    # One body and one frame of it, whatever is announced.
    assert most <= table.MAX_BODY + table.MAX_PAYLOAD + table.HEADER_BYTES


@given(data=st.data())
def test_frames_do_not_depend_on_where_the_stream_is_cut(data: st.DataObject) -> None:
    stream = b"".join(data.draw(st.lists(legal_frame("supervisor"), max_size=4)))
    reader = FrameReader("supervisor")
    frames = [raw for piece in data.draw(pieces(stream)) for raw in reader.feed(piece)]
    assert frames == read(stream, "supervisor")


def test_a_reader_keeps_no_more_than_the_frame_under_way() -> None:
    reader = FrameReader("supervisor")
    header = (Frame.STDOUT << 24 | table.MAX_PAYLOAD).to_bytes(4, "big") + (1).to_bytes(4, "big")
    for _ in range(10):
        assert list(reader.feed(header)) == []
        for _ in range(table.MAX_PAYLOAD // 4096 - 1):
            assert list(reader.feed(bytes(4096))) == []
            assert reader.pending <= table.HEADER_BYTES + table.MAX_PAYLOAD
        assert len(list(reader.feed(bytes(4096)))) == 1
        assert reader.pending == 0


def test_a_length_is_refused_before_its_body_has_come() -> None:
    reader = FrameReader("supervisor")
    with pytest.raises(WireViolationError) as caught:
        list(reader.feed(b"\x13\xff\xff\xff\0\0\0\1"))
    assert caught.value.violation is Violation.TOO_LONG
    assert reader.pending == 0


def test_a_reader_that_has_seen_a_violation_reads_nothing_more() -> None:
    reader = FrameReader("supervisor")
    with pytest.raises(WireViolationError) as caught:
        list(reader.feed(b"\xff" * 8))
    assert isinstance(caught.value, ProtocolError)
    with pytest.raises(LocalProtocolError):
        list(reader.feed(b""))


@pytest.mark.parametrize(
    "frame, channel, payload",
    [
        (Frame.STDIN, 1, b""),
        (Frame.STDIN, 1, bytes(table.MAX_PAYLOAD + 1)),
        (Frame.EOF, 1, b"x"),
        (Frame.PING, 0, b"1234567"),
        (Frame.STDIN, 1 << 32, b"x"),
        (Frame.STDIN, -1, b"x"),
    ],
)
def test_a_frame_that_may_not_be_is_not_written(frame: Frame, channel: int, payload: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        codec.encode_frame(frame, channel, payload)


def test_a_body_and_fields_that_may_not_be_are_not_written() -> None:
    with pytest.raises(LocalProtocolError):
        codec.encode_body(Frame.OPEN, 1, bytes(table.MAX_BODY + 1))
    for value in (-1, 1 << 64, bytes(1 << 24)):
        with pytest.raises(LocalProtocolError):
            codec.encode_fields({Field.PATH: value})


def test_an_operation_is_not_read_out_of_a_field_that_is_cut() -> None:
    cut = (Field.OPERATION << 24 | 100).to_bytes(4, "big") + (1).to_bytes(8, "big")
    with pytest.raises(WireViolationError) as caught:
        codec.operation_of(cut)
    assert caught.value.violation is Violation.FIELD_MISSING


def test_a_listing_that_ends_inside_a_record_is_a_violation() -> None:
    reader = EntryReader()
    assert list(reader.feed(b"\0\0\0\x09")) == []
    with pytest.raises(WireViolationError) as caught:
        reader.finish()
    assert caught.value.violation is Violation.TOO_SHORT


def test_a_listing_keeps_no_more_than_the_record_under_way() -> None:
    reader = EntryReader()
    with pytest.raises(WireViolationError) as caught:
        list(reader.feed((table.MAX_RECORD + 1).to_bytes(4, "big")))
    assert caught.value.violation is Violation.TOO_LONG


@given(numbers=st.lists(UINT, min_size=9, max_size=9), extended=st.booleans())
def test_the_answer_to_a_command_is_read_at_once_and_as_the_walk_over_its_fields_reads_it(
    numbers: list[int], extended: bool
) -> None:
    required, optional = table.FRAME_REQUIRED[Frame.EXIT], table.FRAME_OPTIONAL[Frame.EXIT]
    values = dict(zip(sorted(required), numbers, strict=False))
    values[Field.REASON] = numbers[0] % 5 + 1
    if extended:
        values.update(dict.fromkeys(optional, numbers[8]))
    raw = codec.RawFrame(Frame.EXIT, 1, codec.encode_fields(values))
    with pytest.MonkeyPatch.context() as patch:
        walks: list[bytes] = []

        def walk(payload: bytes, *rest: Any) -> dict[Field, codec.Value]:
            walks.append(payload)
            return decode_fields(payload, *rest)

        decode_fields = codec.decode_fields
        patch.setattr(codec, "decode_fields", walk)
        fields = codec.decode_frame_fields(raw)
    assert fields == values == decode_fields(raw.payload, required, optional, "EXIT", Frame.EXIT)
    # What a managed process's end has besides is rare, and worth no layout of its own.
    assert bool(walks) is extended
