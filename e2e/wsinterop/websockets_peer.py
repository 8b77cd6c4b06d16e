"""Both ends of python3-websockets for the tests: websockets_peer.py '{"mode": "client", "url": …}' or '{"mode": "server"}'. What it says is lines of JSON."""

import asyncio
import json
import sys

import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory

o = json.loads(sys.argv[1])


def say(v):
    print(json.dumps(v), flush=True)


def settings(factory):
    deflate = o.get("deflate")
    extensions = [] if deflate is None else [factory(**deflate)]
    return dict(compression=None, extensions=extensions, subprotocols=["interop"], max_size=None, ping_interval=None)


def connect(path):
    s = settings(ClientPerMessageDeflateFactory)
    s["subprotocols"] = ["other", "interop"]
    return websockets.connect(o["url"] + path, **s)


async def end(ws):
    await ws.wait_closed()
    return {"code": ws.close_code, "reason": ws.close_reason}


async def echoes(ws):
    wrong = []
    for n in o["sizes"]:
        for sent in ("日" * (n // 3) + "x" * (n % 3), b"\x00\xfe" * (n // 2) + b"x" * (n % 2)):
            await ws.send(sent)
            if await ws.recv() != sent:
                wrong.append("%s of %d" % (type(sent), n))
    return wrong


async def client():
    async with connect("/echo") as ws:
        a = {"protocol": ws.subprotocol, "extensions": ",".join(e.name for e in ws.extensions), "wrong": await echoes(ws)}
        await ws.send(["in ", "frag", "ments"])
        a["fragments"] = await ws.recv()
        await asyncio.wait_for(await ws.ping("to hawser"), 10)
        a["pong"] = "to hawser"
        await ws.send("ping me")
        a["pinged"] = await ws.recv()
        await ws.send("fragments")
        a["joined"] = await ws.recv()
        await ws.close(4001, "bye ü")
        a["closed"] = {"code": ws.close_code, "reason": ws.close_reason}
    async with connect("/close") as ws:
        a["other"] = await end(ws)
    async with connect("/nostatus") as ws:
        a["silent"] = await end(ws)
    say(a)


async def serve(ws, *_):
    async for message in ws:
        if message == "close me":
            await ws.close(4003, "as asked ü")
        elif message == "ping me":
            pong = await ws.ping("from websockets")

            async def ponged():
                await pong
                await ws.send("ponged")

            asyncio.ensure_future(ponged())
        elif message == "fragments":
            await ws.send(["frag", "ment", "s"])
        else:
            await ws.send(message)
    say({"code": ws.close_code, "reason": ws.close_reason})


async def server():
    async def handle(ws, *_):
        try:
            await serve(ws)
        except websockets.ConnectionClosed:
            say({"code": ws.close_code, "reason": ws.close_reason})

    async with websockets.serve(handle, "127.0.0.1", 0, **settings(ServerPerMessageDeflateFactory)) as s:
        say({"port": s.sockets[0].getsockname()[1]})
        await asyncio.Future()


asyncio.run({"client": client, "server": server}[o["mode"]]())
