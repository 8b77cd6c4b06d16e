import { SUBPROTOCOL } from "./protocol.js";
import { ReasonError, reason, reasonFromWire } from "./reasons.js";
import { Joiner, closing, pieces } from "./framing.js";

/**
 * A session over a data channel of WebRTC: the offer goes to SESSION/rtc in a POST, whose answer has the server's side.
 *
 * @typedef {import("./dial.js").Wire} Wire
 * @typedef {import("./dial.js").To} To
 * @typedef {import("./dial.js").DialOptions} DialOptions
 */

/** How long addresses are looked for before the offer is made with those that are there, in ms. The server learns of others when it is reached from them. */
const GATHER = 500;

/** So many bytes wait in the browser; the rest waits here. */
const BUFFERED = 1 << 20;

/** How long what is still to be sent may take after a close, in ms. */
const CLOSE_TIMEOUT = 1000;

/** A connection over a data channel. @implements {Wire} */
class Channel {
  /** @type {"webrtc"} */
  transport = "webrtc";
  /** @type {Wire["onmessage"]} */
  onmessage;
  /** @type {Wire["onclose"]} */
  onclose;

  #pc;
  #channel;
  #joiner = new Joiner();
  #ended = false;
  /** @type {(string | Uint8Array<ArrayBuffer>)[]} */
  #queue = [];

  /** @param {DialOptions} o @param {() => void} opened @param {(text: string) => void} failed  before it was open */
  constructor(o, opened, failed) {
    this.#pc = new globalThis.RTCPeerConnection({ iceServers: o.iceServers ?? [] });
    const channel = (this.#channel = this.#pc.createDataChannel(SUBPROTOCOL, { ordered: true }));
    channel.binaryType = "arraybuffer";
    channel.bufferedAmountLowThreshold = BUFFERED / 4;
    let open = false;
    channel.onopen = () => {
      open = true;
      opened();
    };
    const end = (/** @type {string} */ text) => (open ? this.#end(text) : failed(text));
    channel.onclose = () => end("");
    channel.onbufferedamountlow = () => this.#pump();
    channel.onmessage = (e) => this.#received(e.data);
    this.#pc.onconnectionstatechange = () => this.#pc.connectionState === "failed" && end("the WebRTC connection failed");
  }

  /** The offer, with addresses as far as they are found soon. @returns {Promise<string>} */
  async offer() {
    const pc = this.#pc;
    await pc.setLocalDescription(await pc.createOffer());
    if (pc.iceGatheringState !== "complete") {
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, GATHER);
        pc.onicegatheringstatechange = () => {
          if (pc.iceGatheringState !== "complete") return;
          clearTimeout(timer);
          resolve(undefined);
        };
      });
    }
    return pc.localDescription?.sdp ?? "";
  }

  /** @param {string} sdp */
  answer(sdp) {
    return this.#pc.setRemoteDescription({ type: "answer", sdp });
  }

  /** @param {string[]} texts */
  send(texts) {
    for (const text of texts) this.#queue.push(...pieces(text));
    this.#pump();
  }

  close() {
    if (this.#ended) return;
    this.#ended = true;
    this.onmessage = this.onclose = undefined;
    const pc = this.#pc, channel = this.#channel;
    channel.onmessage = channel.onopen = channel.onbufferedamountlow = pc.onconnectionstatechange = null;
    channel.onclose = () => pc.close();
    if (channel.readyState !== "open") return pc.close();
    channel.close(); // what is to be sent still is
    setTimeout(() => pc.close(), CLOSE_TIMEOUT);
  }

  #pump() {
    const channel = this.#channel;
    while (this.#queue.length > 0 && channel.readyState === "open" && channel.bufferedAmount < BUFFERED) {
      channel.send(/** @type {any} */ (this.#queue.shift()));
    }
  }

  /** @param {string | ArrayBuffer} data */
  #received(data) {
    if (this.#ended) return;
    const goodbye = closing(data);
    if (goodbye) return this.#end(goodbye.word, goodbye.code);
    try {
      const message = this.#joiner.push(data);
      if (message !== undefined) this.onmessage?.(message);
    } catch (e) {
      this.#end(/** @type {Error} */ (e).message);
    }
  }

  /** @param {string} text @param {number} [code] */
  #end(text, code = 1006) {
    const onclose = this.onclose;
    this.close();
    onclose?.(code, text);
  }
}

/**
 * Opens a connection over a data channel.
 * @param {string} server @param {DialOptions} o @param {To} to
 * @returns {() => void} gives it up
 */
export function openChannel(server, o, to) {
  const stop = new AbortController();
  const wire = new Channel(o, () => to.opened(wire), (text) => to.failed(reason("lost", text), false));
  const agree = async () => {
    const res = await o.fetch(`${server.replace(/^ws/, "http").replace(/\?.*$/, "")}/rtc`, {
      method: "POST", headers: { "Content-Type": "application/sdp" }, body: await wire.offer(), cache: "no-store", signal: stop.signal,
    });
    if (res.ok) return wire.answer(await res.text());
    const body = await res.json().catch(() => undefined);
    throw new ReasonError("webrtc", reasonFromWire(body?.error) ?? reason("lost", `the server answered ${res.status}`));
  };
  agree().catch((e) => {
    if (stop.signal.aborted) return;
    wire.close();
    to.failed(e instanceof ReasonError ? e.reason : reason("lost", `${e?.message ?? e}`), false);
  });
  return () => {
    stop.abort();
    wire.close();
  };
}
