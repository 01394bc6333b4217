// What is marked on the maps: white on black, which stands out from every colour, with a number that the text
// repeats, in the order in which it does.

const TAGS = { leastCertain: "1", region: "2", line: "3" };

function outlined(shape, dash) {
  return [{ ...shape, line: { color: "#000000", width: 4 } }, { ...shape, line: { color: "#ffffff", width: 1.6, dash } }];
}

function tag(text, x, y, xanchor = "left") {
  return { text, x, y, xanchor, yanchor: "bottom", showarrow: false, font: { color: "#ffffff", size: 12 }, bgcolor: "#000000", bordercolor: "#ffffff", borderpad: 2 };
}

// A region as its field writes it; nothing for what is none.
function regionMarks(text) {
  const [kind, rest = ""] = text.trim().split(":");
  const n = rest.split(",").map(Number);
  if (kind === "disc") {
    const [x, y, radius] = n;
    return { shapes: outlined({ type: "circle", x0: x - radius, x1: x + radius, y0: y - radius, y1: y + radius }), annotations: [tag(TAGS.region, x, y + radius, "center")] };
  }
  if (kind === "rectangle") return { shapes: outlined({ type: "rect", x0: n[0], y0: n[1], x1: n[2], y1: n[3] }), annotations: [tag(TAGS.region, n[0], n[3])] };
  return { shapes: [], annotations: [] };
}

// As a layout takes them. `ends` of the line may be null, `region` empty.
function marksOf(ends, region, leastCertain) {
  const found = regionMarks(region);
  const shapes = [...outlined({ type: "rect", ...leastCertain }, "dot"), ...found.shapes];
  const annotations = [tag(TAGS.leastCertain, leastCertain.x1, leastCertain.y1), ...found.annotations];
  if (ends) {
    shapes.push(...outlined({ type: "line", x0: ends[0], y0: ends[1], x1: ends[2], y1: ends[3] }));
    annotations.push(tag(TAGS.line, ends[0], ends[1])); // where it starts: 0 mm of the profile
  }
  return { shapes, annotations };
}
