// What is folded is printed too.
addEventListener("beforeprint", () => document.querySelectorAll("details.more").forEach((each) => { each.open = true; }));

document.querySelectorAll("button.copy").forEach((button) => {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const code = button.previousElementSibling;
    const all = document.createRange();
    all.selectNodeContents(code);
    getSelection().removeAllRanges();
    getSelection().addRange(all);
    let copied = false;
    try { await navigator.clipboard.writeText(code.textContent); copied = true; }
    catch { copied = document.execCommand("copy"); }
    button.textContent = copied ? "Copied" : "Selected";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
});
