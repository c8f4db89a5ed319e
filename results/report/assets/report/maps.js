// From a stored map to levels and boxes, by the rules of the records: resize, min-max, floor(255 v), contours.
function decode(text, Type) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Type(bytes.buffer);
}

// OpenCV's INTER_CUBIC: a = -0.75, weights in float32, sums in float64.
function cubicTaps(length, size) {
  const f = Math.fround, a = f(-0.75), taps = [];
  const five = f(5 * a), eight = f(8 * a), four = f(4 * a), two = f(a + 2), three = f(a + 3);
  for (let i = 0; i < size; i++) {
    const position = f((i + 0.5) * (length / size) - 0.5);
    const base = Math.floor(position);
    const x = f(position - base), x1 = f(x + 1), y = f(1 - x);
    const w0 = f(f(f(f(f(f(a * x1) - five) * x1) + eight) * x1) - four);
    const w1 = f(f(f(f(f(two * x) - three) * x) * x) + 1);
    const w2 = f(f(f(f(f(two * y) - three) * y) * y) + 1);
    const weights = [w0, w1, w2, f(f(f(1 - w0) - w1) - w2)];
    taps.push({ index: [-1, 0, 1, 2].map((k) => Math.min(length - 1, Math.max(0, base + k))), weights });
  }
  return taps;
}

// torch's bilinear, half-pixel centres.
function linearTaps(length, size) {
  return Array.from({ length: size }, (_, i) => {
    const position = Math.max(0, (i + 0.5) * (length / size) - 0.5);
    const base = Math.min(length - 1, Math.floor(position)), part = position - base;
    return { index: [base, Math.min(length - 1, base + 1)], weights: [1 - part, part] };
  });
}

function resize(map, height, width, size, kernel) {
  if (height === size && width === size) return Float64Array.from(map);
  const tapsOf = kernel === "bicubic" ? cubicTaps : linearTaps;
  const [across, down] = [tapsOf(width, size), tapsOf(height, size)];
  const rows = new Float64Array(height * size), out = new Float64Array(size * size);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < size; x++) {
      const { index, weights } = across[x];
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += map[y * width + index[k]] * weights[k];
      rows[y * size + x] = sum;
    }
  for (let y = 0; y < size; y++) {
    const { index, weights } = down[y];
    for (let x = 0; x < size; x++) {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += rows[index[k] * size + x] * weights[k];
      out[y * size + x] = sum;
    }
  }
  return out;
}

// All zero where the map is constant or not finite.
function minMax(map) {
  let low = Infinity, high = -Infinity, finite = true;
  for (const v of map) {
    if (!Number.isFinite(v)) finite = false;
    if (v < low) low = v;
    if (v > high) high = v;
  }
  const span = high - low;
  return finite && span > 0 && Number.isFinite(span) ? map.map((v) => (v - low) / span) : new Float64Array(map.length);
}

// To [0, 1] as the protocol says: min_max, max, pas or ivr(p); zero where nothing is above what is subtracted.
function normalised(map, how = "min_max") {
  const plain = minMax(map);
  if (how === "min_max" || plain.every((v) => v === 0)) return plain;
  const ranked = (values, percent) => {
    const sorted = Float64Array.from(values).sort();
    return sorted[Math.min(Math.floor(sorted.length * (percent / 100)), sorted.length - 1)];
  };
  if (how === "pas") {
    const low = map.reduce((a, b) => Math.min(a, b)), shifted = map.map((v) => v - low), scale = ranked(shifted, 90);
    return shifted.map((v) => (scale > 0 ? Math.min(1, v / scale) : v > 0 ? 1 : 0));
  }
  const less = how === "max" ? 0 : ranked(map, Number(how.slice(4, -1)));
  const above = map.map((v) => Math.max(0, v - less)), high = above.reduce((a, b) => Math.max(a, b));
  return high > 0 ? above.map((v) => v / high) : above;
}

// Levels uint8 (size x size) of a stored map. Finished masks (controls) are clipped, not stretched.
function levelsOf(map, height, width, size, { kernel, lowMinMax, finished, normalisation }) {
  let values = Float64Array.from(map);
  const flat = values.every((v) => v === values[0]);
  if (!finished && lowMinMax) values = minMax(values);
  let up = flat ? new Float64Array(size * size).fill(values[0]) : resize(values, height, width, size, kernel);
  up = finished ? up.map((v) => Math.min(1, Math.max(0, v))) : normalised(up, normalisation);
  return Uint8Array.from(up, (v) => Math.floor(v * 255));
}

