// Who finds the poses: the server here; `static_site.py` writes local.js's name in its place.

export { models, predict, where } from "./server.js";
