// Buttons that put a table or a field on the clipboard: cells with tabs between, as spreadsheets take them.

function textToCopy(element) {
  if (!element.rows) return element.textContent;
  return [...element.rows].map((row) => [...row.cells].map((cell) => cell.dataset.plain ?? cell.textContent.trim()).join("\t")).join("\n");
}

function mark(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const element = document.getElementById(button.dataset.copy);
    const told = document.getElementById("copied");
    try {
      await navigator.clipboard.writeText(textToCopy(element));
      told.textContent = "Copied.";
    } catch {
      mark(element); // where a page may not use the clipboard, a person may
      told.textContent = "Marked: press Ctrl+C to copy.";
    }
  });
}
