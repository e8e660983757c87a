// The side panel: what of a picture is shown, as boxes to tick, and lists to choose from.

import { side } from "./drawing.js";

const byId = (id) => document.getElementById(id);

/** Fill a select with [value, text] pairs and choose one. */
export function options(select, pairs, chosen) {
  select.replaceChildren(...pairs.map(([value, text]) => new Option(text, value)));
  select.value = chosen;
}

/** The joints, a box each; change(name, on). */
export function showJoints(skeletons, hidden, change) {
  const names = [...new Set(skeletons.flatMap((skeleton) => skeleton.keypoints))];
  const boxes = names.map((name) => {
    const box = tick(name.replaceAll("_", " "), !hidden.has(name), (on) => change(name, on));
    const paired = skeletons.some((one) => side(one, one.keypoints.indexOf(name)) !== "middle");
    if (!paired) box.classList.add("alone"); // so that left and right stand side by side
    return box;
  });
  replaceBoxes(byId("joints"), boxes);
  return names;
}

/** The people of each model's answer, a box each; change(key, on), keys as `personKey` has them. */
export function showPeople(answers, hidden, change) {
  const boxes = answers.flatMap(({ model, image }) => {
    const title = answers.length > 1 ? [heading(model)] : [];
    const people = image.people.map((person, index) => {
      const key = personKey(model, index);
      const words = `Person ${index + 1} (${person.score.toFixed(2)})`;
      return tick(words, !hidden.has(key), (on) => change(key, on));
    });
    return [...title, ...(people.length ? people : [heading("nobody was found")])];
  });
  replaceBoxes(byId("people"), boxes);
}

/** A person among a picture's answers. */
export const personKey = (model, index) => `${model} ${index}`;

/** Keep the legend; what has the focus keeps it, by its words. */
function replaceBoxes(fieldset, boxes) {
  const words = fieldset.contains(document.activeElement)
    ? document.activeElement.parentElement.textContent
    : null;
  fieldset.replaceChildren(fieldset.querySelector("legend"), ...boxes);
  boxes.find((box) => box.textContent === words)?.querySelector("input")?.focus();
}

function tick(words, on, change) {
  const label = document.createElement("label");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.checked = on;
  box.addEventListener("change", () => change(box.checked));
  label.className = "tick";
  label.append(box, words);
  return label;
}

function heading(words) {
  const line = document.createElement("p");
  line.className = "note";
  line.textContent = words;
  return line;
}

/** A line in the list of errors, which its button takes away. */
export function showError(message) {
  const line = document.createElement("p");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "small";
  button.textContent = "Dismiss";
  button.addEventListener("click", () => line.remove());
  line.append(message, " ", button);
  byId("errors").append(line);
}

/** The strip of pictures, a button each; choose(number). */
export function showStrip(pictures, current, choose) {
  const strip = byId("strip");
  strip.hidden = pictures.length < 2;
  while (strip.children.length > pictures.length) strip.lastChild.remove();
  pictures.forEach((picture, number) => {
    const item = strip.children[number] ?? strip.appendChild(thumbnail(picture, number, choose));
    item.firstChild.setAttribute("aria-current", number === current ? "true" : "false");
  });
}

function thumbnail({ name, bitmap }, number, choose) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  const canvas = document.createElement("canvas");
  canvas.height = 128;
  canvas.width = Math.min(256, Math.round((bitmap.width * canvas.height) / bitmap.height));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  button.type = "button";
  button.setAttribute("aria-label", name);
  button.title = name;
  button.append(canvas);
  button.addEventListener("click", () => choose(number));
  item.append(button);
  return item;
}

/** Light, dark, or as the system has it; kept for the next visit where the browser lets us. */
export function followTheme(select) {
  const kept = () => {
    try {
      return localStorage.getItem("theme") ?? "";
    } catch {
      return "";
    }
  };
  const wear = (theme) => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  };
  select.value = kept();
  wear(select.value);
  select.addEventListener("change", () => {
    wear(select.value);
    try {
      localStorage.setItem("theme", select.value);
    } catch {
      // a browser that keeps nothing
    }
  });
}
