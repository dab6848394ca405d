// The page: takes images and texts, asks the server, and lists the answers.

import { drawAnswer, drawEmbedding, drawProblem, spoken } from "./answers.js";
import { byId, count, element, frame, say, size } from "./draw.js";
import { ask, key, request } from "./server.js";

const AT_ONCE = 3; // requests: a browser opens six connections, and thumbnails need some
let served = null; // what the server says of itself to everybody
let running = 0;
const waiting = [];
const early = []; // files that were taken before the server said what it is
const embedded = []; // {article, name, vector}, of a server without an index

/** Wait until there is a key that the server knows. */
const keys = {
  waiting: [],
  needed(message) {
    byId("key-form").hidden = false;
    byId("ask").hidden = true;
    byId("main").ariaBusy = "false";
    say("key-problem", message);
    byId("key").focus();
    return new Promise((done) => this.waiting.push(done));
  },
  given() {
    byId("key-form").hidden = true;
    byId("ask").hidden = false;
    byId("forget-part").hidden = !key.get();
    byId("main").ariaBusy = "false";
    if (early.length) take(early.splice(0));
    for (const done of this.waiting.splice(0)) done();
  },
};

async function begin() {
  say("server-problem", "");
  try {
    served = await ask("page/facts", {}, (error, left) => say("server-problem", error ? `${error.message} Asked again in ${left} s.` : ""));
  } catch (error) {
    say("server-problem", `${error.message} `);
    const again = element("button", { type: "button" }, "Try again");
    again.addEventListener("click", begin);
    byId("server-problem").append(again);
    return;
  }
  for (const id of ["options", "text-form"]) byId(id).hidden = true;
  byId("docs-part").hidden = !served.has_docs;
  byId("options").hidden = !served.has_index;
  byId("text-form").hidden = !(served.has_index && served.takes_text);
  if (served.needs_key && !key.get()) await keys.needed("");
  while (!(await readFacts())) await keys.needed("The server does not know this key.");
  keys.given();
}

/** Show what is served. Returns false where the key is not known. */
async function readFacts() {
  try {
    const facts = await ask(served.has_index ? "v1/index" : "v1/models");
    served.has_index ? describeIndex(facts) : describeModel(facts);
    return true;
  } catch (error) {
    if (error.status === 401) return key.forget(), false;
    say("server-problem", error.message);
    return true;
  }
}

function describeIndex(facts) {
  if (facts.name) {
    byId("title").textContent = facts.name;
    document.title = `${facts.name}: ask with an image`;
  }
  const lines = [count(facts.images, "image"), `of ${count(facts.classes, "class", "classes")}`];
  byId("lead").textContent = `Drop a photo and see which of ${lines.join(" ")} it is most like.`;
  const columns = Object.keys(facts.columns || {});
  say("where-help", columns.length ? `A condition on ${columns.slice(0, 12).join(", ")}${columns.length > 12 ? " …" : ""}, such as label == 'mug'.` : "");
  const calibrated = facts.is_calibrated ?? facts.calibrated;
  say("facts", calibrated ? "" : `The index has no calibration, so answers have no probabilities and nothing counts as unknown. Both come with eml calibrate ${facts.name} --data TABLE --far 0.05, then eml index calibrate ${facts.name}, while the server runs; TABLE is a table or folder of labelled images.`);
}

function describeModel(models) {
  const model = (models.data || [])[0] || {};
  if (model.id) byId("title").textContent = model.id;
  byId("lead").textContent = "This server has a model and no index: it turns an image into numbers, its embedding, and has no images to compare it with. For answers, make an index with eml index build and serve its folder.";
}

/** Take files that were dropped, pasted, chosen or photographed. */
function take(files) {
  const images = [...files];
  if (!images.length || byId("ask").hidden) return;
  if (byId("main").ariaBusy === "true") {
    early.push(...images);
    say("status", `${count(early.length, "image")} will be asked about when the server has answered`);
    return;
  }
  for (const file of images.reverse()) {
    const name = file.name || "pasted image";
    const parts = newArticle(name);
    const shown = frame(name, () => name);
    const source = URL.createObjectURL(file);
    parts.links.push(source);
    shown.show(source);
    parts.query.append(shown.button, element("figcaption", { class: "name" }, name));
    const most = served.limits.image_bytes;
    if (file.size > most) {
      drawProblem(parts, `The file has ${size(file.size)}; this server takes at most ${size(most)} of one image.`);
      say("status", `${name}: too large`);
      continue;
    }
    const run = () => served.has_index ? answerImage(parts, file) : embedImage(parts, file);
    enqueue(parts, run);
  }
}

