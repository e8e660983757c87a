// The engine that asks the server: docs/page.md has its form, the server's /openapi.json all of it.

/** What becomes of pictures. */
export const where = "Pictures go to the server of this page, which keeps none.";

/** What the server can run: {models: [...], default}. */
export async function models() {
  return answer(await asked("v1/models"));
}

/**
 * The poses in a picture, as POST /v1/predict gives them.
 * blob: an image file; name: what it is called; model: a name; heatmaps: whether to send them.
 * Throws an Error whose message can be shown.
 */
export async function predict(blob, model, { name = "picture", heatmaps = false } = {}) {
  const form = new FormData();
  form.append("image", blob, name);
  form.append("model", model);
  if (heatmaps) form.append("heatmaps", "true");
  return answer(await asked("v1/predict", { method: "POST", body: form }));
}

async function asked(path, options) {
  try {
    return await fetch(path, options);
  } catch {
    throw new Error("the server does not answer: is `poised serve` still running?");
  }
}

async function answer(response) {
  const text = await response.text();
  let found = null;
  try {
    found = JSON.parse(text);
  } catch {
    throw new Error(`the server answers ${response.status} without JSON; look into its log`);
  }
  if (response.ok) return found;
  const wait = response.headers.get("Retry-After");
  const again = wait ? ` Try again in ${wait} s.` : "";
  throw new Error(`${found.error ?? `the server answers ${response.status}`}${again}`);
}
