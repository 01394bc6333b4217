// The image with its deviation and its samples: what they say of a pixel, along a line and over a region.

const LINE_FORM = "four numbers in mm: x, y to x, y";
const REGION_FORM = "disc:X,Y,RADIUS or rectangle:LEFT,BOTTOM,RIGHT,TOP, in mm";

class Field {
  constructor(numbers, image, std, steps) {
    Object.assign(this, { rows: image.rows, cols: image.cols, pixel: numbers.pixel_mm, floor: numbers.relative_floor });
    Object.assign(this, { image: image.values, std: std.values, steps, perDeviation: numbers.samples.per_deviation });
    this.nSamples = numbers.samples.n;
  }

  x(col) { return (col - (this.cols - 1) / 2) * this.pixel; }

  y(row) { return ((this.rows - 1) / 2 - row) * this.pixel; }

  row(y) { return Math.round((this.rows - 1) / 2 - y / this.pixel); }

  col(x) { return Math.round(x / this.pixel + (this.cols - 1) / 2); }

  // Per cent of the attenuation; nothing where there is too little of it.
  relativeAt(i) { return this.image[i] > this.floor ? (100 * this.std[i]) / this.image[i] : NaN; }

  get relative() { return this.image.map((_, i) => this.relativeAt(i)); }

  minusImageAt(number, i) {
    return (this.std[i] * this.steps[number * this.image.length + i]) / this.perDeviation;
  }

  sampleAt(number, i) { return this.image[i] + this.minusImageAt(number, i); }

  sample(number) { return this.image.map((_, i) => this.sampleAt(number, i)); }

  sampleMinusImage(number) { return this.image.map((_, i) => this.minusImageAt(number, i)); }

  // The pixels that a line from one point to another meets, in mm along it; each once.
  along([x0, y0, x1, y1]) {
    const length = Math.hypot(x1 - x0, y1 - y0);
    const n = Math.max(1, Math.ceil((2 * length) / this.pixel));
    const met = new Map();
    for (let k = 0; k <= n; k += 1) {
      const row = this.row(y0 + ((y1 - y0) * k) / n);
      const col = this.col(x0 + ((x1 - x0) * k) / n);
      const inside = row >= 0 && row < this.rows && col >= 0 && col < this.cols;
      if (inside && !met.has(row * this.cols + col)) met.set(row * this.cols + col, (length * k) / n);
    }
    return { pixels: [...met.keys()], distances: [...met.values()] };
  }

  // Ends of a line, from four numbers with anything usual between them; null where the text is no line.
  line(text) {
    const words = text.replace(/\u2212/g, "-").replace(/\bto\b|\bmm\b|[()]/gi, " ").split(/[\s,;]+/).filter(Boolean);
    const n = words.map(Number);
    return n.length === 4 && n.every(Number.isFinite) ? n : null;
  }

  // Pixels whose centres lie in a region given as `ctuq plan --roi` takes it; null where the text is no region.
  inside(text) {
    const [kind, rest = ""] = text.trim().split(":");
    const n = rest.split(",").map((part) => (part.trim() ? Number(part) : NaN));
    const wanted = { disc: 3, rectangle: 4 }[kind];
    if (n.length !== wanted || !n.every(Number.isFinite)) return null;
    const within = kind === "disc"
      ? (x, y) => Math.hypot(x - n[0], y - n[1]) <= n[2]
      : (x, y) => x >= n[0] && x <= n[2] && y >= n[1] && y <= n[3];
    const pixels = [];
    for (let i = 0; i < this.image.length; i += 1) {
      if (within(this.x(i % this.cols), this.y(Math.floor(i / this.cols)))) pixels.push(i);
    }
    return pixels;
  }

  // The mean over pixels, and its deviation by the samples: pixels err together, so it is not made of the pixels' own.
  region(pixels) {
    const mean = pixels.reduce((sum, i) => sum + this.image[i], 0) / pixels.length;
    let square = 0;
    for (let number = 0; number < this.nSamples; number += 1) {
      const of = pixels.reduce((sum, i) => sum + this.sampleAt(number, i), 0) / pixels.length;
      square += (of - mean) ** 2 / this.nSamples;
    }
    return { mean, std: Math.sqrt(square), known: 1 / Math.sqrt(2 * this.nSamples) };
  }
}

// With the sign that the axes have.
const minus = (text) => text.replaceAll("-", "\u2212");

// A value to the second digit of its deviation.
function withDeviation(value, std) {
  if (!(std > 0)) return minus(`${value.toPrecision(4)} ± ${std}`);
  const digits = Math.min(20, Math.max(0, 1 - Math.floor(Math.log10(std))));
  return minus(`${value.toFixed(digits)} ± ${std.toFixed(digits)}`);
}
