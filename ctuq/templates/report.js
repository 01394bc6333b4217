// The report: keeps fields, drawings and numbers together.

const inMm = (numbers) => numbers.map((number) => Number(number.toFixed(3))).join(",");

// A line as its field writes it.
const lineText = ([x0, y0, x1, y1]) => `${inMm([x0, y0]).replace(",", ", ")} to ${inMm([x1, y1]).replace(",", ", ")}`;

// What is found or wrong, under its field too: the maps may be out of sight.
function say(id, text, wrong) {
  byId(`${id}-said`).textContent = text;
  byId(id).setAttribute("aria-invalid", String(wrong));
}

// The pixels that a line meets; null where it meets none.
function tellLine(field, ends) {
  const met = ends && field.along(ends);
  if (!met) say("line", `expected ${LINE_FORM}`, true);
  else if (met.pixels.length === 0) say("line", "the line meets no pixel", true);
  else say("line", `${met.pixels.length.toLocaleString("en")} pixels along ${Math.hypot(ends[2] - ends[0], ends[3] - ends[1]).toPrecision(3)} mm`, false);
  return met?.pixels.length ? met : null;
}

function tellPixel(field, row, col) {
  const i = row * field.cols + col;
  const share = field.image[i] > field.floor ? ` (${((100 * field.std[i]) / field.image[i]).toPrecision(2)} %)` : "";
  byId("pixel").textContent = `${withDeviation(field.image[i], field.std[i])} 1/mm${share} at (${minus(`${field.x(col).toFixed(2)}, ${field.y(row).toFixed(2)}`)}) mm`;
}

function tellRegion(field) {
  const empty = !byId("region").value.trim();
  const pixels = field.inside(byId("region").value);
  let text = `expected ${REGION_FORM}`;
  if (pixels?.length === 0) text = "no pixel's centre lies in it";
  if (pixels?.length) {
    const { mean, std, known } = field.region(pixels);
    const count = `${pixels.length.toLocaleString("en")} pixels`;
    text = field.nSamples === 0
      ? `${mean.toPrecision(4)} 1/mm over ${count}; no samples to tell its deviation by`
      : `${withDeviation(mean, std)} 1/mm over ${count}: mean ± one deviation, by ${field.nSamples} samples, which know it to ${(100 * known).toFixed(0)} %`;
  }
  byId("region-mean").textContent = empty ? "draw a disc or a rectangle, or type one below" : text;
  say("region", empty ? "" : text, !empty && !pixels?.length);
}

function shapesOf(ends, region, leastCertain) {
  const shapes = [{ type: "rect", ...leastCertain, line: { color: MARK, width: 1.5, dash: "dot" } }];
  if (ends) shapes.push({ type: "line", x0: ends[0], y0: ends[1], x1: ends[2], y1: ends[3] });
  const [kind, rest = ""] = region.trim().split(":");
  const n = rest.split(",").map(Number);
  if (kind === "disc") shapes.push({ type: "circle", x0: n[0] - n[2], x1: n[0] + n[2], y0: n[1] - n[2], y1: n[1] + n[2] });
  if (kind === "rectangle") shapes.push({ type: "rect", x0: n[0], y0: n[1], x1: n[2], y1: n[3] });
  return shapes;
}

class Page {
  constructor(field, numbers) {
    this.field = field;
    this.leastCertain = numbers.least_certain;
    this.maps = new Maps(field, numbers, {
      onPoint: (row, col) => tellPixel(field, row, col),
      onDrawn: (mode, shape) => this.drawn(mode, shape),
    });
  }

  // The sample that is shown, counted from 0; null where there is none.
  get sample() { return this.field.nSamples ? Number(byId("sample-number").value) - 1 : null; }

  // Ends of the line in the field; null where it holds no line.
  get ends() { return this.field.line(byId("line").value); }

  async start() {
    const { field } = this;
    const half = (field.cols / 2) * field.pixel;
    byId("line").value = lineText([-half, 0, half, 0]);
    await this.maps.draw();
    await this.update();
    for (const id of ["line", "region"]) byId(id).addEventListener("change", () => this.update());
    for (const mode of document.querySelectorAll("input[name=mode]")) mode.addEventListener("change", () => this.maps.setMode(mode.value));
    byId("least-certain").hidden = false;
    byId("least-certain").addEventListener("click", () => this.showLeastCertain());
    byId("whole").addEventListener("click", () => this.maps.whole());
    byId("sample-number")?.addEventListener("input", () => this.flip());
  }

  // Enlarged, with as much again on every side.
  showLeastCertain() {
    const { x0, x1, y0, y1 } = this.leastCertain;
    const [margin, above] = [x1 - x0, y1 - y0];
    byId("deviation").scrollIntoView({ block: "center" });
    byId("deviation").focus({ preventScroll: true });
    return this.maps.show([x0 - margin, x1 + margin], [y0 - above, y1 + above]);
  }

  // What was drawn becomes text in a field, as if it had been typed.
  drawn(mode, { x0, y0, x1, y1 }) {
    const box = [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
    if (mode === "line") byId("line").value = lineText([x0, y0, x1, y1]);
    if (mode === "rectangle") byId("region").value = `rectangle:${inMm(box)}`;
    if (mode === "disc") {
      const radius = (box[2] - box[0] + box[3] - box[1]) / 4;
      byId("region").value = `disc:${inMm([(x0 + x1) / 2, (y0 + y1) / 2, radius])}`;
    }
    return this.update();
  }

  async update() {
    const { field, ends, leastCertain } = this;
    tellRegion(field);
    this.met = tellLine(field, ends);
    await this.maps.mark(shapesOf(this.met && ends, field.inside(byId("region").value) ? byId("region").value : "", leastCertain));
    await drawProfile("profile", field, this.met, this.sample);
  }

  async flip() {
    byId("sample-label").textContent = `${this.sample + 1} of ${this.field.nSamples}`;
    await this.maps.showSample(this.sample);
    await drawProfile("profile", this.field, this.met, this.sample);
  }
}

startPage(async (numbers) => {
  const [image, std, steps] = await Promise.all([unpackedLevels(numbers.image), unpackedLevels(numbers.std), unpacked(numbers.samples.steps)]);
  await new Page(new Field(numbers, image, std, new Int8Array(steps)), numbers).start();
  await drawCoverage("coverage", numbers.calibration);
  await drawScores("scores", numbers.calibration);
  await drawFit("fit-curve", numbers.fit);
  if (numbers.sinogram) await drawSinogram(["sinogram", "residual"], numbers.sinogram);
});
