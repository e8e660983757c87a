// A picture -> people with their poses: what Predictor.predict does with flip. See predict.py.

import { people } from "./boxes.js";
import { flipOrder, mergeFlip, place } from "./maps.js";
import { apply, bothWays, cropMatrix, cut, grown, invert, letterbox } from "./pixels.js";
import { chances, heights, oksNms } from "./scores.js";

const SAME_PERSON = 0.7; // OKS over which two poses are one person's
const MIN_SCORE = 0.15; // of a detected person; docs/false_people.md says how chosen
const MIN_JOINTS = 3;

/**
 * Everybody in a picture: [{box, box_score, score, xy, scores, maps, to_image}].
 * detector, model: {notes, skeleton, run}, run(tensor, shape) -> outputs by name, of their data
 * and dims; notes are the file's metadata, skeleton and threshold those of models.json.
 */
export async function everybody(picture, detector, model) {
  const found = [];
  for (const { box, score } of await detect(picture, detector)) {
    const pose = await estimate(picture, box, model);
    found.push({ box, box_score: score, score: Math.fround(score * pose.quality), ...pose });
  }
  const kept = oksNms(
    found.map((one) => one.xy),
    found.map((one) => one.box[2] * one.box[3]),
    found.map((one) => one.score),
    model.notes.skeleton.sigmas,
    SAME_PERSON,
  );
  const least = Math.min(MIN_JOINTS, model.skeleton.keypoints.length);
  return kept
    .sort((a, b) => a - b)
    .map((i) => found[i])
    .filter((one) => {
      const sure = one.scores.filter((score) => score > model.threshold);
      return one.score >= MIN_SCORE && sure.length >= least;
    });
}

async function detect(picture, { notes, run }) {
  const [width, height] = notes.input_wh;
  const { tensor, gain } = letterbox(picture, notes.input_wh, notes.mean, notes.std);
  const { scores, boxes } = await run(tensor, [1, 3, height, width]);
  return people(scores.data, boxes.data, gain, picture, notes);
}

/** The pose of the person in a box, averaged with the mirrored crop's. */
async function estimate(picture, box, { notes, skeleton, run }) {
  const { input_wh: size, stride } = notes;
  const matrix = cropMatrix(box, size, notes.padding);
  const inside = notes.blacked ? grown(box, notes.blacked) : null;
  const tensor = bothWays(cut(picture, matrix, size, inside), size, notes.mean, notes.std);
  const { heatmaps } = await run(tensor, [2, 3, size[1], size[0]]);
  const [, joints, height, width] = heatmaps.dims;
  const maps = mergeFlip(heatmaps.data, joints, width, height, flipOrder(joints, skeleton.pairs));
  const places = skeleton.keypoints.map((_, joint) => place(maps, joint, notes.sigma));
  const back = invert(matrix);
  const toCrop = (value) => (value + 0.5) * stride - 0.5;
  const xy = places.map(([x, y]) => apply(back, toCrop(x), toCrop(y)).map(Math.fround));
  const sides = [box[2], box[3]].map((side) => (side * matrix[0][0]) / stride);
  const { sigma } = notes;
  const sure = notes.chances
    ? chances(maps, places, sides, sigma, notes.skeleton.sigmas)
    : heights(maps);
  return { xy, ...sure, maps, to_image: mapToImage(back, stride) };
}

/** A map's cell -> picture pixels, (2, 3): to the crop, then back into the picture. */
function mapToImage(back, stride) {
  const first = stride / 2 - 0.5; // crop pixels, of the first cell
  return back.map(([a, b, c]) => [a * stride, b * stride, c + (a + b) * first]);
}
