// Starts a page with charts: unpacks plotly, has the charts drawn, and fits them to paper.

const byId = (id) => document.getElementById(id);

async function loadPlotly() {
  const script = document.createElement("script");
  script.textContent = new TextDecoder().decode(await unpacked(byId("plotly").textContent));
  document.head.append(script);
}

// Charts are as large as the screen had them; on paper two fit beside each other.
function followPaper() {
  const plots = () => document.querySelectorAll(".js-plotly-plot");
  const onPaper = (plot) => {
    const { tall } = plot.dataset;
    Plotly.relayout(plot, { width: plot.closest(".one") ? 660 : 320, height: tall ? 320 * tall : 290 });
  };
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((folded) => { folded.open = true; }));
  addEventListener("beforeprint", () => plots().forEach(onPaper));
  addEventListener("afterprint", () => plots().forEach((plot) => Plotly.relayout(plot, { width: null, height: null, autosize: true })));
}

async function start(draw) {
  await loadPlotly();
  await draw(JSON.parse(byId("numbers").textContent));
  followPaper();
  document.body.dataset.ready = "yes";
}

// `draw` makes all charts of the page from its numbers.
function startPage(draw) {
  start(draw).catch((error) => {
    byId("problem").hidden = false;
    byId("problem").append(` (${error})`);
    throw error;
  });
}
