/** As much of a browser's WebRTC as peers use; the test is the network and the other end. */

export class FakeMediaStream {
  tracks = [];
  constructor(tracks = []) {
    this.tracks = [...tracks];
  }
  addTrack(t) {
    this.tracks.push(t);
  }
  removeTrack(t) {
    this.tracks = this.tracks.filter((x) => x !== t);
  }
  getTracks() {
    return this.tracks;
  }
  getVideoTracks() {
    return this.tracks.filter((t) => t.kind === "video");
  }
  getAudioTracks() {
    return this.tracks.filter((t) => t.kind === "audio");
  }
}

class FakeSender {
  parameters = { encodings: [{}] };
  constructor(track) {
    this.track = track;
  }
  async replaceTrack(track) {
    this.track = track;
  }
  getParameters() {
    return structuredClone(this.parameters);
  }
  async setParameters(p) {
    this.parameters = p;
  }
}

class FakeChannel {
  readyState = "connecting";
  bufferedAmount = 0;
  sent = [];
  closed = false;
  constructor(label, options) {
    Object.assign(this, { label, options });
  }
  open() {
    this.readyState = "open";
    this.onopen?.({});
  }
  send(data) {
    if (this.readyState !== "open") throw new Error("InvalidStateError");
    this.sent.push(data);
  }
  say(data) {
    this.onmessage?.({ data });
  }
  drain() {
    this.bufferedAmount = 0;
    this.onbufferedamountlow?.({});
  }
  end() {
    this.readyState = "closed";
    this.onclose?.({});
  }
  close() {
    this.closed = true;
    this.readyState = "closed";
  }
}

export class FakePeerConnection {
  static all = [];
  static get last() {
    return FakePeerConnection.all.at(-1);
  }
  iceConnectionState = "new";
  connectionState = "new";
  iceGatheringState = "new";
  localDescription = null;
  remoteDescription = null;
  transceivers = [];
  candidates = [];
  channels = [];
  closed = false;
  /** What getStats tells. */
  report = {};
  #offers = 0;

  constructor(config) {
    this.config = config;
    FakePeerConnection.all.push(this);
  }
  addTransceiver(what, init) {
    const kind = typeof what === "string" ? what : what.kind;
    const t = {
      kind, direction: init?.direction, sender: new FakeSender(typeof what === "string" ? null : what), receiver: { track: { kind }, getSynchronizationSources: () => this.played ?? [] },
      setCodecPreferences: (codecs) => (t.codecs = codecs),
    };
    this.transceivers.push(t);
    return t;
  }
  getTransceivers() {
    return this.transceivers;
  }
  getReceivers() {
    return this.transceivers.map((t) => t.receiver);
  }
  createDataChannel(label, options) {
    this.channels.push(new FakeChannel(label, options));
    return this.channels.at(-1);
  }
  async createOffer({ iceRestart = false } = {}) {
    this.#offers++;
    return { type: "offer", sdp: `offer ${this.#offers}${iceRestart ? " restart" : ""}` };
  }
  async setLocalDescription(d) {
    this.localDescription = d;
  }
  async setRemoteDescription(d) {
    if (/bad/.test(d.sdp)) throw new Error("cannot parse");
    this.remoteDescription = d;
    for (const t of this.transceivers) if (t.direction === "recvonly") this.ontrack?.({ track: t.receiver.track, receiver: t.receiver, streams: [] });
  }
  async addIceCandidate(c) {
    if (/bad/.test(c.candidate)) throw new Error("cannot parse");
    this.candidates.push(c.candidate);
  }
  async getStats() {
    return new Map(Object.entries(this.report));
  }
  close() {
    this.closed = true;
    this.iceConnectionState = this.connectionState = "closed";
  }

  // The test's side.

  found(candidate) {
    this.onicecandidate?.({ candidate: { candidate, sdpMid: "0" } });
  }
  gathered() {
    this.iceGatheringState = "complete";
    this.onicegatheringstatechange?.({});
  }
  ice(state) {
    this.iceConnectionState = state;
    this.oniceconnectionstatechange?.({});
  }
  connection(state) {
    this.connectionState = state;
    this.onconnectionstatechange?.({});
  }
  /** Numbers of the picture that comes. */
  receives({ bytes, received, decoded }) {
    this.report.v = { type: "inbound-rtp", kind: "video", bytesReceived: bytes, framesReceived: received, framesDecoded: decoded, packetsLost: 0, jitter: 0.002 };
  }
}

/** Puts the fakes in the browser's place for a test. */
export function fakeRTC(t) {
  FakePeerConnection.all = [];
  if (globalThis.RTCPeerConnection === FakePeerConnection) return;
  const before = { RTCPeerConnection: globalThis.RTCPeerConnection, MediaStream: globalThis.MediaStream };
  Object.assign(globalThis, { RTCPeerConnection: FakePeerConnection, MediaStream: FakeMediaStream });
  t.after(() => Object.assign(globalThis, before));
}

/** Lets promises settle. */
export const turn = () => new Promise((resolve) => setImmediate(resolve));
