"""A child's control link over a real pipe; the test is the supervisor."""

import asyncio
import threading
from multiprocessing import Pipe

import pytest

from app.serving.settings import load_settings
from app.serving.workers.control_link import ControlLink
from app.serving.workers.control_messages import (
    CountSwap,
    Drain,
    DropCheckpoint,
    ProcessReady,
    StartProcess,
)
from app.serving.workers.runtime_folder import RuntimeFolder


class Supervisor:
    """The other end of a child's link, and the exit code with which the child would end."""

    def __init__(self, folder):
        self.start = StartProcess("worker-0", 0, load_settings({}, {}), RuntimeFolder(folder))
        self.connection, theirs = Pipe()
        self.connection.send(self.start)
        self.exit_codes, self._ended = [], threading.Event()
        self.link = ControlLink(theirs, self._end_process)

    def _end_process(self, code):
        self.exit_codes.append(code)
        self._ended.set()

    def close(self):
        self.connection.close()
        assert self._ended.wait(10)


@pytest.fixture
def supervisor(tmp_path):
    folder = tmp_path / "runtime"
    folder.mkdir()
    supervisor = Supervisor(folder)
    yield supervisor
    supervisor.close()


def received(link, count):
    """Return the messages that reach a callback, set in an event loop."""

    async def main():
        messages, all_there = [], asyncio.Event()

        def keep(message):
            messages.append(message)
            if len(messages) == count:
                all_there.set()

        link.on_message(keep)
        async with asyncio.timeout(10):
            await all_there.wait()
        return messages

    return asyncio.run(main())


def test_the_first_message_is_kept_as_start(supervisor):
    assert supervisor.link.start == supervisor.start


def test_messages_before_the_callback_is_set_are_delivered_in_order(supervisor):
    sent = [DropCheckpoint(1), CountSwap("ok"), Drain()]
    for message in sent:
        supervisor.connection.send(message)
    assert received(supervisor.link, len(sent)) == sent


def test_a_message_reaches_the_supervisor(supervisor):
    supervisor.link.send(ProcessReady())
    assert supervisor.connection.poll(10)
    assert supervisor.connection.recv() == ProcessReady()


def test_a_child_ends_and_removes_the_folder_when_the_supervisor_ends(supervisor, tmp_path):
    supervisor.close()
    assert supervisor.exit_codes == [1]
    assert not (tmp_path / "runtime").exists()
