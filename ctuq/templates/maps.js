// Four views of one image: what is pointed at, enlarged or drawn on one of them is so on all.

const MARK = "#19d3f3";
const GREY = [[0, "#000000"], [1, "#ffffff"]];
const DRAW_MODES = { look: LOOK, line: "drawline", disc: "drawcircle", rectangle: "drawrect" };

class Maps {
  constructor(field, numbers, { onPoint, onDrawn }) {
    Object.assign(this, { field, numbers, onPoint, onDrawn, mode: "look", busy: false, cursor: null });
    this.places = ["image", "deviation", "relative", "sample"].map((name) => document.getElementById(name)).filter(Boolean);
  }

  async draw() {
    const { field, numbers: { limits, colours } } = this;
    const deviation = { colorscale: colours };
    const attenuation = { colorscale: GREY, zmin: limits.image[0], zmax: limits.image[1] };
    const std = this.shaped(field.std);
    const relative = this.shaped(field.relative);
    const share = relative.map((row) => Array.from(row, (value) => (value >= 0 ? `± ${value.toPrecision(3)} %` : "too little attenuation")));
    const at = "<br>at (%{x:.2f}, %{y:.2f}) mm<extra></extra>";
    const views = {
      image: { z: this.shaped(field.image), ...attenuation, title: "attenuation (1/mm)", customdata: std, hovertemplate: `%{z:.4g} ± %{customdata:.2g} 1/mm${at}` },
      deviation: { z: std, ...deviation, zmin: limits.std[0], zmax: limits.std[1], title: "standard deviation (1/mm)", hovertemplate: `± %{z:.3g} 1/mm${at}` },
      relative: { z: relative, customdata: share, ...deviation, zmin: 0, zmax: limits.relative[1], title: "deviation / attenuation (%)", hovertemplate: `%{customdata}${at}` },
      sample: { ...attenuation, title: "attenuation (1/mm)", hovertemplate: `%{z:.4g} 1/mm${at}` },
    };
    for (const place of this.places) {
      const { title, z = this.shaped(field.sample(0)), ...view } = views[place.id];
      await Plotly.newPlot(place, [{ type: "heatmap", z, ...this.axes(), colorbar: colourBar(title), ...view }], this.layout(), CONFIG);
      this.listen(place);
    }
  }

  axes() {
    const { field } = this;
    return { x0: field.x(0), dx: field.pixel, y0: field.y(0), dy: -field.pixel };
  }

  layout() {
    const square = { scaleanchor: "x", constrain: "domain" };
    const shape = { line: { color: MARK, width: 2 }, fillcolor: CLEAR };
    return layout(axis("x (mm)", { constrain: "domain", showgrid: false }), axis("y (mm)", { ...square, showgrid: false }),
      { margin: { l: 46, r: 8, t: 8, b: 100 }, newshape: shape });
  }

  shaped(values) { return rowsOf({ rows: this.field.rows, cols: this.field.cols, values }); }

  showSample(number) {
    return Plotly.restyle("sample", { z: [this.shaped(this.field.sample(number))] });
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
    this.onPoint(row, col);
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
    } else if ("xaxis.range[0]" in change || "xaxis.autorange" in change) {
      const { xaxis, yaxis } = place.layout;
      const whole = "xaxis.autorange" in change;
      await this.everywhere(whole ? { "xaxis.autorange": true, "yaxis.autorange": true } : { "xaxis.range": [...xaxis.range], "yaxis.range": [...yaxis.range] }, place);
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

  mark(shapes) {
    return this.everywhere({ shapes: shapes.map((shape) => ({ line: { color: MARK, width: 2 }, ...shape })) });
  }

  show(x, y) { return this.everywhere({ "xaxis.range": x, "yaxis.range": y }); }

  whole() { return this.everywhere({ "xaxis.autorange": true, "yaxis.autorange": true }); }
}
