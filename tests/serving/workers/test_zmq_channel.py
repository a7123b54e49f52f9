import asyncio

import zmq

from app.serving.workers.zmq_channel import ZmqChannel, unlimited_socket


def test_messages_of_both_sides_arrive_in_order(tmp_path):
    async def main():
        with zmq.Context() as context:
            received, done = [], asyncio.Event()

            def keep(frames):
                received.append(frames)
                if len(received) == 100:
                    done.set()

            bound, connected = (unlimited_socket(context, zmq.PAIR) for _ in range(2))
            bound.bind(f"ipc://{tmp_path}/pair")
            connected.connect(f"ipc://{tmp_path}/pair")
            echo = ZmqChannel(bound, lambda frames: echo.send([*frames, b"back"]))
            channel = ZmqChannel(connected, keep)
            sent = [[b"%d" % number, b""] for number in range(100)]
            for frames in sent:
                channel.send(frames)
            async with asyncio.timeout(10):
                await done.wait()
            channel.close()
            echo.close()
        assert received == [[*frames, b"back"] for frames in sent]

    asyncio.run(main())


def test_a_channel_can_be_closed_twice(tmp_path):
    async def main():
        with zmq.Context() as context:
            socket = unlimited_socket(context, zmq.PAIR)
            socket.bind(f"ipc://{tmp_path}/pair")
            channel = ZmqChannel(socket, lambda _: None)
            channel.close()
            channel.close()
            assert socket.closed

    asyncio.run(main())
