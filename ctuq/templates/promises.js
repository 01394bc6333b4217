// How the error bars shrink with the number of views: as promised, and as the data then gave it.

// Whole numbers of views only.
function viewsAxis(views) {
  const few = Math.max(...views) - Math.min(...views) <= 12;
  return axis("views measured", few ? { dtick: 1 } : { tickformat: "d" });
}

// A list of [views, deviation in 1/mm] each; an empty one is not drawn.
function drawPromises(place, { promised, realised }) {
  const trace = (points, name, more) => ({
    x: points.map(([views]) => views), y: points.map(([, deviation]) => deviation), name, ...more,
    hovertemplate: `%{x} views: ± %{y:.3g} 1/mm ${name}<extra></extra>`,
  });
  const traces = [];
  if (realised.length) traces.push(trace(realised, "measured", { mode: "lines+markers", line: { color: FIRST }, marker: { size: 7 } }));
  if (promised.length) traces.push(trace(promised, "promised", { mode: "lines+markers", line: { color: SECOND, dash: "dot" }, marker: { symbol: "diamond-open", size: 10, line: { width: 2 } } }));
  const y = axis("error bar: root mean square (1/mm)", { rangemode: "tozero", exponentformat: "power" });
  return Plotly.newPlot(place, traces, layout(viewsAxis([...promised, ...realised].map(([views]) => views)), y, { showlegend: true }), CONFIG);
}
