// The report's charts: calibration, the fit, the rays, and the profile along a line.

function drawCoverage(place, { nominal, observed }) {
  const within = "%{y:.1f} % of the rays lie in their %{x:.0f} % interval<extra></extra>";
  return Plotly.newPlot(place, [
    { x: [0, 100], y: [0, 100], mode: "lines", name: "as it should be", line: { color: SECOND, dash: "dash" }, hoverinfo: "skip" },
    { x: nominal, y: observed, mode: "lines+markers", name: "test rays", line: { color: FIRST }, hovertemplate: within },
  ], layout(axis("interval (% of a Gaussian)", { range: [0, 101] }), axis("test rays inside (%)", { range: [0, 101] })), CONFIG);
}

function drawScores(place, { z, density }) {
  const normal = Array.from({ length: 101 }, (_, i) => (i - 50) / 10);
  return Plotly.newPlot(place, [
    { x: z, y: density, type: "bar", name: "test rays", marker: { color: BAND, line: { color: FIRST, width: 1 } } },
    { x: normal, y: normal.map((v) => Math.exp((-v * v) / 2) / Math.sqrt(2 * Math.PI)), mode: "lines", name: "N(0, 1)", line: { color: SECOND } },
  ], layout(axis("(measured − predicted) / deviation"), axis("density"), { bargap: 0 }), CONFIG);
}

// Ticks at 1, 2 and 5 of every decade, all as plain numbers.
function logAxis(title, values) {
  const decades = values.map((value) => Math.floor(Math.log10(value)));
  const tickvals = [];
  for (let decade = Math.min(...decades); decade <= Math.max(...decades); decade += 1) tickvals.push(...[1, 2, 5].map((digit) => Number(`${digit}e${decade}`)));
  return axis(title, { type: "log", tickvals, ticktext: tickvals.map(String) });
}

function drawFit(place, { step, fitted, choosing, chosen }) {
  const losses = [...fitted, ...choosing].filter((loss) => loss !== null);
  const vertical = losses.length && losses.every((loss) => loss > 0) ? logAxis("loss", losses) : axis("loss", { exponentformat: "power" });
  const line = { type: "line", x0: chosen, x1: chosen, yref: "paper", y0: 0, y1: 1, line: { color: "#888888", dash: "dot" } };
  const label = { x: chosen, yref: "paper", y: 1, text: `chosen: step ${Math.round(chosen)}`, showarrow: false, xanchor: "right", yanchor: "top" };
  return Plotly.newPlot(place, [
    { x: step, y: fitted, mode: "lines", name: "fitted rays", line: { color: SECOND } },
    { x: step, y: choosing, mode: "lines", name: "choosing rays", line: { color: FIRST } },
  ], layout(axis("step"), vertical,
    chosen === null ? {} : { shapes: [line], annotations: [label] }), CONFIG);
}

// Rows are views; some ten of them say their angle.
function viewAxis(degrees) {
  const every = Math.ceil(degrees.length / 10);
  const tickvals = degrees.map((_, row) => row).filter((row) => row % every === 0);
  return axis("angle of the view (°)", { autorange: "reversed", tickvals, ticktext: tickvals.map((row) => `${Number(degrees[row].toFixed(1))}`) });
}

// A tick at both sides of each row.
function rowTicks(rows) {
  const sides = [[0, 0.02], [0.98, 1]];
  return rows.flatMap((row) => sides.map(([x0, x1]) => ({ type: "line", xref: "paper", x0, x1, y0: row, y1: row, line: { color: SECOND, width: 3 } })));
}

// Line integrals in grey; what the image leaves of them from blue to red.
async function drawSinogram(places, { measured, residual, limit, degrees, detectors, tested }) {
  const maps = await Promise.all([measured, residual].map(async (packedMap) => rowsOf(await unpackedLevels(packedMap))));
  const draw = (place, z, title, colours) => Plotly.newPlot(place, [{
    type: "heatmap", z, x: detectors, hoverinfo: "none", colorbar: colourBar(title), ...colours,
  }], layout(axis("detector pixel", CROSS), { ...viewAxis(degrees), ...CROSS }, { margin: { l: 50, r: 12, t: 8, b: 100 }, shapes: rowTicks(tested) }), CONFIG);
  await draw(places[0], maps[0], "line integral", { colorscale: [[0, "#000000"], [1, "#ffffff"]] });
  await draw(places[1], maps[1], "(measured − image's) / deviation", { colorscale: "RdBu", zmin: -limit, zmax: limit });
  const tell = (row, col) => {
    const at = `at detector pixel ${detectors[col]}, ${Number(degrees[row].toPrecision(4))}°`;
    const texts = [maps[0][row][col].toPrecision(3), `${maps[1][row][col].toPrecision(3)} deviations`];
    places.forEach((place, k) => { byId(`${place}-value`).textContent = `${minus(texts[k])} ${at}`; });
  };
  for (const [place, other] of [places, [...places].reverse()]) {
    const point = ({ points: [{ pointNumber: [row, col] }] }) => {
      Plotly.Fx.hover(other, { xval: detectors[col], yval: row }, "xy", true);
      tell(row, col);
    };
    byId(place).on("plotly_hover", point);
    byId(place).on("plotly_click", point);
    byId(place).on("plotly_unhover", () => Plotly.Fx.unhover(other));
  }
}

// Every pixel that a line meets with its own 95 % band, and the sample that is shown beside it; empty without a line.
function drawProfile(place, field, met, sample) {
  const { pixels, distances: x } = met ?? { pixels: [], distances: [] };
  const value = pixels.map((i) => field.image[i]);
  const bound = (sign) => pixels.map((i) => field.image[i] + sign * 1.96 * field.std[i]);
  const text = pixels.map((i) => `${withDeviation(field.image[i], field.std[i])} 1/mm`);
  const edge = { mode: "lines", line: { width: 0, shape: "hvh", color: FIRST }, hoverinfo: "skip" };
  const traces = [
    { x, y: bound(-1), ...edge, showlegend: false },
    { x, y: bound(1), ...edge, fill: "tonexty", fillcolor: BAND, name: "95 % of each pixel" },
    { x, y: value, mode: "lines", name: "image", line: { color: FIRST, shape: "hvh" }, text, hovertemplate: "%{text} at %{x:.2f} mm<extra></extra>" },
  ];
  if (sample !== null) {
    const y = pixels.map((i) => field.sampleAt(sample, i));
    traces.push({ x, y, mode: "lines", name: `sample ${sample + 1}`, line: { color: SECOND, width: 1.2, shape: "hvh" }, hoverinfo: "skip" });
  }
  return Plotly.react(place, traces, layout(axis("along the line (mm)"), axis("attenuation (1/mm)")), CONFIG);
}
