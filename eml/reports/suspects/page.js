// Ticked images become a list to download for eml filter --exclude. Up and Down go from tick box to tick box, Space or
// Enter ticks. What is ticked is kept over a reload where the browser allows it.
(() => {
  const bar = document.querySelector(".picked");
  if (!bar) return;
  const boxes = [...document.querySelectorAll("input.pick")];
  const count = bar.querySelector("b"), save = bar.querySelector(".save"), exclude = bar.querySelector(".exclude");
  const COLUMNS = ["file_name", "label", "suggested_label", "score"];
  const values = (box) => COLUMNS.map((name) => box.dataset[name] || "");
  const key = `eml suspects ${location.pathname} ${document.querySelector("main").dataset.made}`;

  const changed = () => {
    const ticked = boxes.filter((box) => box.checked);
    count.textContent = `${ticked.length} of ${boxes.length}`;
    save.disabled = !ticked.length;
    for (const box of boxes) box.closest("li, .one").classList.toggle("ticked", box.checked);
    try { localStorage.setItem(key, JSON.stringify(ticked.map((box) => box.dataset.file_name))); } catch { /* not kept */ }
  };
  try {
    const kept = new Set(JSON.parse(localStorage.getItem(key) || "[]"));
    for (const box of boxes) box.checked = kept.has(box.dataset.file_name);
  } catch { /* nothing was kept */ }

  const visible = () => boxes.filter((box) => box.offsetParent);
  document.addEventListener("keydown", (event) => {
    const box = document.activeElement;
    if (!box || !box.matches("input.pick")) return;
    const way = { ArrowDown: 1, ArrowUp: -1, ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Enter") { event.preventDefault(); box.click(); }
    if (!way) return;
    event.preventDefault();
    const all = visible(), next = all[all.indexOf(box) + way];
    if (!next) return;
    next.focus({ preventScroll: true });
    next.closest("li, .one").scrollIntoView({ block: "center" });
  });
  const set = (some, value) => { for (const box of some) box.checked = value; changed(); };
  bar.querySelector(".all").addEventListener("click", () => set(boxes.filter((box) => box.closest(".suspects")), true));
  bar.querySelector(".none").addEventListener("click", () => set(boxes, false));
  for (const box of boxes) box.addEventListener("change", changed);

  const quoted = (text) => /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  save.addEventListener("click", () => {
    const rows = [COLUMNS, ...boxes.filter((box) => box.checked).map(values)];
    const text = rows.map((row) => row.map(quoted).join(",")).join("\n") + "\n";
    const now = new Date().toISOString().replace(/\D/g, "").slice(0, 14);
    const link = document.createElement("a");
    link.download = `exclude-${now}.csv`; // a name of its own, so that no browser changes it and no older list is read
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    exclude.querySelector("code").textContent = `${exclude.dataset.command} --exclude ~/Downloads/${link.download}`;
    exclude.hidden = false;
  });
  bar.hidden = false;
  for (const tick of document.querySelectorAll(".tick")) tick.hidden = false;
  changed();
})();
