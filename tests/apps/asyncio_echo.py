"""An asyncio echo server, and a client with many connections at once that checks every byte.

    asyncio_echo.py server ADDRESS PORT
    asyncio_echo.py client ADDRESS PORT CONNECTIONS MESSAGES
"""
import asyncio
import random
import sys
import time


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve(address, port):
    server = await asyncio.start_server(echo, address, port, backlog=256)
    print("listens", flush=True)
    await server.serve_forever()


async def connect(address, port):
    for attempt in range(20):
        try:
            return await asyncio.open_connection(address, port)
        except OSError as error:
            last = error
            await asyncio.sleep(0.25)
    raise SystemExit(f"asyncio_echo: {last}")


async def converse(reader, writer, index, messages, start):
    dice = random.Random(index)
    await start.wait()
    for _ in range(messages):
        message = dice.randbytes(dice.choice((1, 64, 1000, 20000)))
        writer.write(message)
        if await reader.readexactly(len(message)) != message:
            raise SystemExit(f"asyncio_echo: connection {index} got other bytes than it sent")
    writer.write_eof()
    if await reader.read():
        raise SystemExit(f"asyncio_echo: connection {index} got too many bytes")
    writer.close()
    await writer.wait_closed()


async def request(address, port, connections, messages):
    start = asyncio.Event()
    pairs = await asyncio.gather(*(connect(address, port) for _ in range(connections)))
    talks = [asyncio.create_task(converse(*pair, index, messages, start)) for index, pair in enumerate(pairs)]
    begin = time.monotonic()
    start.set()  # all are open at the same time
    await asyncio.gather(*talks)
    print(f"{connections * messages / (time.monotonic() - begin):.0f} echoes/s over {connections} connections")


if __name__ == "__main__":
    if sys.argv[1] == "server":
        asyncio.run(serve(sys.argv[2], int(sys.argv[3])))
    else:
        asyncio.run(request(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])))
