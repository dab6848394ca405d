// Elements of the page. What comes from the server or a file is put in as text alone, never as HTML.

/** Return an element. `attributes`: of this script, never from data but for `alt`, `title` and `aria-label`. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

export const byId = (id) => document.getElementById(id);

/** Show a text in an element, which is hidden where the text is empty. */
export function say(id, text) {
  byId(id).textContent = text;
  byId(id).hidden = !text;
}

/** Return a probability as percent: one digit near 0 and 1, 100 % only where it is exact. */
export function percent(probability) {
  const value = 100 * probability;
  if (value > 0 && value < 0.05) return "<\u00a00.1\u00a0%";
  if (value >= 99.95 && value < 100) return ">\u00a099.9\u00a0%";
  const digits = (value < 5 || value > 95) && value !== 0 && value !== 100 ? 1 : 0;
  return `${value.toFixed(digits)}\u00a0%`;
}

export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
export const count = (value, word, words = `${word}s`) => `${value.toLocaleString("en")} ${value === 1 ? word : words}`;
export const size = (bytes) => bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

/** Return the bar of a probability. */
export function bar(probability) {
  const inner = element("i");
  inner.style.width = `${Math.max(0, Math.min(100, 100 * probability))}%`;
  return element("span", { class: "sure", "aria-hidden": "true" }, inner);
}

/** Return a button with an image in it that enlarges it; without an image, a text says why. */
export function frame(name, text) {
  const image = element("img", { alt: "" });
  const button = element("button", { type: "button", class: "frame", "aria-label": `Enlarge ${name}` });
  button.disabled = true;
  button.addEventListener("click", () => {
    byId("zoom-image").src = image.src;
    byId("zoom-image").alt = name;
    byId("zoom-text").textContent = text();
    byId("zoom").showModal();
  });
  const fail = (why) => {
    button.disabled = true;
    button.setAttribute("aria-label", `${name}: ${why}`);
    button.replaceChildren(element("span", {}, why));
  };
  const show = (source) => {
    image.onload = () => { button.disabled = false; };
    image.onerror = () => fail("this browser cannot show it");
    image.src = source;
    button.replaceChildren(image);
  };
  return { button, show, fail };
}
