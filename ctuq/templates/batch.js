// The summary of a batch: sorts its table by any column, and shows the lines that are wanted.

const body = document.querySelector("#scans tbody");
const lines = [...body.rows];

function keyOf(row, column, kind) {
  const { value } = row.cells[column].dataset;
  if (kind === "text") return value;
  return value === "" ? NaN : Number(value);
}

function sortBy(head, column) {
  const up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of document.querySelectorAll("#scans th")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const { kind } = head.dataset;
  const words = new Intl.Collator(undefined, { numeric: true }); // scan_9 before scan_10
  const compare = ([a], [b]) => {
    const nothing = (key) => key === "" || Number.isNaN(key);
    if (nothing(a) || nothing(b)) return nothing(a) - nothing(b); // stays below, whichever way
    const sign = kind === "text" ? words.compare(a, b) : a - b;
    return up ? sign : -sign;
  };
  const keyed = [...body.rows].map((row) => [keyOf(row, column, kind), row]);
  body.append(...keyed.sort(compare).map(([, row]) => row));
}

function show() {
  const state = document.querySelector("input[name=state]:checked").value;
  const doubtful = document.getElementById("doubtful").checked;
  const wanted = document.getElementById("wanted").value.trim().toLowerCase();
  let shown = 0;
  for (const row of lines) {
    row.hidden = (state !== "all" && row.dataset.state !== state) || (doubtful && !("doubtful" in row.dataset))
      || !row.cells[1].dataset.value.toLowerCase().includes(wanted);
    shown += !row.hidden;
  }
  document.getElementById("shown").textContent = `${shown} of ${lines.length} scan${lines.length === 1 ? "" : "s"}`;
}

for (const [column, head] of [...document.querySelectorAll("#scans th")].entries()) {
  if (!head.dataset.kind) continue;
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  button.addEventListener("click", () => sortBy(head, column));
  head.append(button);
}
for (const count of document.querySelectorAll("[data-count]")) {
  const n = count.dataset.count === "all" ? lines.length : lines.filter((row) => row.dataset.state === count.dataset.count).length;
  count.textContent = `(${n})`;
}
const tools = document.getElementById("tools");
tools.hidden = false;
tools.addEventListener("input", show);
tools.addEventListener("submit", (event) => event.preventDefault());
show();
document.body.dataset.ready = "yes";
