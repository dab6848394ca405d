// An image in a frame opens in a dialog: by a click, or by Enter once it has the focus. A gallery is one stop of the
// Tab key; within it the arrow keys go from image to image, and in the dialog too.
(() => {
  const GALLERY = ".strip, .found, .versus, .sheet";
  const framed = [...document.querySelectorAll(".frame > img")];
  if (!framed.length || !window.HTMLDialogElement) return;
  const dialog = document.createElement("dialog");
  dialog.className = "zoom";
  const [image, caption, earlier, later, close] = ["img", "p", "button", "button", "button"].map((tag) => document.createElement(tag));
  caption.className = "name";
  image.hidden = true;
  for (const [button, sign, name] of [[earlier, "←", "Previous image"], [later, "→", "Next image"], [close, "✕", "Close"]]) {
    button.type = "button";
    button.textContent = sign;
    button.setAttribute("aria-label", name);
  }
  const bar = document.createElement("div");
  bar.append(earlier, later, close);
  dialog.append(bar, image, caption);
  document.body.append(dialog);
  let shown = null;

  const around = (one) => [...(one.closest("section") || document).querySelectorAll(".frame > img")].filter((each) => each.checkVisibility ? each.checkVisibility() : each.offsetParent);
  const step = (way) => {
    const all = around(shown), next = all[all.indexOf(shown) + way];
    if (next) show(next);
  };
  const show = (one) => {
    shown = one;
    const all = around(one), place = all.indexOf(one);
    image.src = one.src;
    image.alt = one.alt;
    image.hidden = false;
    const ratio = one.naturalWidth / (one.naturalHeight || 1);
    image.style.setProperty("--ratio", ratio);
    const figure = one.closest("figure"), text = figure && figure.querySelector("figcaption");
    const rest = text ? text.textContent.replace(/\s+/g, " ").trim() : "";
    caption.textContent = rest && !one.alt.endsWith(rest) ? `${one.alt} · ${rest}` : one.alt;
    earlier.disabled = place <= 0;
    later.disabled = place >= all.length - 1;
    if (!dialog.open) dialog.showModal();
  };
  earlier.addEventListener("click", () => step(-1));
  later.addEventListener("click", () => step(1));
  close.addEventListener("click", () => dialog.close());
  image.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => { if (shown) focus(shown.parentElement); });
  dialog.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (way) { event.preventDefault(); step(way); }
  });

  const gallery = (frame) => [...(frame.closest(GALLERY) || frame.parentElement).querySelectorAll(".frame.enlarges")];
  const focus = (frame) => {
    for (const each of gallery(frame)) each.tabIndex = each === frame ? 0 : -1;
    frame.focus();
  };
  for (const one of framed) {
    const frame = one.parentElement;
    frame.classList.add("enlarges");
    frame.setAttribute("role", "button");
    frame.setAttribute("aria-label", `Enlarge ${one.alt}`);
    frame.tabIndex = -1;
    frame.addEventListener("click", () => show(one));
    frame.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || (event.key === " " && !event.defaultPrevented)) { event.preventDefault(); show(one); }
      const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!way || event.defaultPrevented) return;
      const all = gallery(frame), next = all[all.indexOf(frame) + way];
      event.preventDefault();
      if (next) focus(next);
    });
  }
  for (const one of framed) if (gallery(one.parentElement)[0] === one.parentElement) one.parentElement.tabIndex = 0;
})();
