// What is folded is printed too.
addEventListener("beforeprint", () => document.querySelectorAll("details.more").forEach((each) => { each.open = true; }));

const map = document.getElementById("map");
if (map) {
  const { points, classes, names, images } = JSON.parse(document.getElementById("map-data").textContent);
  const plane = map.querySelector("svg");
  const card = map.querySelector(".map-card");
  const [image, label, file] = card.children;
  let shown = -1;

  const show = (number) => {
    if (number === shown) return;
    shown = number;
    card.hidden = number < 0;
    const [x, y, of, thumbnail] = number < 0 ? [-50, -50, -1, -1] : points[number];
    map.querySelector(".here").setAttribute("cx", x);
    map.querySelector(".here").setAttribute("cy", y);
    map.querySelector(".rings").setAttribute("d", points.filter((point) => point[2] === of)
      .map(([a, b]) => `M${a - 12},${b}a12,12 0 1 0 24,0a12,12 0 1 0 -24,0z`).join(""));
    if (number < 0) return;
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
    points.forEach(([a, b, , thumbnail], number) => {
      const far = ((a - x) ** 2 + (b - y) ** 2) * (thumbnail < 0 ? 1 : .4);
      if (far < least) { least = far; best = number; }
    });
    return best;
  };
  const pointed = (event) => {
    const box = plane.getBoundingClientRect();
    const unit = 1000 / box.width;
    show(nearest((event.clientX - box.left) * unit, (event.clientY - box.top) * unit, 24 * unit));
  };
  plane.addEventListener("pointermove", pointed);
  plane.addEventListener("pointerdown", pointed);
  plane.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") show(-1); });
  plane.addEventListener("focus", () => { if (shown < 0 && plane.matches(":focus-visible")) show(nearest(500, plane.viewBox.baseVal.height / 2, 1500)); });
  plane.addEventListener("blur", () => show(-1));
  plane.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Escape") show(-1);
    if (!way) return;
    event.preventDefault();
    if (shown < 0) return show(nearest(500, plane.viewBox.baseVal.height / 2, 1500));
    const [x, y] = points[shown];
    let best = -1, least = Infinity;
    points.forEach(([a, b], number) => {
      const along = (a - x) * way[0] + (b - y) * way[1];
      const aside = Math.abs((a - x) * way[1]) + Math.abs((b - y) * way[0]);
      if (along > 0 && aside <= along && along + aside < least) { least = along + aside; best = number; }
    });
    if (best >= 0) show(best);
  });
}
