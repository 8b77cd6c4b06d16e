/**
 * The seven states of ICE (RFC 8445, and the words of WebRTC), as the server has them too.
 *
 * @typedef {"new" | "checking" | "connected" | "completed" | "disconnected" | "failed" | "closed"} ICEState
 */

/** The light of each state. @type {Readonly<{[state in ICEState]: "red" | "amber" | "green"}>} */
export const ICE_LIGHTS = Object.freeze({
  new: "amber", checking: "amber", connected: "green", completed: "green", disconnected: "amber", failed: "red", closed: "red",
});

/**
 * One state out of the two that a browser has. Neither is to be trusted alone: Chromium leaves iceConnectionState at "disconnected" when connectionState
 * has long been "failed", and connectionState is "connecting" also when ICE has its pair and only DTLS is still to come.
 * @param {string} ice  iceConnectionState @param {string} connection  connectionState
 * @returns {ICEState}
 */
export function iceState(ice, connection) {
  if (ice === "closed" || connection === "closed") return "closed";
  if (ice === "failed" || connection === "failed") return "failed";
  if (ice in ICE_LIGHTS) return /** @type {ICEState} */ (ice);
  return "new";
}

/** Whether there is a pair that works. @param {string} state */
export function hasPair(state) {
  return state === "connected" || state === "completed";
}
