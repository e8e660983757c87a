// The page: pictures come in, the engine finds people, views and the panel show them.

import { cocoJson, csv, png, save, svgFile } from "./downloads.js";
import { models as listModels, predict, where } from "./engine.js";
import { heatOf } from "./heat.js";
import { close, eachFrame, openCamera, openClip } from "./live.js";
import { followTheme, options, personKey, showError, showJoints } from "./panel.js";
import { showPeople, showStrip } from "./panel.js";
import { makeView } from "./view.js";

const byId = (id) => document.getElementById(id);
const state = {
  models: [], // as the engine lists them
  pictures: [], // {name, blob, bitmap, answers: by model, failed: models, hidden: keys of people}
  current: -1,
  frame: null, // of a camera or clip, a picture that comes before all others
  live: 0, // the number of the camera or clip that runs, 0 for none
  shown: { threshold: 0.5, colours: "limbs", hiddenJoints: new Set(), heatmap: "" },
};
const views = [0, 1].map(() => makeView(byId("tip"), say));
let begun = 0; // cameras and clips
let drawn = 0; // calls of `show`, of which the last counts
let working = false;

function say(words) {
  byId("status").textContent = words;
}

const picture = () => state.frame ?? state.pictures[state.current];
const modelOf = (name) => state.models.find((one) => one.name === name);

/** The models that are shown: one, or two side by side. */
function chosen() {
  const [first, second] = [byId("model").value, byId("beside").value];
  return second && second !== first ? [first, second] : [first];
}

/** Add files: pictures to the list, a clip is played. */
async function take(files) {
  for (const file of files) {
    if (file.type.startsWith("video/")) {
      await play((video) => openClip(video, file), file.name);
      continue;
    }
    const name = file.name || "pasted.png";
    const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" }).catch(() => null);
    if (!bitmap) {
      showError(`${name}: not a picture that this browser can show; save it as JPEG or PNG.`);
      continue;
    }
    if (state.live) stop();
    add({ name, blob: file, bitmap, answers: new Map(), failed: new Set(), hidden: new Set() });
  }
}

function add(made) {
  state.pictures.push(made);
  state.current = state.pictures.length - 1;
  show();
  work();
}

/** Find people in what has not been looked at, the picture on show first. */
async function work() {
  if (working) return;
  working = true;
  for (let job = nextJob(); job; job = nextJob()) {
    const [one, model] = job;
    const first = state.pictures.some((other) => other.answers.size) ? "" : "; the first takes longer";
    say(`Looking at ${one.name} with ${model}${first}…`);
    await look(one, model).catch((error) => {
      one.failed.add(model);
      showError(error.message);
      say(`${one.name}: no poses by ${model}.`);
    });
    if (one === picture()) await show();
  }
  working = false;
  await show(); // says what was found, where the last was looked at out of sight
}

function nextJob() {
  const order = [state.pictures[state.current], ...state.pictures].filter(Boolean);
  for (const one of order) {
    const model = chosen().find((name) => !one.failed.has(name) && lacks(one, name));
    if (model) return [one, model];
  }
  return null;
}

/** Whether a picture was not looked at, or not for its heatmaps, which are now wanted. */
function lacks(one, model) {
  const answer = one.answers.get(model);
  const wanted = state.shown.heatmap !== "" && one === picture();
  return !answer || (wanted && answer.people.some((person) => !person.heatmaps));
}

async function look(one, model) {
  const heatmaps = state.shown.heatmap !== "";
  const { images, seconds } = await predict(one.blob, model, { name: one.name, heatmaps });
  one.answers.set(model, { ...images[0], file_name: one.name, seconds });
}

/** What a view shows of a picture with a model; without people while they are looked for. */
async function contentOf(one, model) {
  const { skeleton } = modelOf(model);
  const image = one.answers.get(model) ?? null;
  const joint = skeleton.keypoints.indexOf(state.shown.heatmap);
  const hidden = (index) => one.hidden.has(personKey(model, index));
  const people = image?.people.filter((_, index) => !hidden(index)) ?? [];
  const heat = joint < 0 ? [] : await heatOf(people, joint);
  const title = `${one.name}: ${summary(one, model)}`;
  return { bitmap: one.bitmap, image, skeleton, shown: state.shown, hidden, heat, title, model };
}

function summary(one, model) {
  const answer = one.answers.get(model);
  if (!answer) return one.failed.has(model) ? `no poses by ${model}` : `waiting for ${model}`;
  const count = answer.people.length;
  const who = count === 1 ? "1 person" : `${count || "no"} people`;
  return `${who} by ${model} in ${answer.seconds.toFixed(2)} s`;
}

/** Draw everything anew. */
async function show() {
  const now = ++drawn;
  const one = picture();
  const names = chosen();
  byId("empty").hidden = Boolean(one);
  byId("views").hidden = byId("panel").hidden = !one;
  showStrip(state.pictures, state.frame ? -1 : state.current, choosePicture);
  if (!one) return;
  const contents = await Promise.all(names.map((name) => contentOf(one, name)));
  if (now !== drawn) return; // something newer is on its way
  byId("views").replaceChildren(...views.slice(0, names.length).map((view) => view.figure));
  contents.forEach((content, i) => views[i].show(content));
  showControls(one, names);
  const done = names.every((name) => one.answers.has(name) || one.failed.has(name));
  if (done && !working) {
    say(`${one.name}: ${names.map((name) => summary(one, name)).join("; ")}.`);
  }
}

