// The page of the API: what openapi.json says, with a line for curl. Nothing is loaded from elsewhere.

import { byId, element, say } from "./draw.js";
import { ask } from "./server.js";

const VERBS = ["get", "post", "put", "patch", "delete"];
const DEEPEST = 4; // levels of a schema that are shown
let api = null;
let needsKey = false;

/** Return what a reference within the document stands for; anything else as it is. */
function follow(part) {
  for (let steps = 0; part && part.$ref && steps < 8; steps++) {
    part = part.$ref.replace(/^#\//, "").split("/").reduce((inner, name) => (inner || {})[name], api);
  }
  return part || {};
}

/** Return the type of a schema in a few words. */
function typeOf(schema) {
  const own = follow(schema);
  if (own.enum) return own.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (own.const !== undefined) return JSON.stringify(own.const);
  const several = own.anyOf || own.oneOf;
  if (several) return [...new Set(several.map(typeOf))].join(" or ");
  if (own.type === "array") return `list of ${typeOf(own.items)}`;
  if (own.format === "binary" || own.contentMediaType) return "file";
  return own.type || own.title || "any";
}

/** Return the bounds and the default of a schema. */
function boundsOf(schema) {
  const own = follow(schema), bounds = [];
  for (const inner of [own, ...(own.anyOf || [])].map(follow)) {
    for (const [name, words] of [["minimum", "at least"], ["exclusiveMinimum", "above"], ["maximum", "at most"], ["exclusiveMaximum", "below"], ["maxLength", "characters at most"], ["maxItems", "items at most"]]) {
      if (inner[name] !== undefined && Math.abs(inner[name]) <= Number.MAX_SAFE_INTEGER) bounds.push(`${words} ${inner[name]}`);
    }
  }
  if (own.default !== undefined && own.default !== null) bounds.push(`default ${JSON.stringify(own.default)}`);
  return bounds.join(", ");
}

/** Return the fields of an object's schema as a list, or nothing. */
function fieldsOf(schema, depth = 0) {
  const own = follow(schema);
  const inner = own.type === "array" ? follow(own.items) : (own.anyOf || own.oneOf || []).map(follow).find((part) => part.properties) || own;
  if (!inner.properties || depth >= DEEPEST) return null;
  const list = element("ul", { class: "schema" });
  for (const [name, field] of Object.entries(inner.properties)) {
    const said = [typeOf(field), boundsOf(field), (inner.required || []).includes(name) ? "needed" : ""].filter(Boolean).join(", ");
    const about = field.description || follow(field).description || "";
    list.append(element("li", {}, element("code", {}, name), element("span", { class: "quiet" }, ` ${said}${about ? ". " : ""}`), about, fieldsOf(field, depth + 1)));
  }
  return list;
}

/** Return a value that fits a schema, for the line of curl. */
function exampleOf(schema, depth = 0) {
  const own = follow(schema);
  if (own.examples && own.examples.length) return own.examples[0];
  if (own.example !== undefined) return own.example;
  if (own.default !== undefined && own.default !== null) return own.default;
  if (own.enum) return own.enum[0];
  if (own.anyOf || own.oneOf) return exampleOf((own.anyOf || own.oneOf)[0], depth);
  if (own.type === "array") return [exampleOf(own.items, depth + 1)];
  if (own.properties && depth < DEEPEST) {
    const needed = Object.keys(own.properties).filter((name) => (own.required || []).includes(name));
    return Object.fromEntries(needed.map((name) => [name, exampleOf(own.properties[name], depth + 1)]));
  }
  return { integer: own.minimum ?? 1, number: own.minimum ?? 0.5, boolean: true, string: "TEXT", object: {} }[own.type] ?? "TEXT";
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Return the lines of curl that ask for an operation: one for each kind of body. */
function curls(path, verb, operation) {
  const base = new URL(".", location.href).href.replace(/\/$/, "");
  const start = ["curl"];
  if (needsKey && path !== "/health") start.push("-H", '"Authorization: Bearer $EML_KEY"');
  if (!["get", "post"].includes(verb)) start.push("-X", verb.toUpperCase()); // data or a form makes it POST
  const address = quoted(base + path.replace(/\{(\w+)\}/g, (whole, name) => name === "id" ? "1" : name.toUpperCase()));
  const kinds = Object.entries((follow(operation.requestBody).content) || {});
  if (!kinds.length) return [[...start, address].join(" ")];
  return kinds.map(([kind, { schema, example }]) => {
    if (kind === "application/json") {
      const body = JSON.stringify(example ?? exampleOf(schema));
      return [...start, address, "-H", quoted("Content-Type: application/json"), "-d", quoted(body)].join(" ");
    }
    if (kind === "multipart/form-data") return [...start, address, ...formOf(schema)].join(" ");
    return [...start, address, "-H", quoted(`Content-Type: ${kind.replace("image/*", "image/jpeg")}`), "--data-binary", "@photo.jpg"].join(" ");
  });
}

/** Return the arguments of a form: its files, and the other fields that it needs. */
function formOf(schema) {
  const own = follow(schema), needed = own.required || [];
  const parts = Object.entries(own.properties || {}).flatMap(([name, field]) => {
    if (typeOf(field).includes("file")) return ["-F", `${name}=@photo.jpg`];
    return needed.includes(name) ? ["-F", quoted(`${name}=${[exampleOf(field)].flat()[0]}`)] : [];
  });
  return parts.length ? parts : ["-F", "images=@photo.jpg"];
}

/** Return a command with a button that copies it. */
function commandLine(text) {
  const code = element("pre", { tabindex: "0", "aria-label": "Command" }, text);
  const button = element("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    getSelection().selectAllChildren(code);
    let copied = true;
    try { await navigator.clipboard.writeText(text); } catch { copied = document.execCommand("copy"); }
    button.textContent = copied ? "Copied" : "Selected";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return element("div", { class: "command" }, code, button);
}

function parametersOf(operation) {
  const parameters = (operation.parameters || []).map(follow);
  if (!parameters.length) return null;
  const body = element("tbody");
  for (const { name, in: place, required, schema, description } of parameters) {
    const said = [typeOf(schema), boundsOf(schema), required ? "needed" : ""].filter(Boolean).join(", ");
    body.append(element("tr", {}, element("td", {}, element("code", {}, name)), element("td", {}, place), element("td", {}, said), element("td", {}, description || "")));
  }
  const head = ["Parameter", "In", "Is", "For"].map((text) => element("th", { scope: "col" }, text));
  return element("table", {}, element("thead", {}, element("tr", {}, ...head)), body);
}

/** Return the kinds of body. A field that an earlier kind has is not said again. */
function bodiesOf(operation) {
  const said = new Set();
  return Object.entries(follow(operation.requestBody).content || {}).flatMap(([kind, { schema }]) => {
    const all = Object.entries(follow(schema).properties || {}), more = all.filter(([name]) => !said.has(name));
    const absent = [...said].filter((name) => !all.some(([other]) => other === name));
    const shared = more.length < all.length ? `, with the fields above${absent.length ? ` but ${absent.join(", ")}` : ""}, and` : "";
    for (const [name] of all) said.add(name);
    const own = shared ? { ...follow(schema), properties: Object.fromEntries(more) } : schema || {};
    return [element("p", {}, "Body as ", element("code", {}, kind), shared), fieldsOf(own)];
  });
}

const schemaOf = (response) => ((response.content || {})["application/json"] || {}).schema;
const isError = (response) => ((schemaOf(response) || {}).$ref || "").endsWith("/ErrorReply");
const responsesOf = (operation) => Object.entries(operation.responses || {}).map(([status, response]) => [status, follow(response)]);

/** Return the answers; errors, which all have one form, by their status alone: `drawErrors` says what they are. */
function answersOf(operation) {
  const errors = responsesOf(operation).filter(([, response]) => isError(response)).map(([status]) => status);
  const others = responsesOf(operation).filter(([, response]) => !isError(response));
  const answers = others.map(([status, own]) => {
    const schema = schemaOf(own), fields = schema ? fieldsOf(schema) : null;
    const title = element(fields ? "summary" : "p", { class: "quiet" }, element("code", {}, status), ` ${own.description || ""}`);
    return fields ? element("details", {}, title, fields) : title;
  });
  if (!errors.length) return answers;
  return [...answers, element("p", { class: "quiet" }, element("a", { href: "#errors" }, "Errors"), ` ${errors.join(", ")}`)];
}

/** Add what the errors of all operations are, once. */
function drawErrors() {
  const operations = Object.values(api.paths || {}).flatMap((path) => VERBS.filter((verb) => path[verb]).map((verb) => path[verb]));
  const errors = new Map(operations.flatMap(responsesOf).filter(([, response]) => isError(response)));
  if (!errors.size) return;
  byId("contents").append(element("li", {}, element("a", { href: "#errors" }, "Errors")));
  byId("operations").append(element(
    "section", { id: "errors", "aria-labelledby": "errors-title" }, element("h2", { id: "errors-title" }, "Errors"),
    element("p", {}, "Every operation answers an error in this form, whatever its status:"), fieldsOf(schemaOf(errors.values().next().value)),
    ...[...errors].sort(([one], [other]) => one - other).map(([status, { description }]) => element("p", { class: "quiet" }, element("code", {}, status), ` ${description || ""}`)),
  ));
}

function draw() {
  byId("title").textContent = (api.info || {}).title || "The API";
  byId("lead").textContent = (api.info || {}).description || "";
  let number = 0;
  for (const [path, operations] of Object.entries(api.paths || {})) {
    for (const verb of VERBS.filter((name) => operations[name])) {
      const operation = operations[verb], id = `operation-${++number}`;
      const title = element("h2", { id: `${id}-title` }, element("span", { class: "verb" }, verb.toUpperCase()), element("code", {}, path));
      byId("contents").append(element("li", {}, element("a", { href: `#${id}` }, `${verb.toUpperCase()} ${path}`)));
      byId("operations").append(element(
        "section", { id, class: "operation", "aria-labelledby": `${id}-title` }, title,
        element("p", { class: "name" }, operation.description || operation.summary || ""),
        parametersOf(operation), ...bodiesOf(operation),
        ...curls(path, verb, operation).map(commandLine), element("h3", {}, "Answers"), ...answersOf(operation),
      ));
    }
  }
  drawErrors();
}

try {
  api = await ask("openapi.json");
  const facts = await ask("page/facts");
  needsKey = facts.needs_key;
  byId("to-page").hidden = !facts.has_page;
  draw();
} catch (error) {
  byId("lead").textContent = "";
  say("server-problem", "status" in error ? error.message : `openapi.json cannot be shown: ${error.message}`);
}
