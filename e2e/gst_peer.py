"""GStreamer's webrtcbin as a publisher by WHIP or a player by WHEP: prints its states, and at the end what came or went, as lines of JSON.

    python3 gst_peer.py publish|play URL CODEC SECONDS
"""
import json
import sys
import time
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

# What is sent, by codec, and the payload type that is offered for it.
SOURCES = {
    "H264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 bitrate=600 ! video/x-h264,profile=constrained-baseline ! h264parse ! rtph264pay config-interval=-1 aggregate-mode=zero-latency",
    "VP8": "vp8enc deadline=1 target-bitrate=600000 keyframe-max-dist=30 ! rtpvp8pay picture-id-mode=15-bit",
}
PICTURE = "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=180,framerate=30/1 ! videoconvert ! queue ! {} ! application/x-rtp,media=video,encoding-name={},payload=96 ! rtc."
SOUND = "audiotestsrc is-live=true ! audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=2 ! queue ! opusenc ! rtpopuspay ! application/x-rtp,media=audio,encoding-name=OPUS,payload=97 ! rtc."


def say(**what):
    sys.stdout.write(json.dumps({"at": int(time.time() * 1000), **what}) + "\n")  # whole lines, whatever thread it is
    sys.stdout.flush()


def request(method, url, body=None):
    r = urllib.request.Request(url, data=body and body.encode(), method=method, headers={"Content-Type": "application/sdp"} if body else {})
    with urllib.request.urlopen(r, timeout=15) as answer:
        return answer.headers, answer.read().decode()


class Peer:
    def __init__(self, does, url, codec, seconds):
        self.does, self.url, self.seconds = does, url, float(seconds)
        self.counts = {"video": 0, "audio": 0}
        self.location = None
        self.loop = GLib.MainLoop()
        binary = "webrtcbin name=rtc bundle-policy=max-bundle "
        if does == "publish":
            self.pipeline = Gst.parse_launch(binary + PICTURE.format(SOURCES[codec], codec) + " " + SOUND)
        else:
            self.pipeline = Gst.Pipeline.new("play")
            self.pipeline.add(Gst.ElementFactory.make("webrtcbin", "rtc"))
        self.rtc = self.pipeline.get_by_name("rtc")
        self.rtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        for name in ("ice-connection-state", "connection-state"):
            self.rtc.connect("notify::" + name, self.states)
        self.rtc.connect("notify::ice-gathering-state", self.gathering)
        self.rtc.connect("on-negotiation-needed", self.negotiate)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self.failed)
        if does == "play":
            self.want(codec)
            self.rtc.connect("pad-added", self.pad)
        else:
            self.count_sent()

    def want(self, codec):
        """Asks for a picture and sound, without sending."""
        for media, name, rate, number in (("video", codec, 90000, 96), ("audio", "OPUS", 48000, 97)):
            caps = f"application/x-rtp,media={media},encoding-name={name},clock-rate={rate},payload={number}"
            if name == "H264":
                caps += ",packetization-mode=(string)1,profile-level-id=(string)42e01f"
            if name == "OPUS":
                caps += ",encoding-params=(string)2"
            self.rtc.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, Gst.Caps.from_string(caps))

    def count_sent(self):
        for element in self.pipeline.iterate_elements():
            name = element.get_factory().get_name()
            if name.startswith("rtp") and name.endswith("pay"):
                kind = "audio" if "opus" in name else "video"
                self.count(element.get_static_pad("sink"), kind)

    def count(self, pad, kind):
        def one(_pad, _info):
            self.counts[kind] += 1
            return Gst.PadProbeReturn.OK
        pad.add_probe(Gst.PadProbeType.BUFFER, one)

    def states(self, *_):
        word = lambda name: self.rtc.get_property(name).value_nick  # noqa: E731
        say(ice=word("ice-connection-state"), connection=word("connection-state"))

    def failed(self, _bus, message):
        say(failed=str(message.parse_error()))
        self.loop.quit()

    def negotiate(self, _rtc):
        promise = Gst.Promise.new_with_change_func(self.offered)
        self.rtc.emit("create-offer", None, promise)

    def offered(self, promise):
        reply = promise.get_reply()  # the offer is a part of it
        offer = reply.get_value("offer")
        self.rtc.emit("set-local-description", offer, Gst.Promise.new())

    def gathering(self, *_):
        """The offer goes out with all candidates."""
        if self.rtc.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE and self.location is None:
            self.location = ""
            GLib.idle_add(self.post)

    def post(self):
        try:
            headers, text = request("POST", self.url, self.rtc.get_property("local-description").sdp.as_text())
        except Exception as e:
            detail = e.read().decode() if hasattr(e, "read") else ""
            say(failed=f"{e}: {detail}")
            self.loop.quit()
            return False
        self.location = urllib.parse.urljoin(self.url, headers["Location"])
        _, sdp = GstSdp.SDPMessage.new_from_text(text)
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp)
        self.rtc.emit("set-remote-description", answer, Gst.Promise.new())
        GLib.timeout_add(int(self.seconds * 1000), self.end)
        return False

    def pad(self, _rtc, pad):
        """Decodes what comes, and counts it."""
        if pad.direction != Gst.PadDirection.SRC:
            return
        decode = Gst.ElementFactory.make("decodebin", None)
        decode.connect("pad-added", self.decoded)
        self.pipeline.add(decode)
        decode.sync_state_with_parent()
        pad.link(decode.get_static_pad("sink"))

    def decoded(self, _decode, pad):
        kind = pad.get_current_caps().get_structure(0).get_name().split("/")[0]
        sink = Gst.ElementFactory.make("fakesink", None)
        sink.set_property("sync", False)
        sink.set_property("async", False)
        self.pipeline.add(sink)
        sink.sync_state_with_parent()
        self.count(sink.get_static_pad("sink"), kind)
        pad.link(sink.get_static_pad("sink"))

    def end(self):
        counts = dict(self.counts)
        request("DELETE", self.location)
        say(**counts)
        self.loop.quit()
        return False

    def run(self):
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        self.pipeline.set_state(Gst.State.NULL)


Gst.init(None)
Peer(*sys.argv[1:]).run()
