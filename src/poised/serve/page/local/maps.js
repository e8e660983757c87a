// Heatmaps -> keypoints. The same as heatmaps.py, for the unbiased decoder.
// Maps are {joints, width, height, values}, values a Float32Array of a map after the other.

import { rint } from "./pixels.js";

const FLOOR = 1e-10; // under the logarithm

/**
 * The mean of a crop's maps and those of its mirror image, both in one array of 2 joints' maps.
 * order: the keypoint that stands in each place of a mirrored picture.
 */
export function mergeFlip(values, joints, width, height, order) {
  const merged = new Float32Array(joints * width * height);
  for (let k = 0; k < joints; k++) {
    for (let y = 0; y < height; y++) {
      const row = (k * height + y) * width;
      const other = ((joints + order[k]) * height + y) * width;
      for (let x = 0; x < width; x++) {
        merged[row + x] = (values[row + x] + values[other + width - 1 - x]) * 0.5;
      }
    }
  }
  return { joints, width, height, values: merged };
}

/** The keypoint that stands in each place of a mirrored picture; pairs: [left, right]. */
export function flipOrder(joints, pairs) {
  const order = Array.from({ length: joints }, (_, k) => k);
  for (const [left, right] of pairs) [order[left], order[right]] = [right, left];
  return order;
}

/** The largest value of a map and its place, the first of equal ones. */
export function peak(map) {
  let at = 0;
  for (let i = 1; i < map.length; i++) if (map[i] > map[at]) at = i;
  return { at, value: map[at] };
}

/** One map's values. */
export function mapOf({ width, height, values }, joint) {
  return values.subarray(joint * width * height, (joint + 1) * width * height);
}

/** A joint's place [x, y] in map pixels: blurred, then one Newton step on the logarithm (DARK). */
export function place(maps, joint, sigma) {
  const { width, height } = maps;
  const blurred = blur(mapOf(maps, joint).map((v) => Math.max(v, 0)), width, height, sigma);
  const { at, value } = peak(blurred);
  if (!(value > 0)) return [0, 0];
  const x = at % width;
  const y = (at - x) / width;
  if (x <= 1 || x >= width - 2 || y <= 1 || y >= height - 2) return [x, y];
  const [dx, dy] = newton((i, j) => Math.log(Math.max(blurred[at + j * width + i], FLOOR)));
  return [x + dx, y + dy];
}

/** The step to the peak of a log map, given by offsets; at most a pixel along each axis. */
function newton(log) {
  const gx = (log(1, 0) - log(-1, 0)) / 2;
  const gy = (log(0, 1) - log(0, -1)) / 2;
  const hxx = (log(2, 0) - 2 * log(0, 0) + log(-2, 0)) / 4;
  const hyy = (log(0, 2) - 2 * log(0, 0) + log(0, -2)) / 4;
  const hxy = (log(1, 1) - log(-1, 1) - log(1, -1) + log(-1, -1)) / 4;
  const over = hxx * hyy - hxy * hxy;
  if (!(over > 1e-12 && hxx < 0)) return [0, 0];
  const held = (step) => Math.min(Math.max(step, -1), 1);
  return [held((hxy * gy - hyy * gx) / over), held((hxy * gx - hxx * gy) / over)];
}

/** A map through a Gaussian filter, its maximum kept as it was; 0 beyond the edges. */
export function blur(map, width, height, sigma) {
  const reach = (rint(sigma * 8 + 1) | 1) >> 1; // OpenCV's, of float images
  const kernel = Array.from({ length: 2 * reach + 1 }, (_, i) => {
    return Math.exp(-((i - reach) ** 2) / (2 * sigma * sigma));
  });
  const total = kernel.reduce((a, b) => a + b);
  const shares = kernel.map((v) => v / total);
  const across = filter(map, width, height, 1, width, shares);
  const both = filter(across, height, width, width, 1, shares);
  const scale = peak(map).value / Math.max(peak(both).value, FLOOR);
  return both.map((v) => v * scale);
}

/** Lines of a length, `step` apart within and `next` from each other, through a kernel. */
function filter(map, length, lines, step, next, kernel) {
  const reach = (kernel.length - 1) / 2;
  const out = new Float32Array(map.length);
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < length; i++) {
      let sum = 0;
      for (let j = Math.max(0, i - reach); j <= Math.min(length - 1, i + reach); j++) {
        sum += kernel[j - i + reach] * map[line * next + j * step];
      }
      out[line * next + i * step] = sum;
    }
  }
  return out;
}
