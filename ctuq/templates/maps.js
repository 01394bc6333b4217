// Four views of one image: what is pointed at, enlarged or drawn on one of them is so on all.

const DRAWING = "#19d3f3"; // in neither of the colour scales
const GREY = [[0, "#000000"], [1, "#ffffff"]];
const DRAW_MODES = { look: LOOK, line: "drawline", disc: "drawcircle", rectangle: "drawrect" };

class Maps {
  constructor(field, numbers, { onPoint, onDrawn }) {
    Object.assign(this, { field, numbers, onPoint, onDrawn, mode: "look", busy: false, cursor: null });
    this.places = ["image", "deviation", "relative", "sample"].map((name) => document.getElementById(name)).filter(Boolean);
  }

  async draw() {
    const { field, numbers: { limits, colours } } = this;
    const views = {
      image: { z: field.image, ...this.attenuation, title: "attenuation (1/mm)" },
      deviation: { z: field.std, colorscale: colours, zmin: limits.std[0], zmax: limits.std[1], title: "standard deviation (1/mm)" },
      relative: { z: field.relative, colorscale: colours, zmin: 0, zmax: limits.relative[1], title: "deviation / attenuation (%)" },
      sample: { z: field.nSamples ? field.sample(0) : [], ...this.attenuation, title: "attenuation (1/mm)" },
    };
    for (const place of this.places) {
      const { title, z, ...view } = views[place.id];
      const map = { type: "heatmap", z: this.shaped(z), hoverinfo: "none", ...this.axes(), colorbar: colourBar(title), ...view };
      await Plotly.newPlot(place, [map], this.layout(), { ...CONFIG, doubleClick: "reset" });
      this.listen(place);
    }
  }

  get attenuation() {
    const [zmin, zmax] = this.numbers.limits.image;
    return { colorscale: GREY, zmin, zmax };
  }

  axes() {
    const { field } = this;
    return { x0: field.x(0), dx: field.pixel, y0: field.y(0), dy: -field.pixel };
  }

  // Of the image, whatever is drawn beyond it, in mm.
  get extent() {
    const { field: { cols, rows, pixel } } = this;
    return { x: [(-cols * pixel) / 2, (cols * pixel) / 2], y: [(-rows * pixel) / 2, (rows * pixel) / 2] };
  }

  layout() {
    const { x, y } = this.extent;
    const shared = { constrain: "domain", showgrid: false, ...CROSS };
    return layout(axis("x (mm)", { range: x, ...shared }), axis("y (mm)", { range: y, scaleanchor: "x", ...shared }),
      { margin: { l: 46, r: 8, t: 8, b: 100 }, newshape: { line: { color: DRAWING, width: 3 }, fillcolor: CLEAR } });
  }

  shaped(values) { return rowsOf({ rows: this.field.rows, cols: this.field.cols, values }); }

  // As it is, on the image's greys; or what it has more (red) or less (blue) than the image.
  showSample(number, minusImage) {
    const { field, numbers: { limits } } = this;
    const limit = 2 * limits.std[1];
    const { colorscale, ...more } = minusImage ? { colorscale: "RdBu", zmin: -limit, zmax: limit } : this.attenuation;
    const z = minusImage ? field.sampleMinusImage(number) : field.sample(number);
    const title = minusImage ? "sample − image (1/mm)" : "attenuation (1/mm)";
    return Plotly.restyle("sample", { z: [this.shaped(z)], colorscale: [colorscale], "colorbar.title.text": title, ...more });
  }

  listen(place) {
    place.on("plotly_hover", ({ points: [point] }) => this.pointAt(...point.pointNumber, place));
    place.on("plotly_click", ({ points: [point] }) => this.pointAt(...point.pointNumber, place)); // a finger does not hover
    place.on("plotly_unhover", () => this.places.forEach((other) => other !== place && Plotly.Fx.unhover(other)));
    place.on("plotly_relayout", (change) => this.follow(place, change));
    place.addEventListener("keydown", (event) => this.move(event));
  }

  pointAt(row, col, from) {
    this.cursor = [row, col];
    const at = { xval: this.field.x(col), yval: this.field.y(row) };
    const silently = true; // or each view would answer to the others
    for (const place of this.places) if (place !== from) Plotly.Fx.hover(place, at, "xy", silently);
    this.onPoint();
  }

  move(event) {
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
    if (!down && !right) return;
    event.preventDefault();
    const { field } = this;
    const by = event.shiftKey ? 10 : 1;
    const [row, col] = this.cursor ?? [Math.floor(field.rows / 2), Math.floor(field.cols / 2)];
    const within = (value, n) => Math.min(n - 1, Math.max(0, value));
    this.pointAt(within(row + by * down, field.rows), within(col + by * right, field.cols), null);
  }

  async follow(place, change) {
    if (this.busy) return;
    if (change.shapes) {
      this.onDrawn(this.mode, change.shapes.at(-1));
    } else if (Object.keys(change).some((key) => key.startsWith("xaxis.range"))) {
      const { xaxis, yaxis } = place.layout;
      await this.everywhere({ "xaxis.range": [...xaxis.range], "yaxis.range": [...yaxis.range] }, place);
    }
  }

  async everywhere(change, except = null) {
    this.busy = true;
    for (const place of this.places) if (place !== except) await Plotly.relayout(place, change);
    this.busy = false;
  }

  setMode(mode) {
    this.mode = mode;
    return this.everywhere({ dragmode: DRAW_MODES[mode] });
  }

  mark(marks) { return this.everywhere(marks); }

  // One of them, as large as the screen has room for; or all, beside or below each other.
  async only(name) {
    document.getElementById("maps").classList.toggle("single", name !== "all");
    for (const place of this.places) place.closest(".view").hidden = name !== "all" && place.id !== name;
    for (const place of this.places) if (!place.closest(".view").hidden) await Plotly.Plots.resize(place);
  }

  show({ x, y }) { return this.everywhere({ "xaxis.range": [...x], "yaxis.range": [...y] }); }

  whole() { return this.show(this.extent); }
}
