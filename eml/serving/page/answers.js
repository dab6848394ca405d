// An answer as the page draws it.

import { bar, count, element, frame, isNumber, percent } from "./draw.js";
import { request } from "./server.js";

/** Return what an answer says, in words: title, sentences, probability and whether it counts as unknown. */
export function wordsOf(answer) {
  const { label, probability, runner_up: second, runner_up_probability: its, cosine, unknown } = answer;
  const near = isNumber(cosine) ? ` (cosine ${cosine.toFixed(3)})` : "";
  if (label === null || label === undefined) return { title: "No class", text: answer.reason || "", probability: null };
  const or = second ? ` The next is ${second}${isNumber(its) ? `, ${percent(its)}` : ""}.` : "";
  if (unknown) {
    const sure = isNumber(probability) ? `, with ${percent(probability)}` : near;
    return { title: "Unknown", text: `Of none of the classes, or not sure enough. Most like ${label}${sure}.${or}`, probability, unknown };
  }
  if (!isNumber(probability)) {
    const text = `Its nearest image is of this class${near}. How sure that is, is not known: the index has no calibration.`;
    return { title: label, text: text + or, probability: null };
  }
  return { title: label, text: `Right with a probability of ${percent(probability)}.${or}`, probability };
}

/** Return one line on an answer, for those who hear the page. */
export function spoken(name, answer) {
  if (answer.problem) return `${name}: ${answer.problem.message || answer.problem}`;
  if (!answer.classified) return `${name}: ${count(answer.neighbours.length, "similar image")}`;
  const { title, text } = wordsOf(answer.classified);
  return `${name}: ${title}. ${text}`;
}

/** Fill an article with an answer of an index. */
export function drawAnswer(parts, answer) {
  parts.text.replaceChildren();
  parts.beside.replaceChildren();
  if (answer.problem) return drawProblem(parts, answer.problem.message || String(answer.problem));
  if (answer.classified) {
    const words = wordsOf(answer.classified);
    parts.article.classList.toggle("unknown", Boolean(words.unknown));
    parts.text.append(element("h3", { class: "name" }, words.title));
    if (isNumber(words.probability)) parts.text.append(bar(words.probability));
    parts.text.append(element("p", { class: "words name" }, words.text));
  } else {
    parts.text.append(element("h3", { class: "name" }, parts.name));
  }
  parts.beside.append(neighbours(answer.neighbours));
  const facts = [`model ${answer.model}`, `the index after ${count(answer.generation, "change")}`, `${answer.seconds.toFixed(2)} s`];
  parts.beside.append(element("p", { class: "facts" }, facts.join(" · ")));
}

/** Fill an article with the embedding of an image, where there is no index. */
export function drawEmbedding(parts, embedding, model, seconds, others) {
  const near = others.map(({ name, vector }) => ({ name, cosine: dot(vector, embedding) })).sort((a, b) => b.cosine - a.cosine)[0];
  const text = near ? `Of the other images here it is most like ${near.name}, with a cosine of ${near.cosine.toFixed(3)}.` : "A second image here is compared with it.";
  const save = element("a", { download: `${parts.name}.json` }, "Save the embedding");
  save.href = URL.createObjectURL(new Blob([JSON.stringify(embedding)], { type: "application/json" }));
  parts.links.push(save.href);
  parts.text.replaceChildren(
    element("h3", {}, `${count(embedding.length, "number")}`),
    element("p", { class: "words name" }, text),
    element("p", {}, save),
  );
  parts.beside.replaceChildren(element("p", { class: "facts" }, `model ${model} · ${seconds.toFixed(2)} s`));
}

const dot = (one, two) => one.reduce((sum, value, place) => sum + value * two[place], 0);

/** Fill an article with a problem; `again`: what a button to try again does. */
export function drawProblem(parts, text, again = null) {
  parts.beside.replaceChildren();
  parts.text.replaceChildren(element("h3", {}, "No answer"), element("p", { class: "words problem name" }, text));
  if (again) {
    const button = element("button", { type: "button" }, "Try again");
    button.addEventListener("click", again);
    parts.text.append(button);
  }
}

/** Return the list of an answer's neighbours. */
function neighbours(images) {
  if (!images.length) return element("p", { class: "quiet" }, "No image fits the options.");
  const list = element("ol", { class: "near", "aria-label": "Similar images, the nearest first" });
  for (const image of images) {
    const label = image.label || "no label", cosine = `cosine\u00a0${image.cosine.toFixed(3)}`;
    const sure = isNumber(image.probability) ? `${percent(image.probability)}, ` : "";
    const name = image.file_name || `image ${image.id}`;
    const small = frame(`${label}, ${name}`, () => `${label} · ${sure}${cosine} · ${name}`);
    const caption = element("div", { class: "caption", title: name }, element("b", { class: "name" }, label));
    if (sure) caption.append(bar(image.probability));
    caption.append(sure, element("span", { class: "quiet" }, cosine));
    list.append(element("li", {}, small.button, caption));
    show(small, image.id);
  }
  return list;
}

/** Show the thumbnail of an image of the index; an address alone would not carry the key. */
async function show(small, id) {
  try {
    const response = await request(`v1/images/${Number(id)}/thumbnail`);
    small.show(URL.createObjectURL(await response.blob()));
  } catch (error) {
    small.fail(error.status === 404 ? "the server has no file of this image" : error.message);
  }
}
