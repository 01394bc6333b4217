// The score of a view against its angle: of every candidate before any was chosen, and of the chosen ones in their turn.

function drawGains(place, { unit, measured, chosen, candidates }) {
  const numbered = chosen.degrees.length <= NUMBERED;
  const drops = chosen.degrees.flatMap((angle, rank) => {
    const before = candidates.score[candidates.degrees.indexOf(angle)] ?? null;
    return before === null ? [] : [[angle, before], [angle, chosen.score[rank]], [null, null]];
  });
  const top = Math.max(...candidates.score, ...chosen.score);
  const traces = [
    {
      x: candidates.degrees, y: candidates.score, mode: "lines", name: "before any was chosen", line: { color: FIRST, width: 2 },
      hovertemplate: `%{y:.4g} ${unit} at %{x:.4g}°<extra></extra>`,
    },
    { x: drops.map(([x]) => x), y: drops.map(([, y]) => y), mode: "lines", line: { color: SECOND, width: 1, dash: "dot" }, hoverinfo: "skip", showlegend: false },
    {
      x: chosen.degrees, y: chosen.score, mode: numbered ? "markers+text" : "markers", name: "chosen, in this order", text: chosen.degrees.map((_, rank) => String(rank + 1)),
      textfont: { size: 11 }, marker: { color: SECOND, size: numbered ? 19 : 7 }, customdata: chosen.degrees.map((_, rank) => ordinal(rank + 1)),
      hovertemplate: `%{customdata}: %{y:.4g} ${unit} at %{x:.4g}°<extra></extra>`, cliponaxis: false,
    },
    {
      x: measured, y: measured.map(() => 0.02 * top), mode: "markers", name: "measured", marker: { symbol: "line-ns", size: 12, line: { color: SPOKES, width: 2 } },
      hovertemplate: "measured: %{x:.4g}°<extra></extra>", cliponaxis: false,
    },
  ];
  const y = axis(`score (${unit})`, { rangemode: "tozero", exponentformat: "power" });
  return Plotly.newPlot(place, traces.filter(({ x }) => x.length), layout(axis("view angle (°)", { dtick: Math.max(...candidates.degrees, ...chosen.degrees, ...measured) > 180 ? 45 : 30 }), y), CONFIG);
}
