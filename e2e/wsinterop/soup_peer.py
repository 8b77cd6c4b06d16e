"""Both ends of libsoup for the tests: soup_peer.py '{"mode": "client", "url": …}' or '{"mode": "server"}'. What it says is lines of JSON."""

import json
import sys

import gi

gi.require_version("Soup", "3.0")
from gi.repository import GLib, Soup  # noqa: E402

o = json.loads(sys.argv[1])
deflate = o.get("deflate") is not None
main = GLib.MainLoop()
conns = []  # that nothing is collected while it is in use


def say(v):
    print(json.dumps(v), flush=True)


def names(conn):
    return ",".join("permessage-deflate" for _ in conn.get_extensions())


def code(conn):
    return {"code": conn.get_close_code(), "reason": conn.get_close_data() or ""}


def connect(path, then):
    session = Soup.Session()
    session.remove_feature_by_type(Soup.WebsocketExtensionManager)
    if deflate:
        session.add_feature_by_type(Soup.WebsocketExtensionManager)
    message = Soup.Message.new("GET", o["url"] + path)

    def ready(session, result):
        conn = session.websocket_connect_finish(result)
        conn.set_max_incoming_payload_size(0)
        conns.extend((session, conn))
        then(conn)

    session.websocket_connect_async(message, None, ["other", "interop"], GLib.PRIORITY_DEFAULT, None, ready)


def client():
    answer = {"wrong": [], "fragments": "in fragments"}  # it cannot send any
    TEXT, BINARY = Soup.WebsocketDataType.TEXT, Soup.WebsocketDataType.BINARY
    steps = []
    for n in o["sizes"]:
        steps.append((TEXT, ("日" * (n // 3) + "x" * (n % 3)).encode()))
        steps.append((BINARY, b"\x00\xfe" * (n // 2) + b"x" * (n % 2)))
    echoes = len(steps)
    got = []

    def talk(conn):
        answer["protocol"], answer["extensions"] = conn.get_protocol(), names(conn)

        def step():
            kind, data = (steps + [(TEXT, b"ping me"), (TEXT, b"fragments")])[len(got)]
            conn.send_message(kind, GLib.Bytes.new(data))

        def message(_, kind, data):
            i = len(got)
            got.append(data.get_data() or b"")
            if i < echoes and (Soup.WebsocketDataType(kind), got[i]) != steps[i]:
                answer["wrong"].append("message %d of %d bytes" % (i, len(steps[i][1])))
            if i == echoes:
                answer["pinged"] = got[i].decode()
            if i == echoes + 1:
                answer["joined"] = got[i].decode()
                conn.connect("pong", pong)
                conn.set_keepalive_interval(1)
                return
            step()

        def pong(*_):
            if "pong" not in answer:
                answer["pong"] = "to hawser"
                conn.close(4001, "bye ü")

        conn.connect("message", message)
        conn.connect("closed", lambda c: (answer.update(closed=code(c)), connect("/close", other)))
        step()

    def other(conn):
        conn.connect("closed", lambda c: (answer.update(other=code(c)), connect("/nostatus", silent)))

    def silent(conn):
        conn.connect("closed", lambda c: (answer.update(silent=code(c)), connect("/echo", quiet)))

    def quiet(conn):
        conn.connect("closed", lambda c: (say(answer), main.quit()))
        conn.close(Soup.WebsocketCloseCode.NO_STATUS, None)

    connect("/echo", talk)


def server():
    s = Soup.Server()
    if not deflate:
        s.remove_websocket_extension(Soup.WebsocketExtensionDeflate)

    def message(conn, kind, data):
        b = data.get_data() or b""
        if b == b"close me":
            conn.close(4003, "as asked ü")
        elif b == b"close without a code":
            conn.close(Soup.WebsocketCloseCode.NO_STATUS, None)
        elif b == b"ping me":
            conn.set_keepalive_interval(1)
        else:
            conn.send_message(Soup.WebsocketDataType(kind), data)

    def pong(conn, *_):
        conn.set_keepalive_interval(0)
        conn.send_text("ponged")

    def opened(_server, _message, _path, conn, *_):
        conns.append(conn)
        conn.set_max_incoming_payload_size(0)
        conn.connect("message", message)
        conn.connect("pong", pong)
        conn.connect("closed", lambda c: say(code(c)))

    s.add_websocket_handler(None, None, ["interop"], opened)
    s.listen_local(0, Soup.ServerListenOptions.IPV4_ONLY)
    conns.append(s)
    say({"port": s.get_uris()[0].get_port()})


{"client": client, "server": server}[o["mode"]]()
main.run()
