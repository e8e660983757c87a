// Results as files: PNG and SVG as shown, COCO JSON and CSV of everybody, as docs/formats.md.

import { shapes, svg } from "./drawing.js";
import { paintPicture } from "./view.js";

const round = (value, digits) => Number(value.toFixed(digits));

/** One COCO results object a person; images: as the API gives them, in order. */
export function records(images) {
  return images.flatMap((image, number) => {
    return image.people.map((person) => ({
      file_name: image.file_name,
      image_id: number + 1,
      category_id: 1,
      bbox: person.bbox.map((value) => round(value, 2)),
      box_score: round(person.box_score, 4),
      score: round(person.score, 4),
      keypoints: person.keypoints.flatMap(([x, y, sure]) => {
        return [round(x, 2), round(y, 2), round(sure, 4)];
      }),
    }));
  });
}

/** COCO's JSON, an object a line. */
export function cocoJson(images) {
  const lines = records(images).map((record) => `\n${JSON.stringify(record)}`);
  return `[${lines.join(",")}\n]\n`;
}

/** A row a person, a column for each number. */
export function csv(images, skeleton) {
  const points = skeleton.keypoints.flatMap((name) => [`${name}_x`, `${name}_y`, `${name}_score`]);
  const box = ["box_x", "box_y", "box_width", "box_height", "box_score", "score"];
  const rows = records(images).map((one) => {
    return [one.file_name, one.image_id, ...one.bbox, one.box_score, one.score, ...one.keypoints];
  });
  const lines = [["file_name", "image_id", ...box, ...points], ...rows];
  return lines.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

function cell(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** The picture as shown, in its own pixels; content: a view's. */
export function png(content) {
  return encoded(content.bitmap, "image/png", (context) => paintPicture(context, content));
}

/** The same with lines and discs that stay sharp, and name their joint where pointed at. */
export async function svgFile(content) {
  const { bitmap, image, skeleton, shown, hidden, type } = content;
  const kind = type === "image/jpeg" ? type : "image/png";
  const under = await encoded(bitmap, kind, (context) => {
    paintPicture(context, { ...content, hidden: () => true });
  });
  return svg(image, shapes(image, skeleton, shown, hidden), await asAddress(under));
}

function encoded({ width, height }, type, draw) {
  const canvas = new OffscreenCanvas(width, height);
  draw(canvas.getContext("2d"));
  return canvas.convertToBlob({ type, quality: 0.92 });
}

function asAddress(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** Hand a file to the browser's downloads. */
export function save(content, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // after the browser has read it
}
