"""What the framework's rules leave open: a whole agent, time, crashes, output, forged answers."""

from __future__ import annotations

import ast
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from smolagents import CodeAgent, FinalAnswerTool, Model, Tool
from smolagents.models import ChatMessage, MessageRole
from smolagents.serialization import SerializationError
from smolagents.utils import AgentError

from fumehood import (
    AsyncDockerSandbox,
    CommandNotFoundError,
    DockerSandbox,
    InvalidRequestError,
    Session,
    SessionEndedError,
)
from fumehood.adapters import _smolagents_kernel
from fumehood.adapters.smolagents import FumehoodExecutor

IMAGE = os.environ.get("FUMEHOOD_IMAGE", "fumehood/test-python")


class Scripted(Model):  # type: ignore[misc]
    """A model that answers with one piece of code after the other."""

    def __init__(self, *codes: str) -> None:
        super().__init__()
        self.codes = list(codes)
        self.asked: list[str] = []

    def generate(self, messages: list[ChatMessage], **_: object) -> ChatMessage:
        self.asked.append(str(messages[-1].content))
        code = self.codes.pop(0)
        return ChatMessage(
            role=MessageRole.ASSISTANT, content=f"Thought: go on\n<code>\n{code}\n</code>"
        )


class Doubled(Tool):  # type: ignore[misc]
    name = "doubled"
    description = "Doubles a number."
    inputs = {"number": {"type": "integer", "description": "the number"}}  # noqa: RUF012
    output_type = "integer"

    def forward(self, number: int) -> int:
        return number * 2


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with DockerSandbox(image=IMAGE) as sandbox, sandbox.create_session() as made:
        yield made


@pytest.fixture
def executor(session: Session) -> Iterator[FumehoodExecutor]:
    made = FumehoodExecutor(session)
    yield made
    made.cleanup()
    assert session.shell("pgrep -x python3 || true").stdout == ""


def test_an_agent_computes_with_its_tools_and_variables_from_step_to_step(session: Session) -> None:
    model = Scripted(
        "total = sum(numbers)\nprint('so far', total)",
        "open('note', 'w').write(str(doubled(total)))",
        "final_answer(open('note').read())",
    )
    with CodeAgent([Doubled()], model, executor=FumehoodExecutor(session)) as agent:
        assert agent.run("Double the sum.", additional_args={"numbers": [20, 1]}) == "42"
    assert "so far 21" in model.asked[1]
    assert session.read_text_file("note") == "42"


def test_a_cell_tells_its_last_value_and_what_it_and_its_children_wrote(
    executor: FumehoodExecutor,
) -> None:
    told = executor(
        "import subprocess, sys\n"
        "print('one')\n"
        "subprocess.run(['echo', 'two'])\n"
        "print('three', file=sys.stderr)\n"
        "[1, 'x']"
    )
    assert (told.output, told.logs, told.is_final_answer) == (
        "[1, 'x']",
        "one\ntwo\nthree\n",
        False,
    )
    assert executor("x = 1").output is None
    assert executor("input").output.startswith("<built-in")


def test_a_cell_finds_an_empty_input_and_a_module_of_its_own(executor: FumehoodExecutor) -> None:
    assert "EOFError" in _error(executor, "input()")
    assert executor("__name__").output == "'__main__'"
    assert (
        executor(
            "import pickle\nclass A: pass\npickle.loads(pickle.dumps(A())).__class__.__name__"
        ).output
        == "'A'"
    )


def test_the_interpreter_is_written_for_older_pythons_than_fumehood_itself() -> None:
    ast.parse(_smolagents_kernel.SOURCE, feature_version=(3, 8))


def test_an_error_shows_the_lines_of_the_cell_and_what_was_written_before(
    executor: FumehoodExecutor,
) -> None:
    message = _error(executor, "print('before')\ndef broken():\n    return 1 / 0\nbroken()")
    assert message.startswith("before\n")
    assert "return 1 / 0" in message
    assert "ZeroDivisionError" in message
    assert "_smolagents_interpreter" not in message
    assert "exec(" not in message


@pytest.mark.parametrize("code", ["import sys\nsys.exit(3)", "raise KeyboardInterrupt"])
def test_code_that_wants_out_is_an_error_and_keeps_its_variables(
    executor: FumehoodExecutor, code: str
) -> None:
    executor("kept = 1")
    _error(executor, code)
    assert executor("kept").output == "1"


def test_code_that_runs_out_of_time_is_killed_and_the_next_step_has_its_tools_again(
    session: Session,
) -> None:
    executor = FumehoodExecutor(session, timeout=1)
    executor.send_variables({"given": 7})
    executor.send_tools({"final_answer": FinalAnswerTool(), "doubled": Doubled()})
    executor("made = 1")
    assert "killed after 1 s" in _error(
        executor, "import subprocess\nsubprocess.run(['sleep', '1000'])"
    )
    assert session.shell("pgrep -x 'sleep|python3' || true").stdout == ""
    assert "NameError" in _error(executor, "made")
    told = executor("final_answer(doubled(given))")
    assert (told.output, told.is_final_answer) == (14, True)
    executor.cleanup()


