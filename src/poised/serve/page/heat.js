// Heatmaps over the picture: each person's map of a joint, laid where its crop was cut out.

const decoded = new WeakMap(); // by a person's heatmaps, promises of grey levels

/** What `paintHeat` draws of a joint: [{canvas, to_image}], a person each. */
export async function heatOf(people, joint) {
  const having = people.filter((person) => person.heatmaps);
  return Promise.all(
    having.map(async ({ heatmaps }) => {
      return { canvas: coloured(await levels(heatmaps), heatmaps, joint), ...heatmaps };
    }),
  );
}

/** Draw them on a canvas whose units are picture pixels. */
export function paintHeat(context, maps) {
  for (const { canvas, to_image: [[a, b, c], [d, e, f]] } of maps) {
    context.save();
    context.transform(a, d, b, e, c + 0.5, f + 0.5);
    context.drawImage(canvas, -0.5, -0.5); // a cell's centre is at its whole number
    context.restore();
  }
}

function levels(heatmaps) {
  if (!decoded.has(heatmaps)) decoded.set(heatmaps, read(heatmaps.png));
  return decoded.get(heatmaps);
}

/** The grey levels of a PNG in base64. */
async function read(base64) {
  const bytes = Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));
  const options = { colorSpaceConversion: "none" };
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }), options);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  return data.filter((_, i) => i % 4 === 0);
}

/** One joint's map: nothing where it is 0, then red, then yellow. */
function coloured(grey, { width, height }, joint) {
  const shown = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    const level = grey[joint * width * height + i] / 255;
    shown.data.set([255, 40 + 200 * level, 30, 230 * level ** 0.6], 4 * i);
  }
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(shown, 0, 0);
  return canvas;
}
