/** Everything that an application needs: `import { Client, Player } from "hawser"`. The traffic light is an element of its own: light.js. */
export { Client } from "./client.js";
export { Player } from "./player.js";
export { Publisher } from "./publisher.js";
export { Play, Queue, Source, Subscription } from "./subscription.js";
export { ProtocolError, mergePatch } from "./protocol.js";
export { REASONS, ReasonError, reason } from "./reasons.js";
export { STATES } from "./states.js";
