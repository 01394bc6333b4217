// Charts by plotly. Text, frames and grid take their colours from the page's style, curves have some that suit both.

const FIRST = "#2f86d6";
const SECOND = "#d9782d";
const BAND = "rgba(47, 134, 214, .28)";
const LOOK = matchMedia("(pointer: coarse)").matches ? false : "zoom"; // a finger that drags scrolls the page
const CLEAR = "rgba(0,0,0,0)";
const CONFIG = { displayModeBar: false, responsive: true, showTips: false };

// Of an axis over a map: what is pointed at is crossed, and read beside the map instead of over it.
const CROSS = { showspikes: true, spikemode: "across", spikesnap: "hovered data", spikethickness: 1, spikedash: "solid", spikecolor: "#19d3f3" };

function axis(title, more = {}) {
  return { title: { text: title, standoff: 6 }, zeroline: false, automargin: true, ...more };
}

function layout(x, y, more = {}) {
  return {
    paper_bgcolor: CLEAR, plot_bgcolor: CLEAR, font: { family: "system-ui, sans-serif", size: 12 },
    margin: { l: 50, r: 12, t: 30, b: 42 }, xaxis: x, yaxis: y, dragmode: LOOK,
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", bgcolor: CLEAR },
    hoverlabel: { bgcolor: "#1b1f24", bordercolor: "#1b1f24", font: { color: "#ffffff" } }, ...more,
  };
}

function colourBar(title) {
  return {
    orientation: "h", yref: "container", y: 0, yanchor: "bottom", thickness: 11, len: 1, exponentformat: "power",
    outlinewidth: 1, outlinecolor: "#888888",
    title: { text: title, side: "bottom" },
  };
}

function rowsOf({ rows, cols, values }) {
  return Array.from({ length: rows }, (_, row) => values.subarray(row * cols, (row + 1) * cols));
}
