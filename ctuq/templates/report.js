// The report: keeps fields, drawings and numbers together.

const inMm = (numbers) => numbers.map((number) => Number(number.toFixed(3))).join(",");

// How many there are, in words.
const inPixels = (pixels) => `${pixels.length.toLocaleString("en")} pixel${pixels.length === 1 ? "" : "s"}`;

// A line as its field writes it.
const lineText = ([x0, y0, x1, y1]) => `${inMm([x0, y0]).replace(",", ", ")} to ${inMm([x1, y1]).replace(",", ", ")}`;

function onChoice(name, act) {
  for (const choice of document.querySelectorAll(`input[name=${name}]`)) choice.addEventListener("change", () => act(choice.value));
}

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
  else say("line", `${inPixels(met.pixels)} along ${Math.hypot(ends[2] - ends[0], ends[3] - ends[1]).toPrecision(3)} mm`, false);
  return met?.pixels.length ? met : null;
}

// One pixel, above the maps and beside each of them; `shown` is the sample that is on show, null without any.
function tellPixel(field, [row, col], shown) {
  const i = row * field.cols + col;
  const [value, std, share] = [field.image[i], field.std[i], field.relativeAt(i)];
  const enough = share >= 0;
  const told = enough ? ` (${share.toPrecision(2)} %)` : "";
  byId("pixel").textContent = `${withDeviation(value, std)} 1/mm${told} at (${minus(`${field.x(col).toFixed(2)}, ${field.y(row).toFixed(2)}`)}) mm`;
  byId("image-value").textContent = minus(`${value.toPrecision(4)} 1/mm`);
  byId("deviation-value").textContent = `± ${std.toPrecision(3)} 1/mm`;
  byId("relative-value").textContent = enough ? `± ${share.toPrecision(3)} %` : "too little attenuation";
  if (shown === null) return;
  const { number, minusImage } = shown;
  const more = field.minusImageAt(number, i);
  byId("sample-value").textContent = minus(minusImage ? `minus the image: ${more > 0 ? "+" : ""}${more.toPrecision(3)} 1/mm` : `${field.sampleAt(number, i).toPrecision(4)} 1/mm`);
}

function tellRegion(field) {
  const empty = !byId("region").value.trim();
  const pixels = field.inside(byId("region").value);
  let text = `expected ${REGION_FORM}`;
  if (pixels?.length === 0) text = "no pixel's centre lies in it";
  if (pixels?.length) {
    const { mean, std, known } = field.region(pixels);
    const count = inPixels(pixels);
    text = field.nSamples === 0
      ? `${mean.toPrecision(4)} 1/mm over ${count}; no samples to tell its deviation by`
      : `${withDeviation(mean, std)} 1/mm over ${count}: mean ± one deviation, by ${field.nSamples} samples, which know it to ${(100 * known).toFixed(0)} %`;
  }
  byId("region-mean").textContent = empty ? "draw a disc or a rectangle, or type one below" : text;
  say("region", empty ? "" : text, !empty && !pixels?.length);
}

class Page {
  constructor(field, numbers) {
    this.field = field;
    this.leastCertain = numbers.least_certain;
    this.maps = new Maps(field, numbers, {
      onPoint: () => this.tellPixel(),
      onDrawn: (mode, shape) => this.drawn(mode, shape),
    });
  }

  // The sample that is shown, counted from 0; null where there is none.
  get sample() { return this.field.nSamples ? Number(byId("sample-number").value) - 1 : null; }

  // That sample, and whether without the image.
  get shown() {
    return this.sample === null ? null : { number: this.sample, minusImage: document.querySelector("input[name=sample-as]:checked").value === "difference" };
  }

  tellPixel() { if (this.maps.cursor) tellPixel(this.field, this.maps.cursor, this.shown); }

  // Ends of the line in the field; null where it holds no line.
  get ends() { return this.field.line(byId("line").value); }

  async start() {
    const { field } = this;
    const half = (field.cols / 2) * field.pixel;
    byId("line").value = lineText([-half, 0, half, 0]);
    await this.maps.draw();
    await this.update();
    for (const id of ["line", "region"]) byId(id).addEventListener("change", () => this.update());
    onChoice("mode", (mode) => this.maps.setMode(mode));
    onChoice("view", (view) => this.maps.only(view));
    onChoice("sample-as", () => this.flip());
    if (matchMedia("(max-width: 48rem)").matches) await this.show("image"); // a column of four is long
    byId("least-certain").hidden = false;
    byId("least-certain").addEventListener("click", () => this.showLeastCertain());
    byId("whole").addEventListener("click", () => this.maps.whole());
    byId("sample-number")?.addEventListener("input", () => this.flip());
  }

  // One map, or all, as if it had been chosen.
  show(view) {
    document.querySelector(`input[name=view][value=${view}]`).checked = true;
    return this.maps.only(view);
  }

  // Enlarged, with as much again on every side.
  async showLeastCertain() {
    const { x0, x1, y0, y1 } = this.leastCertain;
    const [margin, above] = [x1 - x0, y1 - y0];
    if (byId("deviation").closest(".view").hidden) await this.show("deviation");
    byId("deviation").scrollIntoView({ block: "center" });
    byId("deviation").focus({ preventScroll: true });
    return this.maps.show({ x: [x0 - margin, x1 + margin], y: [y0 - above, y1 + above] });
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
    await this.maps.mark(marksOf(this.met && ends, field.inside(byId("region").value) ? byId("region").value : "", leastCertain));
    await drawProfile("profile", field, this.met, this.sample);
  }

  async flip() {
    byId("sample-label").textContent = `${this.sample + 1} of ${this.field.nSamples}`;
    await this.maps.showSample(this.sample, this.shown.minusImage);
    this.tellPixel();
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
