// What the page computes, of the input that test_page_units.py gives on stdin, as JSON on stdout.

import { readFileSync } from "node:fs";
import { nms } from "../src/poised/serve/page/local/boxes.js";
import { flipOrder, mergeFlip, place } from "../src/poised/serve/page/local/maps.js";
import * as pixels from "../src/poised/serve/page/local/pixels.js";
import { chances, oksNms } from "../src/poised/serve/page/local/scores.js";

const given = JSON.parse(readFileSync(0));
const picture = { ...given.picture, data: Uint8Array.from(given.picture.data) };
const { size, mean, std } = given;
const answers = {
  resized: given.sizes.map(([width, height]) => Array.from(pixels.resize(picture, width, height))),
  letterbox: Array.from(pixels.letterbox(picture, size, mean, std).tensor),
  crops: given.boxes.map((box) => {
    const matrix = pixels.cropMatrix(box, size, given.padding);
    const inside = pixels.grown(box, given.blacked);
    const [whole, blacked] = [null, inside].map((one) => pixels.cut(picture, matrix, size, one));
    return { matrix, whole: Array.from(whole), blacked: Array.from(blacked) };
  }),
  nms: nms(given.corners, given.scores, given.overlap),
  oks: oksNms(given.poses, given.areas, given.scores, given.sigmas, given.overlap),
  ...decoded(),
};
process.stdout.write(JSON.stringify(answers));

function decoded() {
  const { joints, width, height, values, pairs, sides } = given.maps;
  const order = flipOrder(joints, pairs);
  const maps = mergeFlip(Float32Array.from(values), joints, width, height, order);
  const places = order.map((_, joint) => place(maps, joint, given.sigma));
  const sure = chances(maps, places, sides, given.sigma, given.sigmas);
  return { merged: Array.from(maps.values), places, ...sure };
}
