// The page of a replay.

const ORDERS = {
  planned: { line: { color: SECOND, width: 3 }, marker: { symbol: "circle", size: 8 } },
  equidistant: { line: { color: FIRST, dash: "dash" }, marker: { symbol: "square", size: 7 } },
  golden: { line: { color: "#2c9c69", dash: "dashdot" }, marker: { symbol: "triangle-up", size: 8 } },
  random: { line: { color: SPOKES, width: 1.5, dash: "dot" }, marker: { symbol: "x-thin", size: 6, line: { width: 1.5, color: SPOKES } } },
};

function drawMeasure(place, { name, label }, curves) {
  const traces = curves.map((curve) => {
    const kind = curve.name.split("-")[0];
    return {
      x: curve.views, y: curve[name], mode: "lines+markers", ...ORDERS[kind], name: kind, legendgroup: kind, legendrank: Object.keys(ORDERS).indexOf(kind),
      showlegend: curve.name === kind || curve.name === "random-1", hovertemplate: `${curve.name}, %{x} views: %{y:.4g}<extra></extra>`,
    };
  });
  const right = { type: "line", xref: "paper", x0: 0, x1: 1, y0: 1, y1: 1, line: { color: SPOKES, dash: "dash", width: 1 } };
  const y = axis(label, { exponentformat: "power", ...(name === "rms_std" || name === "chi_square" ? { rangemode: "tozero" } : {}) });
  const more = name === "chi_square" ? { shapes: [right] } : {};
  return Plotly.newPlot(place, traces.reverse(), layout(viewsAxis(curves.flatMap(({ views }) => views)), y, more), CONFIG);
}

startPage(async (numbers) => {
  const { curves, start } = numbers;
  for (const measure of numbers.measures) await drawMeasure(`chart-${measure.name}`, measure, curves);
  await drawPromises("promises", numbers);
  for (const place of document.querySelectorAll("[id^=circle-]")) {
    const { degrees } = curves.find((curve) => place.id === `circle-${curve.name}`);
    const present = { name: "first", degrees: degrees.slice(0, start) };
    await drawCircle(place, { present, added: { name: "then", degrees: degrees.slice(start) } });
  }
});
