const map = document.getElementById("map");
if (map) {
  const { points, planes, classes, names, images, symbols, coloured: largest } = JSON.parse(document.getElementById("map-data").textContent);
  const SLOTS = symbols.length - 1, MATCHES = 12;
  const plane = map.querySelector("svg");
  const drawn = document.getElementById("map-points");
  const card = map.querySelector(".map-card");
  const [image, label, file] = card.children;
  const tools = document.querySelector(".map-tools");
  const find = document.getElementById("map-find"), matches = document.getElementById("map-matches");
  const legend = document.getElementById("map-colours");
  const sizes = classes.map(() => 0);
  for (const [of] of points) sizes[of] += 1;
  let slots = largest.slice(); // class of each colour, -1 for a free one
  let ringed = []; // classes whose points have rings while nothing is pointed at
  let places = planes[0].places;
  let shown = -1;

  const svg = (name, attributes) => {
    const element = document.createElementNS(plane.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };

  const draw = () => {
    const shapes = new Map();
    points.forEach(([of], number) => {
      const slot = slots.indexOf(of) + 1;
      const kind = `points c${slot ? slot - 1 : "x"}${ringed.includes(of) ? " found" : ""}`;
      if (!shapes.has(kind)) shapes.set(kind, []);
      shapes.get(kind).push(`M${places[number][0]},${places[number][1]}${symbols[slot]}`);
    });
    const order = [...shapes.keys()].sort((a, b) => a.includes("cx") && !b.includes("cx") ? -1 : 0);
    drawn.replaceChildren(...order.map((kind) => svg("path", { class: kind, d: shapes.get(kind).join("") })));
  };

  const ring = (some) => {
    if (some === ringed) draw();
    map.classList.toggle("finding", some === ringed && some.length > 0);
    map.querySelector(".rings").setAttribute("d", points.map(([of], number) => some.includes(of) ? places[number] : null).filter(Boolean)
      .map(([a, b]) => `M${a - 12},${b}a12,12 0 1 0 24,0a12,12 0 1 0 -24,0z`).join(""));
  };

  const show = (number, again = false) => {
    if (number === shown && !again) return;
    shown = number;
    card.hidden = number < 0;
    const [x, y] = number < 0 ? [-50, -50] : places[number];
    map.querySelector(".here").setAttribute("cx", x);
    map.querySelector(".here").setAttribute("cy", y);
    if (number < 0) return ring(ringed);
    const [of, thumbnail] = points[number];
    ring([of]);
    label.textContent = classes[of];
    file.textContent = names[number];
    image.hidden = thumbnail < 0;
    if (thumbnail >= 0) image.src = images[thumbnail];
    const scale = plane.clientWidth / 1000;
    const left = x * scale + 16, top = y * scale + 16;
    const overRight = left + card.offsetWidth > plane.clientWidth, overBottom = top + card.offsetHeight > plane.clientHeight;
    card.style.left = `${Math.max(0, overRight ? x * scale - 16 - card.offsetWidth : left)}px`;
    card.style.top = `${Math.max(0, overBottom ? y * scale - 16 - card.offsetHeight : top)}px`;
  };

  // The nearest point to a place, those with an image a little farther too.
  const nearest = (x, y, within) => {
    let best = -1, least = within * within;
    points.forEach(([, thumbnail], number) => {
      const [a, b] = places[number];
      const far = ((a - x) ** 2 + (b - y) ** 2) * (thumbnail < 0 ? 1 : .4);
      if (far < least) { least = far; best = number; }
    });
    return best;
  };
  const middle = () => nearest(500, plane.viewBox.baseVal.height / 2, 1500);
  const pointed = (event) => {
    const box = plane.getBoundingClientRect();
    const unit = 1000 / box.width;
    show(nearest((event.clientX - box.left) * unit, (event.clientY - box.top) * unit, 24 * unit));
  };
  plane.addEventListener("pointermove", pointed);
  plane.addEventListener("pointerdown", pointed);
  plane.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") show(-1); });
  plane.addEventListener("focus", () => { if (shown < 0 && plane.matches(":focus-visible")) show(middle()); });
  plane.addEventListener("blur", () => show(-1));
  plane.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Escape") show(-1);
    if (!way) return;
    event.preventDefault();
    if (shown < 0) return show(middle());
    const [x, y] = places[shown];
    let best = -1, least = Infinity;
    places.forEach(([a, b], number) => {
      const along = (a - x) * way[0] + (b - y) * way[1];
      const aside = Math.abs((a - x) * way[1]) + Math.abs((b - y) * way[0]);
      if (along > 0 && aside <= along && along + aside < least) { least = along + aside; best = number; }
    });
    if (best >= 0) show(best);
  });

  // The legend: a class whose name is pressed stands out, one that is crossed out loses its colour.
  const chips = () => {
    const button = (text, name, act) => {
      const element = document.createElement("button");
      element.type = "button";
      element.className = "name";
      element.textContent = text;
      if (name) element.setAttribute("aria-label", name);
      element.addEventListener("click", act);
      return element;
    };
    const items = [];
    slots.forEach((of, slot) => {
      if (of < 0) return;
      const item = document.createElement("li"), sign = svg("svg", { class: "symbol", viewBox: "-14 -14 28 28", "aria-hidden": "true" });
      sign.append(svg("path", { class: `points c${slot}`, d: `M0,0${symbols[slot + 1]}` }));
      const name = button(classes[of], "", () => { ringed = ringed.length === 1 && ringed[0] === of ? [] : [of]; show(-1, true); chips(); });
      name.setAttribute("aria-pressed", String(ringed.includes(of)));
      item.append(sign, name, button("✕", `Colour ${classes[of]} no longer`, () => {
        slots[slot] = -1;
        ringed = [];
        refresh();
        (legend.querySelector("button") || find).focus();
      }));
      items.push(item);
    });
    if (slots.filter((of) => of >= 0).length < classes.length) {
      const item = document.createElement("li"), sign = svg("svg", { class: "symbol", viewBox: "-14 -14 28 28", "aria-hidden": "true" });
      sign.append(svg("path", { class: "points cx", d: `M0,0${symbols[0]}` }));
      item.append(sign, " others");
      items.push(item);
    }
    legend.replaceChildren(...items);
  };
  const refresh = () => { chips(); show(-1, true); };

  // The search: what matches has rings while it is typed; one that is chosen gets a colour, the oldest one if none is free.
  let order = slots.slice(), active = -1, hits = [];
  const colour = (of) => {
    if (!slots.includes(of)) {
      let slot = slots.indexOf(-1);
      if (slot < 0 && slots.length < SLOTS) slot = slots.length;
      if (slot < 0) slot = slots.indexOf(order.find((each) => slots.includes(each)));
      slots[slot] = of;
    }
    order = [...order.filter((each) => each !== of), of];
    ringed = [of];
    find.value = "";
    list([]);
    refresh();
  };
  const mark = (at) => {
    active = at;
    [...matches.children].forEach((item, place) => item.setAttribute("aria-selected", String(place === at)));
    if (at >= 0) find.setAttribute("aria-activedescendant", matches.children[at].id);
    else find.removeAttribute("aria-activedescendant");
  };
  const list = (some) => {
    hits = some.slice(0, MATCHES);
    matches.replaceChildren(...hits.map((of, at) => {
      const item = document.createElement("li");
      item.id = `map-match-${at}`;
      item.setAttribute("role", "option");
      item.textContent = `${classes[of]} (${sizes[of]})`;
      item.addEventListener("pointerdown", (event) => { event.preventDefault(); colour(of); });
      return item;
    }));
    if (some.length > MATCHES) {
      const more = document.createElement("li");
      more.className = "quiet";
      more.textContent = `${some.length - MATCHES} more`;
      matches.append(more);
    }
    matches.hidden = !some.length;
    find.setAttribute("aria-expanded", String(!matches.hidden));
    mark(-1);
  };
  find.addEventListener("input", () => {
    const text = find.value.trim().toLowerCase();
    ringed = text ? [...classes.keys()].filter((of) => classes[of].toLowerCase().includes(text)) : [];
    ringed.sort((a, b) => classes[b].toLowerCase().startsWith(text) - classes[a].toLowerCase().startsWith(text));
    list(ringed);
    show(-1, true);
  });
  find.addEventListener("keydown", (event) => {
    const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (way && hits.length) { event.preventDefault(); mark((active + way + hits.length) % hits.length); }
    if (event.key === "Enter" && hits.length) { event.preventDefault(); colour(hits[Math.max(0, active)]); }
    if (event.key === "Escape") { find.value = ""; ringed = []; list([]); show(-1, true); }
  });
  find.addEventListener("blur", () => list([]));
  document.getElementById("map-largest").addEventListener("click", () => { slots = largest.slice(); order = slots.slice(); ringed = []; refresh(); });
  document.getElementById("map-none").addEventListener("click", () => { slots = []; order = []; ringed = []; refresh(); });
  for (const radio of document.querySelectorAll("input[name=plane]")) radio.addEventListener("change", () => {
    const chosen = planes[Number(radio.value)];
    places = chosen.places;
    plane.setAttribute("viewBox", `0 0 1000 ${chosen.height}`);
    for (const text of document.querySelectorAll(".of-plane")) text.hidden = text.dataset.kind !== chosen.kind;
    refresh();
  });
  tools.hidden = false;
  chips();
}
