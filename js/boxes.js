/**
 * As much of the MP4 box structure (ISO/IEC 14496-12) as the player needs: one init segment for several tracks is split into one for each,
 * so that each track has a SourceBuffer of its own and a hole in the sound does not make the picture wait for a keyframe.
 *
 * @typedef {{type: string, start: number, body: number, end: number}} Box  offsets: of the box, of what it holds, behind it
 * @typedef {{id: number, kind: "video" | "audio" | "other", init: Uint8Array<ArrayBuffer>}} TrackInit
 */

/**
 * The boxes that stand from `start` to `end`. One that is cut short ends the list.
 * @param {Uint8Array} b @param {number} [start] @param {number} [end] @returns {Box[]}
 */
export function boxes(b, start = 0, end = b.length) {
  const view = viewOf(b), list = [];
  for (let at = start; at + 8 <= end; ) {
    let size = view.getUint32(at), head = 8;
    if (size === 1 && at + 16 <= end) {
      size = Number(view.getBigUint64(at + 8));
      head = 16;
    } else if (size === 0) {
      size = end - at;
    }
    if (size < head || at + size > end) break;
    list.push({ type: String.fromCharCode(b[at + 4], b[at + 5], b[at + 6], b[at + 7]), start: at, body: at + head, end: at + size });
    at += size;
  }
  return list;
}

/**
 * An init segment for each track of one.
 * @param {Uint8Array} init
 * @returns {TrackInit[]} empty when there is no moov with tracks
 */
export function splitInit(init) {
  const top = boxes(init);
  const moov = top.find((x) => x.type === "moov");
  if (!moov) return [];
  const before = top.filter((x) => x.type === "ftyp").map((x) => init.subarray(x.start, x.end));
  const parts = boxes(init, moov.body, moov.end);
  return parts.filter((x) => x.type === "trak").map((trak) => {
    const id = trackId(init, trak);
    const kept = parts.filter((x) => x.type !== "trak" || x === trak);
    const content = kept.map((x) => (x.type === "mvex" ? extendsOf(init, x, id) : init.subarray(x.start, x.end)));
    return { id, kind: handler(init, trak), init: concat([...before, box("moov", content)]) };
  });
}

/**
 * The track of a fragment: the track_ID of its first traf; 0 when there is none.
 * @param {Uint8Array} fragment
 */
export function fragmentTrack(fragment) {
  const tfhd = find(fragment, boxes(fragment), ["moof", "traf", "tfhd"]);
  return tfhd ? viewOf(fragment).getUint32(tfhd.body + 4) : 0;
}

/** Only the trex of one track. @param {Uint8Array} b @param {Box} mvex @param {number} id */
function extendsOf(b, mvex, id) {
  const kept = boxes(b, mvex.body, mvex.end).filter((x) => x.type !== "trex" || viewOf(b).getUint32(x.body + 4) === id);
  return box("mvex", kept.map((x) => b.subarray(x.start, x.end)));
}

/** @param {Uint8Array} b @param {Box} trak */
function trackId(b, trak) {
  const tkhd = find(b, boxes(b, trak.body, trak.end), ["tkhd"]);
  if (!tkhd) return 0;
  return viewOf(b).getUint32(tkhd.body + (b[tkhd.body] === 1 ? 20 : 12)); // version 1 has 64-bit times before it
}

/** @param {Uint8Array} b @param {Box} trak @returns {"video" | "audio" | "other"} */
function handler(b, trak) {
  const hdlr = find(b, boxes(b, trak.body, trak.end), ["mdia", "hdlr"]);
  const type = hdlr ? String.fromCharCode(...b.subarray(hdlr.body + 8, hdlr.body + 12)) : "";
  return type === "vide" ? "video" : type === "soun" ? "audio" : "other";
}

/** @param {Uint8Array} b @param {Box[]} list @param {string[]} path @returns {Box | undefined} */
function find(b, list, [type, ...rest]) {
  const found = list.find((x) => x.type === type);
  return found && rest.length > 0 ? find(b, boxes(b, found.body, found.end), rest) : found;
}

/** @param {string} type @param {Uint8Array[]} content */
function box(type, content) {
  const b = concat([new Uint8Array(8), ...content]);
  viewOf(b).setUint32(0, b.length);
  for (let i = 0; i < 4; i++) b[4 + i] = type.charCodeAt(i);
  return b;
}

/** @param {Uint8Array[]} parts @returns {Uint8Array<ArrayBuffer>} */
export function concat(parts) {
  const b = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    b.set(p, at);
    at += p.length;
  }
  return b;
}

/** @param {Uint8Array} b */
function viewOf(b) {
  return new DataView(b.buffer, b.byteOffset, b.byteLength);
}
