"""aiortc as a publisher by WHIP or a player by WHEP: prints its states, and at the end what came or went, as lines of JSON.

    python3 aiortc_peer.py publish|play URL CODEC SECONDS
"""
import asyncio
import json
import sys
import time
import urllib.parse
import urllib.request

from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer
from aiortc.mediastreams import MediaStreamError


def say(**what):
    sys.stdout.write(json.dumps({"at": int(time.time() * 1000), **what}) + "\n")  # whole lines, whatever thread it is
    sys.stdout.flush()


def request(method, url, body=None, content="application/sdp"):
    """Asks in a thread of its own, since aiortc needs its loop."""
    def ask():
        r = urllib.request.Request(url, data=body and body.encode(), method=method, headers={"Content-Type": content} if body else {})
        with urllib.request.urlopen(r, timeout=15) as answer:
            return answer.headers, answer.read().decode()
    return asyncio.get_running_loop().run_in_executor(None, ask)


def publishing(pc, codec):
    picture = MediaPlayer("testsrc2=size=320x180:rate=30", format="lavfi")
    sound = MediaPlayer("sine=frequency=440:sample_rate=48000", format="lavfi")
    pc.addTrack(picture.video)
    pc.addTrack(sound.audio)
    for transceiver in pc.getTransceivers():
        transceiver.direction = "sendonly"
        if transceiver.kind == "video":
            codecs = RTCRtpSender.getCapabilities("video").codecs
            transceiver.setCodecPreferences([c for c in codecs if c.mimeType.lower() == f"video/{codec}".lower()])
    return picture, sound  # they end when nobody holds them


def playing(pc, counts):
    async def consume(track):
        try:
            while True:
                frame = await track.recv()
                counts[track.kind] += 1
                if track.kind == "video":
                    counts["width"], counts["height"] = frame.width, frame.height
        except MediaStreamError:
            pass

    pc.on("track", lambda track: tasks.append(asyncio.ensure_future(consume(track))))
    tasks = []
    pc.addTransceiver("video", direction="recvonly")
    pc.addTransceiver("audio", direction="recvonly")
    return tasks


async def main(does, url, codec, seconds):
    pc = RTCPeerConnection()
    counts = {"video": 0, "audio": 0}

    def states():
        say(ice=pc.iceConnectionState, connection=pc.connectionState)

    pc.on("iceconnectionstatechange", states)
    pc.on("connectionstatechange", states)
    states()
    if does == "publish":
        held = publishing(pc, codec)
    else:
        held = playing(pc, counts)
    await pc.setLocalDescription(await pc.createOffer())
    headers, answer = await request("POST", url, pc.localDescription.sdp)
    location = urllib.parse.urljoin(url, headers["Location"])
    await pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    await asyncio.sleep(float(seconds))
    if does == "publish":
        for s in (await pc.getStats()).values():
            if s.type == "outbound-rtp":
                counts[s.kind] = s.packetsSent
    await request("DELETE", location)
    await pc.close()
    say(**counts)
    del held


asyncio.run(main(*sys.argv[1:]))
