// Reads pictures and runs the networks beside the page, so that the page stays quick.

import * as ort from "../../runtime/ort.wasm.min.mjs";
import { mapOf, peak } from "./maps.js";
import { everybody } from "./predictor.js";

const ROOT = new URL("../../", import.meta.url);
const MAX_PIXELS = 100_000_000; // as images.py
const MOST_THREADS = 4;

ort.env.wasm.wasmPaths = new URL("runtime/", ROOT).href;
// several threads need memory that they share, which a host allows by two headers
ort.env.wasm.numThreads = self.crossOriginIsolated
  ? Math.min(navigator.hardwareConcurrency, MOST_THREADS)
  : 1;

let listed = null;
const networks = new Map(); // by file, promises
let last = Promise.resolve();

self.onmessage = ({ data }) => {
  last = last.then(() => answer(data)); // one at a time, in order
};

async function answer({ id, blob, model, name, heatmaps }) {
  try {
    self.postMessage({ id, found: await predict(blob, model, name, heatmaps) });
  } catch (error) {
    self.postMessage({ id, error: error.message });
  }
}

async function predict(blob, wanted, name, heatmaps) {
  listed ??= await json(new URL("models.json", ROOT));
  const model = listed.models.find((one) => one.name === wanted);
  if (!model) throw new Error(`no model ${wanted}; there are ${names(listed.models)}`);
  const picture = await decoded(blob, name);
  const detector = { notes: listed.detector.notes, run: await network(listed.detector.file) };
  const pose = { ...model, run: await network(model.file) };
  const start = performance.now();
  const people = await everybody(picture, detector, pose);
  const seconds = (performance.now() - start) / 1000;
  const { width, height } = picture;
  const found = [];
  for (const person of people) found.push(await finished(person, heatmaps));
  return { model: wanted, seconds, images: [{ file_name: name, width, height, people: found }] };
}

const names = (models) => models.map((one) => one.name).join(", ");

async function json(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url.pathname}: ${response.status}`);
  return response.json();
}

/** A person as the API gives them. */
async function finished(person, heatmaps) {
  const { box, box_score, score, xy, scores, maps, to_image } = person;
  const keypoints = xy.map(([x, y], joint) => [x, y, scores[joint]]);
  const found = { bbox: box, box_score, score, keypoints };
  if (heatmaps) found.heatmaps = await asPng(maps, to_image);
  return found;
}

/** The maps under one another, each scaled to its own maximum, as a grey PNG in base64. */
async function asPng(maps, to_image) {
  const { joints, width, height } = maps;
  const grey = new ImageData(width, joints * height);
  for (let joint = 0; joint < joints; joint++) {
    const map = mapOf(maps, joint);
    const scale = 255 / Math.max(peak(map).value, 1e-10);
    map.forEach((value, i) => {
      const level = Math.max(value, 0) * scale;
      grey.data.set([level, level, level, 255], 4 * (joint * width * height + i));
    });
  }
  const canvas = new OffscreenCanvas(grey.width, grey.height);
  canvas.getContext("2d").putImageData(grey, 0, 0);
  const bytes = new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
  const png = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  return { joints, width, height, to_image, png };
}

/** A file's pixels, upright, its colours as they are stored, transparent ones laid on white. */
async function decoded(blob, name) {
  const options = { colorSpaceConversion: "none" };
  const bitmap = await createImageBitmap(blob, options).catch(() => {
    throw new Error(`${name}: not an image that this browser can read; save it as JPEG or PNG`);
  });
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) {
    throw new Error(`${name}: ${width}x${height} is over ${MAX_PIXELS} pixels; shrink it`);
  }
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

/** A network, read once: run(tensor, shape) -> outputs by name. */
function network(file) {
  if (!networks.has(file)) {
    const opened = open(file);
    opened.catch(() => networks.delete(file)); // the next picture tries again
    networks.set(file, opened);
  }
  return networks.get(file);
}

async function open(file) {
  const response = await fetch(new URL(file, ROOT));
  if (!response.ok) throw new Error(`${file}: ${response.status}; is the folder complete?`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  const [input] = session.inputNames;
  return (tensor, shape) => session.run({ [input]: new ort.Tensor("float32", tensor, shape) });
}