/** Add an empty answer at the top of the list. */
function newArticle(name) {
  const parts = { name, links: [], gone: false };
  parts.query = element("figure", { class: "query" });
  parts.text = element("div", { class: "text" });
  parts.beside = element("div", { class: "beside" });
  const away = element("button", { type: "button", class: "away", "aria-label": `Remove the answer of ${name}` }, "✕");
  parts.article = element("article", { class: "answer", "aria-label": name }, parts.query, parts.text, parts.beside, away);
  parts.remove = () => {
    parts.gone = true;
    for (const image of parts.article.querySelectorAll("img")) if (image.src.startsWith("blob:")) URL.revokeObjectURL(image.src);
    for (const link of parts.links) URL.revokeObjectURL(link);
    const place = embedded.findIndex((other) => other.article === parts.article);
    if (place >= 0) embedded.splice(place, 1);
    parts.article.remove();
    all.delete(parts);
    byId("answers").hidden = !all.size;
  };
  away.addEventListener("click", () => {
    const next = parts.article.nextElementSibling || parts.article.previousElementSibling;
    parts.remove();
    (next ? next.querySelector(".away") : byId("choose")).focus();
  });
  all.add(parts);
  byId("answers").hidden = false;
  byId("list").prepend(parts.article);
  return parts;
}
const all = new Set();

/** Ask for an answer as soon as fewer than AT_ONCE are under way. */
function enqueue(parts, run) {
  parts.beside.replaceChildren();
  parts.text.replaceChildren(element("p", { class: "waits" }, "Asking"));
  waiting.push({ parts, run });
  next();
}

async function next() {
  if (running >= AT_ONCE || !waiting.length) return;
  const { parts, run } = waiting.shift();
  if (parts.gone) return next();
  running++;
  try {
    await run();
  } catch (error) {
    if (error.status === 401) {
      running--;
      key.forget();
      await keys.needed(error.message);
      return enqueue(parts, run);
    }
    if (!("status" in error)) console.error(error);
    drawProblem(parts, "status" in error ? error.message : "This page failed. Its console says why.", () => enqueue(parts, run));
    say("status", `${parts.name}: ${error.message}`);
  }
  running--;
  next();
}

const waits = (parts) => (error, left) => {
  const text = error ? `${error.message} Asked again in ${left} s` : "Asking";
  parts.text.replaceChildren(element("p", { class: "waits" }, text));
};

/** Return the fields of a search. */
function searchForm() {
  const form = new FormData();
  form.set("k", byId("k").value);
  if (byId("where").value.trim()) form.set("where", byId("where").value.trim());
  if (byId("per-class").checked) form.set("per_class", "true");
  return form;
}

async function answerImage(parts, file) {
  const begun = performance.now();
  const form = searchForm();
  form.set("classify", "true");
  form.append("images", file, parts.name);
  const reply = await ask("v1/search", { method: "POST", body: form }, waits(parts));
  show(parts, reply, begun);
}

async function answerText(parts, text) {
  const begun = performance.now();
  const form = searchForm();
  form.append("text", text);
  show(parts, await ask("v1/search", { method: "POST", body: form }, waits(parts)), begun);
}

function show(parts, reply, begun) {
  if (parts.gone) return;
  const { model, generation, answers } = reply;
  const answer = { ...answers[0], model, generation, seconds: (performance.now() - begun) / 1000 };
  drawAnswer(parts, answer);
  say("status", spoken(parts.name, answer));
}

async function embedImage(parts, file) {
  const begun = performance.now();
  const form = new FormData();
  form.append("images", file, parts.name);
  const { model, fingerprint, data } = await ask("v1/embeddings", { method: "POST", body: form }, waits(parts));
  if (parts.gone) return;
  if (!data[0].embedding) return drawProblem(parts, data[0].error.message);
  const others = embedded.filter((other) => other.article !== parts.article);
  drawEmbedding(parts, data[0].embedding, fingerprint ?? model, (performance.now() - begun) / 1000, others);
  embedded.push({ article: parts.article, name: parts.name, vector: data[0].embedding });
  say("status", `${parts.name}: an embedding of ${count(data[0].embedding.length, "number")}`);
}

function wire() {
  for (const [button, input] of [["choose", "files"], ["camera", "shot"]]) {
    byId(button).addEventListener("click", () => byId(input).click());
    byId(input).addEventListener("change", (event) => {
      take(event.target.files);
      event.target.value = ""; // the same file can be chosen again
    });
  }
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) take(event.clipboardData.files);
  });
  for (const [type, over] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
    document.addEventListener(type, (event) => {
      event.preventDefault();
      byId("drop").classList.toggle("over", over);
      if (type === "drop") take(event.dataTransfer.files);
    });
  }
  if (matchMedia("(pointer: coarse)").matches) {
    byId("drop-text").textContent = "Ask with a photo";
    byId("drop-more").textContent = "from the camera or the gallery";
  }
  byId("text-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = byId("text").value.trim();
    if (!text) return;
    const parts = newArticle(`“${text}”`);
    parts.query.append(element("div", { class: "frame words-query" }, `“${text}”`));
    enqueue(parts, () => answerText(parts, text));
  });
  byId("key-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = byId("key").value.trim();
    if (!text) return;
    say("key-problem", "");
    try {
      await request(served.has_index ? "v1/index" : "v1/models", { own: text });
    } catch (error) {
      say("key-problem", error.status === 401 ? "The server does not know this key." : error.message);
      byId("key").select();
      return;
    }
    key.set(text);
    byId("key").value = "";
    keys.given();
    byId("choose").focus();
  });
  byId("forget").addEventListener("click", () => {
    key.forget();
    location.reload();
  });
  byId("clear").addEventListener("click", () => {
    for (const parts of [...all]) parts.remove();
    byId("choose").focus();
  });
}

wire();
begin();