// The four direct neighbours, then the diagonal ones.
const DX = [1, -1, 0, 0, 1, 1, -1, -1], DY = [0, 0, 1, -1, 1, -1, 1, -1];

// Connected components (4 or 8 neighbours) of the pixels that are `wanted` in a mask with a frame of one pixel; raster order.
function components(mask, side, wanted, neighbours) {
  const labels = new Int32Array(mask.length), stack = new Int32Array(mask.length), found = [];
  for (let start = 0; start < mask.length; start++) {
    if (mask[start] !== wanted || labels[start]) continue;
    const one = { x0: side, y0: side, x1: 0, y1: 0, area2: 0, frame: false };
    found.push(one);
    let top = 0;
    stack[top++] = start;
    labels[start] = found.length;
    while (top) {
      const p = stack[--top], x = p % side, y = (p - x) / side;
      if (x < one.x0) one.x0 = x;
      if (x > one.x1) one.x1 = x;
      if (y < one.y0) one.y0 = y;
      if (y > one.y1) one.y1 = y;
      if (!x || !y || x === side - 1 || y === side - 1) one.frame = true;
      for (let k = 0; k < neighbours; k++) {
        const nx = x + DX[k], ny = y + DY[k], n = ny * side + nx;
        if (nx < 0 || ny < 0 || nx >= side || ny >= side || mask[n] !== wanted || labels[n]) continue;
        labels[n] = found.length;
        stack[top++] = n;
      }
    }
  }
  return { labels, found };
}

// Twice the polygon area through pixel centres, per component of a mask without holes: a quad of 2x2 pixels adds 2 for
// four pixels and 1 for three.
function addAreas(mask, labels, found, side) {
  for (let y = 0; y + 1 < side; y++)
    for (let p = y * side, end = p + side - 1; p < end; p++) {
      const count = mask[p] + mask[p + 1] + mask[p + side] + mask[p + side + 1];
      if (count > 2) found[(labels[p] || labels[p + 1] || labels[p + side]) - 1].area2 += count === 4 ? 2 : 1;
    }
}

// Boxes [x0, y0, x1, y1] of {levels > cut}: the largest contour's, and those of all contours, holes included. Right and
// bottom edges are exclusive, then clipped; where nothing is above, the box is [0, 0, 0, 0].
function boxesOf(levels, size, cut) {
  const side = size + 2, mask = new Uint8Array(side * side);
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++) mask[(y + 1) * side + x + 1] = levels[y * size + x] > cut ? 1 : 0;
  // Coordinates of the framed mask are one more than the map's.
  const grown = (c, by) => [c.x0 - 1 - by, c.y0 - 1 - by, Math.min(c.x1 + by, size - 1), Math.min(c.y1 + by, size - 1)];
  const pieces = components(mask, side, 1, 8), gaps = components(mask, side, 0, 4);
  if (!pieces.found.length) return { single: [0, 0, 0, 0], multi: [[0, 0, 0, 0]], empty: true };
  const filled = Uint8Array.from(mask, (v, p) => (v || !gaps.found[gaps.labels[p] - 1].frame ? 1 : 0));
  const whole = components(filled, side, 1, 8);
  addAreas(filled, whole.labels, whole.found, side);
  // Of equal areas the last in raster order wins, as the first of OpenCV's list does.
  const largest = whole.found.reduce((best, c) => (c.area2 >= best.area2 ? c : best));
  const boxOf = (c) => [c.x0 - 1, c.y0 - 1, Math.min(c.x1, size - 1), Math.min(c.y1, size - 1)];
  const holes = gaps.found.filter((c) => !c.frame).map((c) => grown(c, 1));
  return { single: boxOf(largest), multi: [...pieces.found.map(boxOf), ...holes], empty: false };
}

// Inclusive (+1) intersection over union, as published.
function iou(a, b) {
  const w = Math.min(a[2], b[2]) - Math.max(a[0], b[0]) + 1, h = Math.min(a[3], b[3]) - Math.max(a[1], b[1]) + 1;
  if (w <= 0 || h <= 0) return 0;
  const area = (c) => (c[2] - c[0] + 1) * (c[3] - c[1] + 1);
  return (w * h) / (area(a) + area(b) - w * h);
}

function bestIou(boxes, truth) {
  return Math.max(0, ...boxes.flatMap((a) => truth.map((b) => iou(a, b))));
}

// The threshold of slider position k, as the published grid rounds it.
function tauOf(k) {
  return EX.grid === "arange1000" ? k * 0.001 : k / 1000;
}
