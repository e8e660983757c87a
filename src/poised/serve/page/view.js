// One picture with one model's people: a canvas on which joints can be pointed at.

import { jointText, paint, shapes, shownPeople } from "./drawing.js";
import { paintHeat } from "./heat.js";

const NEAR = 14; // CSS pixels from a joint
const TALLEST = 0.72; // of the window
const LARGEST = 4; // times that a small picture is enlarged

/** A view: {figure, show(content), redraw()}; tell: called with a joint in words, by the keyboard. */
export function makeView(tip, tell) {
  const figure = document.createElement("figure");
  const canvas = document.createElement("canvas");
  const caption = document.createElement("figcaption");
  figure.append(canvas, caption);
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  let content = null; // {bitmap, image, skeleton, shown, hidden, heat, title}
  let scale = 1; // CSS pixels a picture pixel
  let pointed = null; // {index, joint}

  function redraw() {
    if (!content) return;
    const { bitmap } = content;
    const room = [figure.clientWidth, window.innerHeight * TALLEST];
    scale = Math.min(room[0] / bitmap.width, room[1] / bitmap.height, LARGEST);
    const dense = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(bitmap.width * scale * dense));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale * dense));
    canvas.style.width = `${bitmap.width * scale}px`;
    const context = canvas.getContext("2d");
    context.scale(canvas.width / bitmap.width, canvas.height / bitmap.height);
    paintPicture(context, content);
    if (pointed) ring(context);
  }

  function ring(context) {
    const at = content.image?.people[pointed.index]?.keypoints[pointed.joint];
    if (!at) return;
    context.lineWidth = 3 / scale;
    for (const [colour, radius] of [["#fff", 10], ["#000", 13]]) {
      context.strokeStyle = colour;
      context.beginPath();
      context.arc(at[0] + 0.5, at[1] + 0.5, radius / scale, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  /** Every joint that is drawn: [{index, joint, at}]. */
  function joints() {
    if (!content?.image) return [];
    const { image, skeleton, shown, hidden } = content;
    return shownPeople(image, skeleton, shown, hidden)
      .sort((a, b) => a.index - b.index)
      .flatMap(({ person, index, joints: drawn }) => {
        const each = person.keypoints.map((at, joint) => ({ index, joint, at }));
        return each.filter(({ joint }) => drawn[joint]);
      });
  }

  function point(found) {
    if (found?.index === pointed?.index && found?.joint === pointed?.joint) return;
    pointed = found ?? null;
    tip.hidden = !pointed;
    if (pointed) {
      const box = canvas.getBoundingClientRect();
      tip.textContent = words(pointed);
      const left = box.left + (found.at[0] + 0.5) * scale;
      tip.style.left = `${Math.min(left + 14, window.innerWidth - tip.offsetWidth - 8)}px`;
      tip.style.top = `${box.top + (found.at[1] + 0.5) * scale + 14}px`;
    }
    redraw();
  }

  function words({ index, joint }) {
    return jointText(content.skeleton, content.image.people[index], index, joint);
  }

  canvas.addEventListener("pointermove", (event) => {
    const away = ({ at }) => {
      return Math.hypot((at[0] + 0.5) * scale - event.offsetX, (at[1] + 0.5) * scale - event.offsetY);
    };
    const near = joints().filter((one) => away(one) < NEAR);
    point(near.sort((a, b) => away(a) - away(b))[0]);
  });
  canvas.addEventListener("pointerleave", () => point(null));
  canvas.addEventListener("blur", () => point(null));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") point(null);
    if (!step) return;
    event.preventDefault();
    const all = joints();
    if (!all.length) return;
    const now = all.findIndex((one) => one.index === pointed?.index && one.joint === pointed?.joint);
    const next = now < 0 ? (step > 0 ? 0 : all.length - 1) : (now + step + all.length) % all.length;
    point(all[next]);
    tell(words(all[next]));
  });
  new ResizeObserver(redraw).observe(figure);

  return {
    figure,
    redraw,
    show(wanted) {
      content = wanted;
      pointed = null;
      tip.hidden = true;
      caption.textContent = wanted.title;
      const walk = wanted.image ? " Arrow keys walk through the joints." : "";
      canvas.setAttribute("aria-label", `${wanted.title}.${walk}`);
      redraw();
    },
  };
}

/** The picture, its heatmaps and its people, on a canvas whose units are picture pixels. */
export function paintPicture(context, { bitmap, image, skeleton, shown, hidden, heat }) {
  context.fillStyle = "white"; // under what is transparent, as the models see it
  context.fillRect(0, 0, bitmap.width, bitmap.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0);
  if (!image) return;
  paint(context, shapes(image, skeleton, shown, hidden));
  paintHeat(context, heat); // over the joints, which lie on its peaks
}
