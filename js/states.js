/**
 * The states of a session client: the table of session/states.json, which a test compares and which says what is true in each.
 *
 * @typedef {"red" | "amber" | "green"} Light
 *
 * @typedef {object} StateRow
 * @property {string} name  as in Go
 * @property {string} word
 * @property {Light} light
 * @property {readonly string[]} next  what may follow
 * @property {readonly string[]} also  what may follow besides: the application may disconnect at any time, a login may be refused
 */

/** The state of a client that was not told to connect. */
export const INITIAL = "disconnected";

/** @type {readonly StateRow[]} */
export const STATES = Object.freeze([
  { name: "Disconnected", word: "disconnected", light: "red",
    next: ["connecting"], also: [] },
  { name: "Connecting", word: "connecting", light: "amber",
    next: ["connected", "failed", "unreachable"], also: ["disconnected"] },
  { name: "Failed", word: "failed", light: "amber",
    next: ["connecting", "unreachable"], also: ["disconnected"] },
  { name: "Connected", word: "connected", light: "amber",
    next: ["retrieving_credentials", "logged_in", "lost"], also: ["reconnected", "login_failed", "disconnected"] },
  { name: "RetrievingCredentials", word: "retrieving_credentials", light: "amber",
    next: ["credentials_retrieved", "credentials_retrieval_failed"], also: ["lost", "disconnected"] },
  { name: "CredentialsRetrieved", word: "credentials_retrieved", light: "amber",
    next: ["logged_in", "reconnected", "login_failed", "lost"], also: ["disconnected"] },
  { name: "CredentialsRetrievalFailed", word: "credentials_retrieval_failed", light: "amber",
    next: ["connecting", "disconnected"], also: [] },
  { name: "LoggedIn", word: "logged_in", light: "green",
    next: ["lost", "ejected", "paused", "unreachable", "disconnected"], also: [] },
  { name: "LoginFailed", word: "login_failed", light: "amber",
    next: ["disconnected"], also: [] },
  { name: "Lost", word: "lost", light: "amber",
    next: ["connecting", "unreachable"], also: ["disconnected"] },
  { name: "Reconnected", word: "reconnected", light: "amber",
    next: ["logged_in"], also: [] },
  { name: "Unreachable", word: "unreachable", light: "amber",
    next: ["connecting"], also: ["disconnected"] },
  { name: "Paused", word: "paused", light: "amber",
    next: ["connecting", "logged_in"], also: ["disconnected"] },
  { name: "Ejected", word: "ejected", light: "amber",
    next: ["disconnected"], also: [] },
]);

const byWord = new Map(STATES.map((s) => [s.word, s]));

/**
 * The light of a state: red for disconnected, green for logged_in, amber for all others.
 * @param {string} state
 * @returns {Light}
 */
export function light(state) {
  return byWord.get(state)?.light ?? "red";
}

/**
 * Whether the state `to` may follow the state `from`.
 * @param {string} from
 * @param {string} to
 */
export function may(from, to) {
  const s = byWord.get(from);
  return s !== undefined && (s.next.includes(to) || s.also.includes(to));
}
