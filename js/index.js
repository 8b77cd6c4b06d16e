/** Everything that an application needs: `import { Client, Player } from "hawser"`. */
export { Client } from "./client.js";
export { Player } from "./player.js";
export { Play, Queue, Subscription } from "./subscription.js";
export { ProtocolError } from "./protocol.js";
export { REASONS, ReasonError } from "./reasons.js";
export { STATES } from "./states.js";
