// Pictures -> what networks are fed: letterboxed, or cut out by an affine matrix.
// A picture is {width, height, data}, RGBA bytes in rows, as a canvas gives them. (0, 0) is the
// centre of the top-left pixel; x before y. The same as boxes/letterbox.py and crops.py.

/** The nearest whole number, the even one of two: as numpy and Python round. */
export function rint(value) {
  const low = Math.floor(value);
  const rest = value - low;
  if (rest !== 0.5) return rest < 0.5 ? low : low + 1;
  return low % 2 === 0 ? low : low + 1;
}

/**
 * The whole picture in the top left corner of a tensor (3, height, width), mean and grey beyond.
 * size: [width, height]. Returns the tensor and its scale: picture point = point / gain.
 */
export function letterbox(picture, size, mean, std) {
  const [width, height] = size;
  const gain = Math.min(width / picture.width, height / picture.height);
  const inside = [picture.width, picture.height].map((side) => Math.max(1, rint(side * gain)));
  const shown = resize(picture, inside[0], inside[1]);
  const tensor = new Float32Array(3 * width * height); // what is beyond is the mean, which is 0
  for (let y = 0; y < inside[1]; y++) {
    for (let x = 0; x < inside[0]; x++) {
      for (let c = 0; c < 3; c++) {
        const value = shown[3 * (y * inside[0] + x) + c];
        tensor[(c * height + y) * width + x] = (value - mean[c]) / std[c];
      }
    }
  }
  return { tensor, gain };
}

/** RGB bytes (height, width, 3) of a picture: the mean of what a pixel covers, or bilinear. */
export function resize(picture, width, height) {
  const { data } = picture;
  const across = taps(picture.width, width);
  const down = taps(picture.height, height);
  const out = new Uint8Array(3 * width * height);
  const sums = new Float32Array(3 * width);
  const row = new Float32Array(3 * width);
  let made = -1; // the source row that `row` holds
  for (let y = 0; y < height; y++) {
    sums.fill(0);
    for (const [from, share] of down[y]) {
      if (from !== made) {
        shrinkRow(data, 4 * from * picture.width, across, row);
        made = from;
      }
      for (let i = 0; i < sums.length; i++) sums[i] += share * row[i];
    }
    for (let i = 0; i < sums.length; i++) out[3 * y * width + i] = rint(sums[i]);
  }
  return out;
}

function shrinkRow(data, start, across, row) {
  for (let x = 0; x < across.length; x++) {
    let red = 0;
    let green = 0;
    let blue = 0;
    for (const [from, share] of across[x]) {
      const at = start + 4 * from;
      red += share * data[at];
      green += share * data[at + 1];
      blue += share * data[at + 2];
    }
    row.set([red, green, blue], 3 * x);
  }
}

/** Which pixels of a side make each of the new ones: lists of [pixel, share], shares add up to 1. */
function taps(side, wanted) {
  const step = side / wanted;
  return Array.from({ length: wanted }, (_, place) => {
    if (step <= 1) return between((place + 0.5) * step - 0.5, side);
    const low = place * step;
    const high = Math.min(low + step, side);
    const found = [];
    for (let pixel = Math.floor(low); pixel < high; pixel++) {
      const covered = Math.min(pixel + 1, high) - Math.max(pixel, low);
      if (covered > 1e-3) found.push([pixel, covered / (high - low)]); // as OpenCV leaves them out
    }
    return found;
  });
}

function between(at, side) {
  const low = Math.floor(at);
  const part = at - low;
  const held = (pixel) => Math.min(Math.max(pixel, 0), side - 1);
  return [[held(low), 1 - part], [held(low + 1), part]];
}

/**
 * Image -> crop matrix [[a, b, c], [d, e, f]] of a box [x, y, width, height], unbiased.
 * The box grows to the crop's shape, then by `padding`; size: [width, height] of the crop.
 */
export function cropMatrix(box, size, padding) {
  const [x, y, width, height] = box;
  const gain = size[0] / (Math.max(width, (height * size[0]) / size[1]) * padding);
  const shift = (side, low, extent) => (side - 1) / 2 - gain * (low + (extent - 1) / 2);
  return [[gain, 0, shift(size[0], x, width)], [0, gain, shift(size[1], y, height)]];
}

/** The inverse of an affine matrix (2, 3). */
export function invert([[a, b, c], [d, e, f]]) {
  const over = a * e - b * d;
  const linear = [[e / over, -b / over], [-d / over, a / over]];
  return linear.map(([p, q]) => [p, q, -(p * c + q * f)]);
}

/** A point through a matrix (2, 3). */
export function apply([[a, b, c], [d, e, f]], x, y) {
  return [a * x + b * y + c, d * x + e * y + f];
}

/** A box whose sides are `factor` times as long, about the same middle. */
export function grown([x, y, width, height], factor) {
  const more = (factor - 1) / 2;
  return [x - width * more, y - height * more, width * factor, height * factor];
}

/**
 * One crop, RGB bytes (height, width, 3), by its matrix: bilinear, black beyond the picture.
 * inside: a box of the picture; what lies outside of it is black, too. null: none.
 */
export function cut(picture, matrix, size, inside = null) {
  const [low, high] = limits(picture, inside);
  const [[a, b, c], [d, e, f]] = invert(matrix);
  const out = new Uint8Array(3 * size[0] * size[1]);
  for (let row = 0, at = 0; row < size[1]; row++) {
    for (let column = 0; column < size[0]; column++, at += 3) {
      const x = a * column + b * row + c;
      const y = d * column + e * row + f;
      if (x <= low[0] - 1 || y <= low[1] - 1 || x >= high[0] || y >= high[1]) continue;
      sample(picture, x, y, low, high, out, at);
    }
  }
  return out;
}

/** The first pixel and the one after the last, [x, y] each, that a crop may show. */
function limits(picture, inside) {
  const sides = [picture.width, picture.height];
  if (inside === null) return [[0, 0], sides];
  const low = sides.map((side, i) => Math.min(Math.max(rint(inside[i]), 0), side - 1));
  const end = sides.map((side, i) => Math.min(rint(inside[i] + inside[i + 2]), side));
  return [low, end.map((value, i) => Math.max(value, low[i] + 1))];
}

function sample({ width, data }, x, y, low, high, out, at) {
  const left = Math.floor(x);
  const top = Math.floor(y);
  let red = 0;
  let green = 0;
  let blue = 0;
  for (let j = 0; j < 2; j++) {
    if (top + j < low[1] || top + j >= high[1]) continue;
    for (let i = 0; i < 2; i++) {
      if (left + i < low[0] || left + i >= high[0]) continue;
      const share = (i ? x - left : 1 - x + left) * (j ? y - top : 1 - y + top);
      const from = 4 * ((top + j) * width + left + i);
      red += share * data[from];
      green += share * data[from + 1];
      blue += share * data[from + 2];
    }
  }
  out[at] = rint(red);
  out[at + 1] = rint(green);
  out[at + 2] = rint(blue);
}

/** A crop's bytes and their mirror image, normalised, as one tensor (2, 3, height, width). */
export function bothWays(crop, size, mean, std) {
  const [width, height] = size;
  const plane = width * height;
  const tensor = new Float32Array(6 * plane);
  for (let c = 0; c < 3; c++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const value = (crop[3 * (y * width + x) + c] - mean[c]) / std[c];
        tensor[c * plane + y * width + x] = value;
        tensor[(3 + c) * plane + y * width + width - 1 - x] = value;
      }
    }
  }
  return tensor;
}