function showControls(one, names) {
  const answers = names.filter((name) => one.answers.has(name));
  const listed = answers.map((model) => ({ model, image: one.answers.get(model) }));
  const toggle = (set) => (key, on) => {
    if (on) set.delete(key);
    else set.add(key);
    show();
  };
  showPeople(listed, one.hidden, toggle(one.hidden));
  const skeletons = names.map((name) => modelOf(name).skeleton);
  const joints = showJoints(skeletons, state.shown.hiddenJoints, toggle(state.shown.hiddenJoints));
  if (!joints.includes(state.shown.heatmap)) state.shown.heatmap = "";
  const words = joints.map((name) => [name, name.replaceAll("_", " ")]);
  options(byId("heatmap"), [["", "none"], ...words], state.shown.heatmap);
  const whose = byId("whose").value;
  byId("whose-row").hidden = names.length < 2;
  options(byId("whose"), names.map((name) => [name, name]), names.includes(whose) ? whose : names[0]);
  for (const id of ["png", "svg", "coco", "csv"]) byId(id).disabled = !answers.length;
}

function choosePicture(number) {
  if (state.live) stop();
  state.current = number;
  show();
  work();
}

/** Run a camera or a clip until it is stopped. */
async function play(open, name) {
  stop();
  const [video, number] = [byId("video"), ++begun];
  state.live = number;
  byId("live").hidden = false;
  try {
    await open(video);
    await eachFrame(video, () => state.live === number, async ({ blob, bitmap, seconds }) => {
      const title = `${name} ${seconds.toFixed(2)} s`;
      const hidden = state.frame?.hidden ?? new Set();
      const frame = { name: title, blob, bitmap, answers: new Map(), failed: new Set(), hidden };
      for (const model of chosen()) await look(frame, model);
      if (state.live !== number) return;
      state.frame = frame;
      await show();
    });
  } catch (error) {
    if (state.live === number) {
      showError(error.message);
      stop();
    }
  }
}

function stop() {
  if (!state.live) return;
  state.live = 0;
  state.frame = null;
  close(byId("video"));
  byId("live").hidden = true;
  show();
}

/** The results of all pictures by the model whose poses are downloaded. */
function results() {
  const pictures = state.frame ? [...state.pictures, state.frame] : state.pictures;
  return pictures.map((one) => one.answers.get(byId("whose").value)).filter(Boolean);
}

async function download(kind) {
  const model = byId("whose").value;
  const one = picture();
  const content = { ...(await contentOf(one, model)), type: one.blob.type };
  const stem = one.name.replace(/\.[^.]*$/, "");
  if (kind === "png") save(await png(content), `${stem}-poses.png`, "image/png");
  if (kind === "svg") save(await svgFile(content), `${stem}-poses.svg`, "image/svg+xml");
  if (kind === "coco") save(cocoJson(results()), "poses.json", "application/json");
  if (kind === "csv") save(csv(results(), modelOf(model).skeleton), "poses.csv", "text/csv");
}

function listen() {
  byId("choose").onclick = () => byId("files").click();
  byId("clip").onclick = () => byId("clips").click();
  byId("camera").onclick = () => play(openCamera, "camera");
  byId("stop").onclick = stop;
  byId("keep").onclick = () => {
    const kept = state.frame;
    if (!kept) return;
    stop();
    add({ ...kept, name: `${kept.name.replaceAll(" ", "-")}.jpg`, answers: new Map() });
  };
  for (const id of ["files", "clips"]) {
    byId(id).onchange = async ({ target }) => {
      const files = [...target.files];
      target.value = ""; // so that the same file can be chosen again
      await take(files);
    };
  }
  for (const id of ["model", "beside"]) {
    byId(id).onchange = () => {
      state.shown.threshold = modelOf(byId("model").value).threshold;
      showThreshold();
      show();
      work();
    };
  }
  byId("threshold").oninput = ({ target }) => {
    state.shown.threshold = Number(target.value);
    showThreshold();
    show();
  };
  byId("colours").onchange = ({ target }) => {
    state.shown.colours = target.value;
    byId("legend").hidden = target.value !== "limbs";
    show();
  };
  byId("heatmap").onchange = ({ target }) => {
    state.shown.heatmap = target.value;
    show();
    work();
  };
  byId("all-joints").onclick = () => hideJoints([]);
  byId("no-joints").onclick = () => {
    hideJoints(chosen().flatMap((name) => modelOf(name).skeleton.keypoints));
  };
  for (const kind of ["png", "svg", "coco", "csv"]) {
    byId(kind).onclick = () => download(kind).catch((error) => showError(error.message));
  }
  listenToFiles();
}

function hideJoints(names) {
  state.shown.hiddenJoints = new Set(names);
  show();
}

function showThreshold() {
  const { threshold } = state.shown;
  byId("threshold").value = threshold;
  byId("threshold-value").textContent = threshold.toFixed(2);
}

/** Files that are dropped anywhere, or pasted. */
function listenToFiles() {
  const over = (on) => document.body.classList.toggle("over", on);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  document.addEventListener("dragleave", (event) => over(event.relatedTarget !== null));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    take([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => take([...event.clipboardData.files]));
}

async function begin() {
  followTheme(byId("theme"));
  byId("where").textContent = where;
  const { models, default: usual } = await listModels();
  state.models = models;
  state.shown.threshold = modelOf(usual).threshold;
  const pairs = models.map(({ name }) => [name, name]);
  options(byId("model"), pairs, usual);
  options(byId("beside"), [["", "none"], ...pairs], "");
  showThreshold();
  listen();
  say("Ready.");
}

begin().catch((error) => {
  say("Not ready.");
  showError(error.message);
});
