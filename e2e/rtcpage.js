// What rtc.mjs lets a browser's page do: WebRTC by WHIP and WHEP with nothing but the browser's own API, the product's client, and looking at the picture. Each function's answer is JSON.

const PATIENCE = 60_000; // ms until what is waited for is there

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what, f) {
  for (const end = Date.now() + PATIENCE; Date.now() < end; await sleep(20)) {
    const got = await f();
    if (got) return got;
  }
  throw new Error(`not within ${PATIENCE} ms: ${what}`);
}

/** The connection that the page has, or had last; all states of all of them, with their times; and where WHIP and WHEP told of it. */
const now = { pc: null, connections: 0, states: [], errors: [], location: "", etag: "" };

/** What everything in the page gets for a connection: one whose states are noted. */
globalThis.RTCPeerConnection = class extends RTCPeerConnection {
  #last = "";
  #number = ++now.connections;

  constructor(config) {
    super(config);
    now.pc = this;
    this.addEventListener("iceconnectionstatechange", () => this.#note());
    this.addEventListener("connectionstatechange", () => this.#note());
    this.addEventListener("icecandidateerror", (e) => now.errors.push(`${e.errorCode} ${e.errorText} ${e.url}`));
    this.#note();
  }

  close() {
    super.close();
    this.#note(); // no event tells of it
  }

  #note() {
    const ice = this.iceConnectionState, connection = this.connectionState;
    if (this.#last !== `${ice} ${connection}`) now.states.push({ at: Date.now(), number: this.#number, ice, connection });
    this.#last = `${ice} ${connection}`;
  }
};

const gathered = (pc) =>
  pc.iceGatheringState === "complete" ? undefined : new Promise((resolve) => pc.addEventListener("icegatheringstatechange", () => pc.iceGatheringState === "complete" && resolve()));

/** The offer goes to a URL of WHIP or WHEP, at once when its candidates trickle, and the answer comes back (RFC 9725). */
async function negotiate(pc, { url, token, trickle }) {
  const pending = [];
  let send = (line) => pending.push(line);
  if (trickle) pc.onicecandidate = (e) => send(e.candidate?.candidate || "end");
  await pc.setLocalDescription(await pc.createOffer());
  if (!trickle) await gathered(pc);
  const authorization = token ? { Authorization: `Bearer ${token}` } : {};
  const offer = pc.localDescription.sdp;
  const r = await fetch(url, { method: "POST", headers: { "Content-Type": "application/sdp", ...authorization }, body: offer });
  const text = await r.text();
  if (r.status !== 201) throw new Error(`${url}: ${r.status} ${text}`);
  now.location = new URL(r.headers.get("Location"), url).href;
  now.etag = r.headers.get("ETag") ?? "";
  await pc.setRemoteDescription({ type: "answer", sdp: text });
  if (!trickle) return text;
  const credentials = offer.match(/a=ice-(ufrag|pwd):.*\r\n/g).slice(0, 2).join(""), mid = offer.match(/a=mid:.*\r\n/)[0];
  send = async (line) => {
    const fragment = `${credentials}m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n${mid}a=${line === "end" ? "end-of-candidates" : line}\r\n`;
    const headers = { "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": now.etag, ...authorization };
    const p = await fetch(now.location, { method: "PATCH", headers, body: fragment });
    if (p.status !== 204) now.errors.push(`PATCH: ${p.status} ${await p.text()}`);
  };
  for (const line of pending) await send(line);
  return text;
}

/** Sends the camera and the microphone, which are fakes, with the codec that is asked for; with encodings, the picture several times at once (simulcast). */
async function publish(o) {
  const pc = new RTCPeerConnection(o.config);
  const media = await navigator.mediaDevices.getUserMedia({ video: { width: o.width ?? 640, height: o.height ?? 360, frameRate: 30 }, audio: true });
  for (const track of media.getTracks()) {
    const transceiver = pc.addTransceiver(track, { direction: "sendonly", streams: [media], ...(track.kind === "video" && o.encodings ? { sendEncodings: o.encodings } : {}) });
    const all = RTCRtpSender.getCapabilities(track.kind).codecs;
    const wanted = all.filter((c) => c.mimeType.toLowerCase() === (track.kind === "video" ? `video/${o.video}` : "audio/opus").toLowerCase());
    if (wanted.length === 0) throw new Error(`this browser does not send ${o.video}: ${all.map((c) => c.mimeType)}`);
    transceiver.setCodecPreferences(wanted);
  }
  const answer = await negotiate(pc, o);
  await until("connected", () => pc.connectionState === "connected");
  return { answer };
}

/** Shows what the server sends. */
async function play(o) {
  const pc = new RTCPeerConnection(o.config);
  pc.addTransceiver("video", { direction: "recvonly" });
  pc.addTransceiver("audio", { direction: "recvonly" });
  const media = new MediaStream(), video = document.querySelector("video");
  pc.ontrack = (e) => media.addTrack(e.track);
  video.srcObject = media;
  video.muted = false; // sound that nobody hears has no energy
  const answer = await negotiate(pc, o);
  if (o.wait !== false) await until("connected", () => pc.connectionState === "connected");
  video.play().catch(() => {}); // without a picture it waits for one
  return { answer };
}

/** Ends what WHIP or WHEP began. */
async function end() {
  const r = await fetch(now.location, { method: "DELETE" });
  now.pc.close();
  return { status: r.status };
}

/** Takes up the connection again over what paths there are now: an ICE restart by PATCH (RFC 9725 section 4.3.3). */
async function restart() {
  const { pc } = now;
  pc.restartIce();
  await pc.setLocalDescription(await pc.createOffer());
  await gathered(pc);
  const offer = pc.localDescription.sdp;
  const fragment = offer.match(/a=(ice-ufrag|ice-pwd|mid|candidate|end-of-candidates).*\r\n|m=.*\r\n/g).join("");
  const r = await fetch(now.location, { method: "PATCH", headers: { "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*" }, body: fragment });
  const text = await r.text();
  if (r.status !== 200) throw new Error(`PATCH: ${r.status} ${text}`);
  now.etag = r.headers.get("ETag") ?? "";
  const value = (name) => text.match(new RegExp(`a=${name}:(.*)\r\n`))[1];
  const sdp = pc.currentRemoteDescription.sdp
    .replace(/a=ice-ufrag:.*/g, `a=ice-ufrag:${value("ice-ufrag")}`)
    .replace(/a=ice-pwd:.*/g, `a=ice-pwd:${value("ice-pwd")}`)
    .replace(/a=(candidate:.*|end-of-candidates)\r\n/g, "");
  await pc.setRemoteDescription({ type: "answer", sdp });
  for (const [, candidate] of text.matchAll(/a=(candidate:.*)\r\n/g)) await pc.addIceCandidate({ candidate, sdpMLineIndex: 0 });
  return {};
}

const KEPT = {
  "inbound-rtp": ["mimeType", "framesReceived", "framesDecoded", "keyFramesDecoded", "framesDropped", "freezeCount", "frameWidth", "frameHeight", "packetsReceived", "packetsLost", "bytesReceived",
    "jitter", "nackCount", "pliCount", "totalSamplesReceived", "totalAudioEnergy", "decoderImplementation"],
  "outbound-rtp": ["mimeType", "framesEncoded", "framesSent", "packetsSent", "bytesSent", "nackCount", "pliCount", "frameWidth", "frameHeight", "encoderImplementation"],
};

/** The states so far, and the numbers that tests look at: {video, audio, pair}. */
async function report() {
  const answer = { states: now.states, errors: now.errors, location: now.location, etag: now.etag };
  if (!now.pc) return answer;
  const all = await now.pc.getStats();
  for (const s of all.values()) {
    if (KEPT[s.type]) {
      const kept = (answer[s.kind] = {});
      for (const k of KEPT[s.type]) if (s[k] !== undefined) kept[k] = s[k];
      kept.mimeType = all.get(s.codecId)?.mimeType ?? "";
    }
    if (s.type === "candidate-pair" && s.nominated && s.state === "succeeded") {
      const end = (c) => c && `${c.protocol} ${c.candidateType} ${c.address}:${c.port}`;
      answer.pair = { local: end(all.get(s.localCandidateId)), remote: end(all.get(s.remoteCandidateId)), roundTrip: s.currentRoundTripTime };
    }
  }
  return answer;
}

/** Waits until so many frames were decoded, or sent; frames that had been received by then are given a while to be decoded, too: "framesBefore" is their number. */
async function frames({ n }) {
  const count = async () => (await report()).video ?? {};
  await until(`${n} frames`, async () => {
    const { framesDecoded, framesSent } = await count();
    return (framesDecoded ?? framesSent ?? 0) >= n;
  });
  const { framesReceived } = await count();
  for (const end = Date.now() + 3000; Date.now() < end; await sleep(20)) if (((await count()).framesDecoded ?? Infinity) >= framesReceived) break;
  const all = await report();
  all.video.framesBefore = framesReceived;
  return all;
}

/** Looks at the picture that a viewer sees: when it changed last, and the longest time it stood still. */
const picture = { changes: 0, last: 0, freeze: 0, frozenAt: 0 };

function look() {
  const small = Object.assign(document.createElement("canvas"), { width: 64, height: 36 }).getContext("2d", { willReadFrequently: true });
  let before;
  setInterval(() => {
    const video = [...document.querySelectorAll("video")].find((v) => v.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && v.readyState >= 2);
    if (!video) return;
    small.drawImage(video, 0, 0, 64, 36);
    const { data } = small.getImageData(0, 0, 64, 36);
    const at = Date.now();
    if (before?.every((b, i) => b === data[i])) return;
    before = data;
    if (picture.last && at - picture.last > picture.freeze) {
      picture.freeze = at - picture.last;
      picture.frozenAt = picture.last;
    }
    picture.last = at;
    picture.changes++;
  }, 15);
  return {};
}

/** What was seen of the picture; a freeze that goes on counts up to now. */
function seen() {
  return { ...picture, freeze: picture.last ? Math.max(picture.freeze, Date.now() - picture.last) : 0 };
}

/** Counts freezes from here on. */
function mark() {
  picture.freeze = 0;
  picture.frozenAt = 0;
  return {};
}

/** What watch has begun. */
const watching = { player: null, switches: [], data: { updates: 0, gaps: 0, disorder: 0 } };

/** Plays with the product's client and player, and follows a log of {"i": 0}, {"i": 1} and so on; waits until the picture moves, and comes by what is named. */
async function watch({ server, path, log, shows, options }) {
  const { Client, Player } = await import(`${server}/js/index.js`);
  const client = new Client({ servers: [`${server.replace("http", "ws")}/session`] });
  const player = (watching.player = new Player(client, path, document.querySelector("video"), { data: false, ...options }));
  player.ontransport = ({ to, why, at }) => watching.switches.push({ at: +at, to, why });
  client.connect();
  const { data } = watching;
  let next = 0;
  const followed = new Promise((resolve) =>
    client.subscribe(log, (m) => {
      if (m.t === "snapshot") resolve();
      if (m.t === "gap") data.gaps++;
      if (m.t !== "update") return;
      if (m.data.i !== next) data.disorder++;
      next = m.data.i + 1;
      data.updates++;
    }),
  );
  await followed;
  player.start();
  look();
  await until("a moving picture", () => picture.changes > 10);
  if (shows) await until(`the picture comes by ${shows}`, () => player.transport === shows);
  return {};
}

/** Waits until the player shows what comes by WebRTC with a codec, and so many frames of it were decoded. */
async function carries({ codec, n }) {
  await until(`${n} frames of ${codec} over WebRTC`, async () => {
    const { video } = await report();
    return watching.player.transport === "webrtc" && video?.mimeType === `video/${codec}` && video.framesDecoded >= n;
  });
  return {};
}

/** Waits until so many messages have come, and says what was seen. */
async function whole({ n }) {
  const { player, data, switches } = watching;
  await until(`${n} messages`, () => data.updates + data.gaps >= n).catch(() => {});
  const { video, pair } = await report();
  return { shows: player.transport, state: player.state, detail: player.detail, states: now.states, switches, data, picture: seen(), stats: player.stats(), video: video ?? {}, pair: pair ?? {} };
}

/** What brings the picture. */
function shown() {
  return { shows: watching.player.transport };
}

globalThis.rtc = { watch, carries, whole, shown, publish, play, end, restart, report, frames, look, seen, mark };
