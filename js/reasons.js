/**
 * Why a connection, a subscription or a request ended: the table of lifecycle/reasons.json, which a test compares.
 *
 * @typedef {object} Reason
 * @property {number} code  also the WebSocket close code (RFC 6455 section 7.4.2, the private range)
 * @property {string} word  the reason in one word, the same in logs, metrics and close frames
 * @property {string} text  for people; it says what exactly
 * @property {boolean} retry  a later attempt may succeed; false means final
 */

/** The table, in order of the codes. */
export const REASONS = Object.freeze([
  { name: "Done", code: 4000, word: "done", retry: false, text: "ended as asked" },
  { name: "Shutdown", code: 4001, word: "shutdown", retry: true, text: "the server is stopping" },
  { name: "Slow", code: 4002, word: "slow", retry: true, text: "the receiver does not keep up" },
  { name: "Timeout", code: 4003, word: "timeout", retry: true, text: "nothing came in time" },
  { name: "Lost", code: 4004, word: "lost", retry: true, text: "the network connection broke" },
  { name: "Protocol", code: 4005, word: "protocol", retry: false, text: "the peer broke the protocol" },
  { name: "TooBig", code: 4006, word: "too_big", retry: false, text: "larger than the limit" },
  { name: "Refused", code: 4007, word: "refused", retry: false, text: "not allowed" },
  { name: "Unauthorized", code: 4008, word: "unauthorized", retry: false, text: "the credentials were not accepted" },
  { name: "Taken", code: 4009, word: "taken", retry: true, text: "the path already has a publisher" },
  { name: "NotFound", code: 4010, word: "not_found", retry: true, text: "there is nothing at this path" },
  { name: "Gone", code: 4011, word: "gone", retry: true, text: "the publisher has left" },
  { name: "Ejected", code: 4012, word: "ejected", retry: false, text: "the server threw the client out" },
  { name: "Limit", code: 4013, word: "limit", retry: true, text: "a limit of the server is reached" },
  { name: "Unsupported", code: 4014, word: "unsupported", retry: false, text: "this is not known here" },
  { name: "Internal", code: 4015, word: "internal", retry: true, text: "a fault of the server" },
  { name: "Replaced", code: 4016, word: "replaced", retry: false, text: "a newer one took its place" },
  { name: "BadRequest", code: 4017, word: "bad_request", retry: false, text: "the request makes no sense" },
]);

const byWord = new Map(REASONS.map((r) => [r.word, r]));
const byCode = new Map(REASONS.map((r) => [r.code, r]));

/**
 * The reason with the given word, with its text replaced when one is given.
 * @param {string} word  one of the table
 * @param {string} [text]
 * @returns {Reason}
 */
export function reason(word, text) {
  const r = byWord.get(word);
  if (!r) throw new RangeError(`hawser: no reason ${JSON.stringify(word)}`);
  return { code: r.code, word: r.word, text: text || r.text, retry: r.retry };
}

/**
 * The reason with the given number, if the table has it.
 * @param {number} code
 * @param {string} [text]
 * @returns {Reason | undefined}
 */
export function reasonByCode(code, text) {
  const r = byCode.get(code);
  return r && reason(r.word, text);
}

/** The peer speaks another version of the protocol. @param {number} version @param {number} ours */
export function wrongVersion(version, ours) {
  return reason("unsupported", `version ${version}: this client speaks ${ours}`);
}

/**
 * A reason as it came in a message, in which what is empty or false may be absent.
 * @param {Partial<Reason> | undefined} r
 * @returns {Reason | undefined}
 */
export function reasonFromWire(r) {
  if (!r || (!r.code && !r.word)) return undefined;
  return { code: r.code ?? 0, word: r.word ?? "", text: r.text ?? "", retry: r.retry ?? false };
}

/** A request failed for a reason of the table. */
export class ReasonError extends Error {
  /**
   * @param {string} what  the operation and its object
   * @param {Reason} reason
   */
  constructor(what, reason) {
    super(`${what}: ${reason.text || reason.word}`);
    this.name = "ReasonError";
    this.reason = reason;
  }
}
