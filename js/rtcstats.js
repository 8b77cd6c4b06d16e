/**
 * A short record out of what a browser knows of a WebRTC connection (webrtc-stats): the numbers that judge it, and that travel to the server beside its state.
 *
 * @typedef {object} RTCStats  bytes, packets and frames count from the start of the connection; what a browser does not tell is not there
 * @property {string} [pair]  the selected pair, ours first: "udp host 192.0.2.7:50123 - host 192.0.2.1:8189"
 * @property {number} [rtt]  of that pair, in ms
 * @property {number} bytesReceived  of picture and sound
 * @property {number} bytesSent
 * @property {number} packetsLost  on the way here; on the way there while publishing
 * @property {number} [jitter]  of the picture, or of sound alone, in ms
 * @property {number} framesReceived @property {number} framesDecoded @property {number} framesDropped
 * @property {number} framesSent
 * @property {number} freezeCount
 * @property {number} [delay]  how long frames waited in the jitter buffer, on average, in ms
 * @property {string} [limited]  what keeps a publisher's picture from being better: "cpu", "bandwidth"
 * @property {string} [codec]  of the picture: "video/H264"
 */

/** @param {number} v */
const ms = (v) => Math.round(v * 10_000) / 10;

/** @param {Iterable<[string, any]>} report  an RTCStatsReport @returns {RTCStats} */
export function briefStats(report) {
  const all = new Map(report);
  /** @type {RTCStats} */
  const s = { bytesReceived: 0, bytesSent: 0, packetsLost: 0, framesReceived: 0, framesDecoded: 0, framesDropped: 0, framesSent: 0, freezeCount: 0 };
  for (const r of all.values()) {
    if (r.type === "inbound-rtp") inbound(s, r, all);
    else if (r.type === "outbound-rtp") outbound(s, r, all);
  }
  const pair = selected(all);
  if (pair) Object.assign(s, pairStats(pair, all));
  return s;
}

/** @param {RTCStats} s @param {any} r @param {Map<string, any>} all */
function inbound(s, r, all) {
  s.bytesReceived += r.bytesReceived ?? 0;
  s.packetsLost += r.packetsLost ?? 0;
  const video = r.kind === "video";
  if (r.jitter !== undefined && (video || s.jitter === undefined)) s.jitter = ms(r.jitter);
  if (!video) return;
  for (const name of /** @type {const} */ (["framesReceived", "framesDecoded", "framesDropped", "freezeCount"])) s[name] += r[name] ?? 0;
  if (all.has(r.codecId)) s.codec = all.get(r.codecId).mimeType;
  if (r.jitterBufferEmittedCount > 0) s.delay = ms(r.jitterBufferDelay / r.jitterBufferEmittedCount);
}

/** @param {RTCStats} s @param {any} r @param {Map<string, any>} all */
function outbound(s, r, all) {
  s.bytesSent += r.bytesSent ?? 0;
  s.packetsLost += all.get(r.remoteId)?.packetsLost ?? 0;
  if (r.kind !== "video") return;
  s.framesSent += r.framesSent ?? r.framesEncoded ?? 0;
  if (r.qualityLimitationReason && r.qualityLimitationReason !== "none") s.limited = r.qualityLimitationReason;
  if (all.has(r.codecId)) s.codec = all.get(r.codecId).mimeType;
}

/** The pair that is used; Firefox says so on the pair itself. @param {Map<string, any>} all */
function selected(all) {
  const list = [...all.values()];
  const id = list.find((r) => r.type === "transport" && r.selectedCandidatePairId)?.selectedCandidatePairId;
  return all.get(id) ?? list.find((r) => r.type === "candidate-pair" && r.selected) ?? list.find((r) => r.type === "candidate-pair" && r.nominated && r.state === "succeeded");
}

/** @param {any} pair @param {Map<string, any>} all */
function pairStats(pair, all) {
  const local = all.get(pair.localCandidateId), remote = all.get(pair.remoteCandidateId);
  const end = (/** @type {any} */ c) => `${c?.candidateType ?? "?"} ${c?.address ?? c?.ip ?? "?"}:${c?.port ?? "?"}`;
  const rtt = pair.currentRoundTripTime;
  return { pair: `${local?.protocol ?? "?"} ${end(local)} - ${end(remote)}`, ...(rtt === undefined ? {} : { rtt: ms(rtt) }) };
}
