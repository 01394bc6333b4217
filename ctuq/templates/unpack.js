// What ctuq/page_numbers.py packed, as bytes and as numbers.

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

// {rows, cols, values}: row after row; NaN where there was no number.
async function unpackedLevels({ rows, cols, low, step, n_bytes, levels }) {
  const buffer = await unpacked(levels);
  const found = n_bytes === 1 ? new Uint8Array(buffer) : new Uint16Array(buffer);
  return { rows, cols, values: Float64Array.from(found, (level) => (level ? low + (level - 1) * step : NaN)) };
}
