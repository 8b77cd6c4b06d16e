import { Player } from "../player.js";
import { encodeMedia } from "../protocol.js";
import { EPOCH, FakeWebSocket, setUp } from "./fake.js";
import { FakeMediaSource, FakeVideo, ranges } from "./media.js";
import { fragment, init } from "./mp4.js";

export const VIDEO = { id: 1, kind: "video", codec: "avc1.42c01e", width: 640, height: 360 };
export const AUDIO = { id: 2, kind: "audio", codec: "mp4a.40.2", sampleRate: 48000, channels: 2 };
export const BOTH = init([1, "vide"], [2, "soun"]);

/** A player that is connected, on a fake browser whose timers and clock are the test's. */
export function setUpPlayer(t, options) {
  const { client, tick: timeouts } = setUp(t);
  const intervals = new Map();
  t.mock.method(globalThis, "setInterval", (f, ms) => {
    const timer = {};
    intervals.set(timer, { f, ms, left: ms });
    return timer;
  });
  t.mock.method(globalThis, "clearInterval", (timer) => intervals.delete(timer));
  t.mock.method(URL, "createObjectURL", () => "blob:1");
  t.mock.method(URL, "revokeObjectURL", () => {});
  globalThis.MediaSource = FakeMediaSource;
  t.after(() => delete globalThis.MediaSource);
  const video = new FakeVideo();
  const player = new Player(client, "/cam", video, options);
  const states = [], data = [];
  player.onstate = (state) => states.push(state);
  player.ondata = (m, frame) => data.push([m.t === "update" ? m.data : m.t, frame && frame.mediaTime]);
  client.connect();
  player.start();
  const ws = FakeWebSocket.last.welcome({ heartbeat: 0 });
  const tick = (ms) => {
    for (let left = ms; left > 0; left -= 100) {
      timeouts(100);
      for (const i of intervals.values()) {
        if ((i.left -= 100) > 0) continue;
        i.left = i.ms;
        i.f();
      }
    }
  };
  return { client, player, video, states, data, ws, tick, send: sender(ws) };
}

/** Says what a server says of /cam. */
export function sender(ws) {
  const base = { path: "/cam", epoch: EPOCH, init: false, key: false, discontinuity: false };
  return {
    status: (status, tracks, more = {}) => ws.say({ t: "media", path: "/cam", epoch: EPOCH, offset: 0, status, tracks, ...more }),
    init: (bytes, more = {}) => ws.say(encodeMedia({ ...base, kind: "all", offset: 0, dts: 0, init: true, data: bytes, ...more })),
    video: (offset, seconds, more = {}) =>
      ws.say(encodeMedia({ ...base, kind: "video", offset, dts: Math.round(seconds * 1e6), data: fragment(1, `v${offset}`), ...more })),
    audio: (offset, seconds) => ws.say(encodeMedia({ ...base, kind: "audio", offset, dts: Math.round(seconds * 1e6), data: fragment(2, `a${offset}`) })),
    snapshot: () => ws.say({ t: "snapshot", path: "/cam", kind: "log", epoch: EPOCH, offset: 0 }),
    update: (offset, data, time) => ws.say({ t: "update", path: "/cam", epoch: EPOCH, offset, at: 1, data, ...(time === undefined ? {} : { time }) }),
  };
}

/** A player into which a second of a stream came. */
export function playing(t, options) {
  const p = setUpPlayer(t, options);
  p.send.status("live", [VIDEO, AUDIO]);
  p.send.init(BOTH);
  FakeMediaSource.last.open();
  p.send.video(0, 10, { key: true });
  p.send.audio(1, 10);
  for (let n = 1; n < 25; n++) p.send.video(n + 1, 10 + n * 0.04);
  const [picture, sound] = FakeMediaSource.last.buffers;
  p.appended = () => [picture.settle(), sound.settle()].map((done) => done.map(([what, b]) => (what === "append" ? contents(b) : what)).flat());
  p.video.buffered = picture.buffered = sound.buffered = ranges([10, 11]);
  p.tick(300);
  p.video.emit("playing");
  return p;
}

/** The contents of the fragments in an append, "init" for an init segment. */
export function contents(bytes) {
  return [...Buffer.from(bytes).toString("latin1").matchAll(/moov|mdat([av]\d+)/g)].map((m) => m[1] ?? "init");
}
