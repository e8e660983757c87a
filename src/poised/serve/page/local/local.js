// The engine within the browser: a worker computes, nothing is sent. The interface is server.js's.

/** What becomes of pictures. */
export const where = "Everything is computed here: no picture leaves this machine.";

let worker = null;
let asked = 0;
const waiting = new Map(); // by the number of a question

/** What there is, from models.json beside the page: {models: [...], default}. */
export async function models() {
  const response = await fetch("models.json");
  if (!response.ok) throw new Error(`models.json: ${response.status}; is the folder complete?`);
  return response.json();
}

/** The poses in a picture; see server.js. */
export function predict(blob, model, { name = "picture", heatmaps = false } = {}) {
  worker ??= started();
  const id = ++asked;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, blob, model, name, heatmaps });
  });
}

function started() {
  const made = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  made.onmessage = ({ data }) => {
    const { resolve, reject } = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.error) reject(new Error(data.error));
    else resolve(data.found);
  };
  made.onerror = () => {
    const error = new Error("the models cannot run here: this browser lacks module workers");
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
    worker = null;
  };
  return made;
}
