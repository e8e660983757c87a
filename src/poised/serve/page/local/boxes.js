// A detector's outputs -> people's boxes. The same as boxes/detector.py and boxes/nms.py.

const LEAST_SIDE = 2; // pixels of the picture; smaller boxes are dropped

/** Indices by falling value; of equal ones the later first, as numpy's stable argsort reversed. */
export function bestFirst(values) {
  return Array.from(values, (_, i) => i).sort((i, j) => values[j] - values[i] || j - i);
}

/** Intersection over union of two boxes [x1, y1, x2, y2]. */
export function iou(a, b) {
  const width = Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0]));
  const height = Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return (width * height) / Math.max(area(a) + area(b) - width * height, 1e-12);
}

/** Indices of what to keep, best first: nothing whose likeness(i, j) to a better one is over. */
export function suppress(scores, likeness, threshold) {
  const kept = [];
  for (const one of bestFirst(scores)) {
    if (kept.every((better) => likeness(better, one) <= threshold)) kept.push(one);
  }
  return kept;
}

/** Indices of the boxes to keep, best first; an overlap of just the threshold is kept. */
export function nms(boxes, scores, threshold) {
  return suppress(scores, (i, j) => iou(boxes[i], boxes[j]), threshold);
}

/**
 * People's boxes: [{box: [x, y, width, height], score}], best first, within the picture.
 * scores: (M,), corners: (4 M,) input pixels; notes: the detector's metadata.
 */
export function people(scores, corners, gain, picture, notes) {
  const sides = [picture.width, picture.height, picture.width, picture.height];
  const boxes = [];
  const sure = [];
  scores.forEach((score, i) => {
    if (!(score >= Math.fround(notes.threshold))) return;
    const box = sides.map((side, k) => Math.min(Math.max(corners[4 * i + k] / gain, 0), side));
    if (box[2] - box[0] < LEAST_SIDE || box[3] - box[1] < LEAST_SIDE) return;
    boxes.push(box);
    sure.push(score);
  });
  return nms(boxes, sure, notes.nms).map((i) => {
    const [x1, y1, x2, y2] = boxes[i];
    return { box: [x1, y1, x2 - x1, y2 - y1].map(Math.fround), score: sure[i] };
  });
}
