// How sure a joint and a pose are, and which of two poses alike to keep. The same as scores.py.

import { suppress } from "./boxes.js";
import { mapOf, peak } from "./maps.js";

const COCO_SHARE = 0.53; // of a box, that COCO's people fill in the mean
const COUNTED = 0.2; // a keypoint score above which it counts in a pose's

/**
 * A pose's joint scores and its quality, by maps that are chances times 2 pi sigma^2.
 * places: [x, y] map pixels each; sides: the box's [width, height] in map pixels; sigmas: OKS's.
 */
export function chances(maps, places, sides, sigma, sigmas) {
  const half = (Math.sqrt(Math.PI) / 2) * 0.1 * Math.max(...sides);
  const unit = 2 * Math.PI * sigma * sigma;
  const near = (away) => Math.min(Math.max(half + 0.5 - Math.abs(away), 0), 1);
  const scores = [];
  let alike = 0;
  let there = 0;
  places.forEach((place, joint) => {
    const tolerance = 2 * sigmas[joint] * Math.sqrt(COCO_SHARE * sides[0] * sides[1]);
    const similar = (away) => Math.exp(-0.5 * (away / tolerance) ** 2);
    const close = within(maps, joint, place, near) / unit;
    scores.push(Math.fround(Math.min(Math.max(close, 0), 1)));
    alike += within(maps, joint, place, similar) / unit;
    there += mapOf(maps, joint).reduce((sum, value) => sum + value, 0) / unit;
  });
  return { scores, quality: Math.fround(alike / (there + 1)) };
}

/** The same by maps that are no chances: each map's maximum, and the mean of those that count. */
export function heights(maps) {
  const scores = Array.from({ length: maps.joints }, (_, joint) => {
    return Math.min(Math.max(peak(mapOf(maps, joint)).value, 0), 1);
  });
  const counted = scores.filter((score) => score > COUNTED);
  const total = counted.reduce((sum, score) => sum + score, 0);
  return { scores, quality: Math.fround(total / Math.max(counted.length, 1)) };
}

/** The sum of a map, its columns and rows weighted by how far they are from a place. */
function within({ width, height, values }, joint, [x, y], weight) {
  const across = Array.from({ length: width }, (_, column) => weight(column - x));
  let total = 0;
  for (let row = 0; row < height; row++) {
    const start = (joint * height + row) * width;
    let sum = 0;
    for (let column = 0; column < width; column++) sum += values[start + column] * across[column];
    total += sum * weight(row - y);
  }
  return total;
}

/** Object keypoint similarity of two poses [[x, y], ...], the mean of their areas taken. */
export function oks(a, b, areaA, areaB, sigmas) {
  const area = (areaA + areaB) / 2 + Number.EPSILON;
  const each = sigmas.map((sigma, k) => {
    const squared = (a[k][0] - b[k][0]) ** 2 + (a[k][1] - b[k][1]) ** 2;
    return Math.exp(-squared / (2 * sigma) ** 2 / area / 2);
  });
  return each.reduce((sum, value) => sum + value, 0) / each.length;
}

/** Indices of the poses to keep: the best, none whose OKS to it is over the threshold, and so on. */
export function oksNms(poses, areas, scores, sigmas, threshold) {
  const likeness = (i, j) => oks(poses[i], poses[j], areas[i], areas[j], sigmas);
  return suppress(scores, likeness, threshold);
}
