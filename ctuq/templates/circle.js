// Views on a circle: those that were there as grey spokes, added ones from the inside outwards in their order.

const FAINT = "rgba(128, 128, 128, .35)";
const SPOKES = "#888888";
const INNER = 0.38; // spokes end here, and the first added view lies beyond
const NUMBERED = 24; // more numbers than these would cover each other

function ordinal(n) {
  const teen = n % 100 > 10 && n % 100 < 14;
  return `${n}${teen ? "th" : ["th", "st", "nd", "rd"][n % 10] ?? "th"}`;
}

// Lines from one radius to another, as one trace: [[degrees, from, to], ...].
function spokes(lines, more) {
  const theta = lines.flatMap(([angle]) => [angle, angle, null]);
  const r = lines.flatMap(([, from, to]) => [from, to, null]);
  return { type: "scatterpolar", mode: "lines", theta, r, hoverinfo: "skip", ...more };
}

// present, added: {name, degrees}; crossed: likewise, drawn on the rim.
function drawCircle(place, { present, added, crossed = { name: "", degrees: [] } }) {
  const n = added.degrees.length;
  const radii = added.degrees.map((_, rank) => INNER + ((1 - INNER) * (rank + 1)) / (n + 1));
  const numbered = n <= NUMBERED;
  const traces = [
    spokes(present.degrees.map((angle) => [angle, 0, INNER]), { name: present.name, line: { color: SPOKES, width: 2 } }),
    spokes(added.degrees.map((angle, rank) => [angle, INNER, radii[rank]]), { line: { color: SECOND, width: 1 }, opacity: 0.6, showlegend: false }),
    {
      type: "scatterpolar", mode: numbered ? "markers+text" : "markers", theta: added.degrees, r: radii, name: added.name,
      marker: { color: SECOND, size: numbered ? 19 : 7 }, text: added.degrees.map((_, rank) => String(rank + 1)),
      textfont: { size: 11 }, customdata: added.degrees.map((_, rank) => ordinal(rank + 1)),
      hovertemplate: "%{customdata}: %{theta:.4g}°<extra></extra>",
    },
  ];
  if (crossed.degrees.length) {
    const marker = { color: "#d33f49", symbol: "x", size: 9 };
    traces.push({ type: "scatterpolar", mode: "markers", theta: crossed.degrees, r: crossed.degrees.map(() => 1), name: crossed.name, marker, hovertemplate: "%{theta:.4g}°<extra></extra>" });
  }
  const all = [present, added, crossed].flatMap(({ degrees }) => degrees);
  const half = all.every((angle) => angle >= 0 && angle <= 180); // parallel rays say the same from the other side
  const polar = {
    bgcolor: CLEAR, sector: half ? [0, 180] : [0, 360],
    radialaxis: { range: [0, 1.04], showticklabels: false, ticks: "", showgrid: false, showline: false },
    angularaxis: { dtick: half ? 30 : 45, ticksuffix: "°", gridcolor: FAINT, linecolor: SPOKES, ticks: "" },
  };
  const legend = { orientation: "h", x: 0.5, xanchor: "center", y: -0.06, yanchor: "top", bgcolor: CLEAR, itemclick: false, itemdoubleclick: false };
  const { xaxis, yaxis, ...frame } = layout({}, {}, { polar, legend, dragmode: false, margin: { l: 40, r: 40, t: 28, b: 20 } });
  return Plotly.newPlot(place, traces, frame, CONFIG);
}
