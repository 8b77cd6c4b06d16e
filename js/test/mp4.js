import { concat } from "../boxes.js";

const u32 = (...numbers) => concat(numbers.map((n) => new Uint8Array([n >>> 24, n >>> 16, n >>> 8, n])));
const text = (s) => new TextEncoder().encode(s);

/** A box of the given content. */
export function box(type, ...content) {
  const body = concat(content);
  return concat([u32(8 + body.length), text(type), body]);
}

const trak = (id, handler) => box("trak", box("tkhd", u32(0, 0, 0, id, 0)), box("mdia", box("hdlr", u32(0, 0), text(handler), u32(0))));

/** An init segment with tracks of [number, handler]. */
export function init(...tracks) {
  const trexes = tracks.map(([id]) => box("trex", u32(0, id, 1, 0, 0, 0)));
  return concat([box("ftyp", text("iso5")), box("moov", box("mvhd", u32(0)), ...tracks.map(([id, h]) => trak(id, h)), box("mvex", ...trexes))]);
}

/** A fragment of a track. */
export function fragment(id, content = "x") {
  return concat([box("moof", box("mfhd", u32(0, 1)), box("traf", box("tfhd", u32(0, id)))), box("mdat", text(content))]);
}