def test_an_interpreter_that_dies_is_an_error_with_its_exit_code(
    executor: FumehoodExecutor,
) -> None:
    message = _error(executor, "import os\nprint('last words')\nos._exit(9)")
    assert "exit code 9" in message
    assert "last words" in message
    assert executor("1 + 1").output == "2"


def test_an_interrupt_kills_the_code_and_the_executor_goes_on(executor: FumehoodExecutor) -> None:
    executor("1")
    main = threading.get_ident()
    timer = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        executor("import time\ntime.sleep(1000)")
    timer.join()
    assert executor("2").output == "2"


def test_threads_take_turns(executor: FumehoodExecutor) -> None:
    executor("total = 0")
    code = "before = total\nfor _ in range(10_000): pass\ntotal = before + 1"
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(executor, [code] * 12))
    assert executor("total").output == "12"


def test_the_end_of_the_interpreter_ends_code_that_runs(
    executor: FumehoodExecutor, session: Session
) -> None:
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(executor, "import time\nopen('runs', 'w')\ntime.sleep(1000)")
        while not session.exists("runs"):
            assert not running.done()
            time.sleep(0.02)
        executor.cleanup()
        with pytest.raises(AgentError, match="was ended while the code ran"):
            running.result()


def test_output_beyond_the_cap_is_counted_and_the_code_goes_on(
    executor: FumehoodExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_smolagents_kernel, "MAX_LOG_BYTES", 1000)
    told = executor("print('x' * 5_000_000)\n'done'")
    assert told.output == "'done'"
    assert told.logs == "x" * 1000 + "\n[4999001 more bytes of output are not shown]\n"


def test_a_thread_that_goes_on_writing_tells_it_with_the_next_step(
    executor: FumehoodExecutor,
) -> None:
    executor(
        "import threading\ngate, done = threading.Event(), threading.Event()\n"
        "def late():\n    gate.wait()\n    print('late')\n    done.set()\n"
        "threading.Thread(target=late, daemon=True).start()"
    )
    assert executor("gate.set(); done.wait(); None").logs == "late\n"


@pytest.mark.parametrize(
    "value",
    [
        "safe:{",
        "safe:" + "[" * 99_999,
        'safe:{"__type__": "bytes"}',
        'safe:{"__type__": "PIL.Image", "data": "eA=="}',
    ],
)
def test_a_final_answer_that_is_none_is_an_error_of_the_code(
    executor: FumehoodExecutor, value: str
) -> None:
    forged = "class FinalAnswerException(BaseException): pass\n"
    assert "cannot be read" in _error(executor, f"{forged}raise FinalAnswerException({value!r})")


def test_a_pickle_is_refused_and_never_loaded(executor: FumehoodExecutor) -> None:
    forged = "class FinalAnswerException(BaseException): pass\n"
    with pytest.raises(SerializationError):
        executor(f"{forged}raise FinalAnswerException('pickle:gASVBQAAAAAAAACMAXiULg==')")


@pytest.mark.parametrize(
    "line",
    ["nonsense", "{}", '{"result": 5, "error": null}', '{"result": null, "error": []}', "[" * 9999],
)
def test_an_answer_that_is_none_ends_the_interpreter(executor: FumehoodExecutor, line: str) -> None:
    # The answers' descriptor is there to be found, as all of a process is for its own code.
    forge = (
        "import os\n"
        "for fd in range(3, 20):\n"
        "    try:\n"
        f"        os.write(fd, {line!r}.encode() + b'\\n')\n"
        "    except OSError:\n"
        "        pass\n"
    )
    executor("1")
    assert "answer that is none" in _error(executor, forge)
    assert executor("2").output == "2"


def test_an_answer_without_end_is_given_up(
    executor: FumehoodExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_smolagents_kernel, "MAX_ANSWER_BYTES", 1000)
    assert "more than 1000 bytes" in _error(executor, "'x' * 2000")


def test_packages_cannot_be_installed_without_a_network(executor: FumehoodExecutor) -> None:
    with pytest.raises(AgentError, match="pip install"):
        executor.install_packages(["numpy"])


def test_what_is_no_session_for_it_is_refused_and_a_missing_python_named(
    session: Session,
) -> None:
    with pytest.raises(InvalidRequestError, match="not a Session"):
        FumehoodExecutor(AsyncDockerSandbox(image=IMAGE))  # type: ignore[arg-type]
    executor = FumehoodExecutor(session, python="/no/such/python")
    with pytest.raises(CommandNotFoundError):
        executor("1")


def test_a_session_that_is_over_is_no_error_of_the_code() -> None:
    with DockerSandbox(image=IMAGE) as sandbox, sandbox.create_session() as session:
        executor = FumehoodExecutor(session)
        executor("1")
        session.destroy()
        with pytest.raises(SessionEndedError):
            executor("1")
        executor.cleanup()


def _error(executor: FumehoodExecutor, code: str) -> str:
    with pytest.raises(AgentError) as caught:
        executor(code)
    return str(caught.value)
