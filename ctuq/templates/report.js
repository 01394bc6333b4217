// The report: keeps fields, drawings and numbers together.

const inMm = (numbers) => numbers.map((number) => Number(number.toFixed(3))).join(",");

function tellPixel(field, row, col) {
  const i = row * field.cols + col;
  const share = field.image[i] > field.floor ? ` (${((100 * field.std[i]) / field.image[i]).toPrecision(2)} %)` : "";
  byId("pixel").textContent = `${withDeviation(field.image[i], field.std[i])} 1/mm${share} at (${field.x(col).toFixed(2)}, ${field.y(row).toFixed(2)}) mm`;
}

function tellRegion(field) {
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
  byId("region-mean").textContent = text;
  byId("region").setAttribute("aria-invalid", String(!pixels?.length));
}

function shapesOf(ends, region) {
  const [x0, y0, x1, y1] = ends;
  const shapes = [{ type: "line", x0, y0, x1, y1 }];
  const [kind, rest = ""] = region.trim().split(":");
  const n = rest.split(",").map(Number);
  if (kind === "disc") shapes.push({ type: "circle", x0: n[0] - n[2], x1: n[0] + n[2], y0: n[1] - n[2], y1: n[1] + n[2] });
  if (kind === "rectangle") shapes.push({ type: "rect", x0: n[0], y0: n[1], x1: n[2], y1: n[3] });
  return shapes;
}

class Page {
  constructor(field, numbers) {
    this.field = field;
    this.maps = new Maps(field, numbers, {
      onPoint: (row, col) => tellPixel(field, row, col),
      onDrawn: (mode, shape) => this.drawn(mode, shape),
    });
  }

  // The sample that is shown, counted from 0; null where there is none.
  get sample() { return this.field.nSamples ? Number(byId("sample-number").value) - 1 : null; }

  // Ends of the line in the field; null where it holds no line.
  get ends() {
    const ends = byId("line").value.split(",").map((part) => (part.trim() ? Number(part) : NaN));
    return ends.length === 4 && ends.every(Number.isFinite) ? ends : null;
  }

  async start() {
    const { field } = this;
    const half = (field.cols / 2) * field.pixel;
    byId("line").value = inMm([-half, 0, half, 0]);
    byId("region").value = `disc:0,0,${inMm([half / 4])}`;
    await this.maps.draw();
    await this.update();
    for (const id of ["line", "region"]) byId(id).addEventListener("change", () => this.update());
    for (const mode of document.querySelectorAll("input[name=mode]")) mode.addEventListener("change", () => this.maps.setMode(mode.value));
    byId("whole").addEventListener("click", () => this.maps.whole());
    byId("sample-number")?.addEventListener("input", () => this.flip());
  }

  // What was drawn becomes text in a field, as if it had been typed.
  drawn(mode, { x0, y0, x1, y1 }) {
    const box = [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
    if (mode === "line") byId("line").value = inMm([x0, y0, x1, y1]);
    if (mode === "rectangle") byId("region").value = `rectangle:${inMm(box)}`;
    if (mode === "disc") {
      const radius = (box[2] - box[0] + box[3] - box[1]) / 4;
      byId("region").value = `disc:${inMm([(x0 + x1) / 2, (y0 + y1) / 2, radius])}`;
    }
    return this.update();
  }

  async update() {
    byId("line").setAttribute("aria-invalid", String(!this.ends));
    tellRegion(this.field);
    if (!this.ends) return;
    await this.maps.mark(shapesOf(this.ends, this.field.inside(byId("region").value) ? byId("region").value : ""));
    await drawProfile("profile", this.field, this.ends, this.sample);
  }

  async flip() {
    byId("sample-label").textContent = `${this.sample + 1} of ${this.field.nSamples}`;
    await this.maps.showSample(this.sample);
    if (this.ends) await drawProfile("profile", this.field, this.ends, this.sample);
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
