// One picture: the input, a map over it, the ground truth and the boxes of the map.
const SCALE = 2;
const PALETTES = Object.fromEntries(Object.entries(PAGE.palettes).map(([name, text]) => [name, decode(text, Uint8Array)]));
const images = new Map();
const levelCache = new Map();

function imageOf(position) {
  const source = EX.cases[position].image;
  if (!source) return Promise.resolve(null);
  if (!images.has(position)) {
    const image = new Image();
    image.src = source;
    images.set(position, image.decode().then(() => image, () => null));
  }
  return images.get(position);
}

// Levels of a record's map of an image, or null where no maps were kept.
function levelsAt(record, position) {
  const { maps } = EX.records[record];
  if (!maps) return null;
  const key = `${record}:${position}`;
  if (!levelCache.has(key)) {
    if (levelCache.size > 400) levelCache.clear();
    const raw = decode(maps.data[position], Float32Array);
    levelCache.set(key, levelsOf(raw, maps.height, maps.width, EX.size, EX.records[record]));
  }
  return levelCache.get(key);
}

function overlay(levels, palette, alpha) {
  const picture = new ImageData(EX.size, EX.size), colours = PALETTES[palette] ?? PALETTES.viridis;
  levels.forEach((level, i) => {
    for (let c = 0; c < 3; c++) picture.data[4 * i + c] = colours[3 * level + c];
    picture.data[4 * i + 3] = Math.round(alpha * 2.55);
  });
  const layer = new OffscreenCanvas(EX.size, EX.size);
  layer.getContext("2d").putImageData(picture, 0, 0);
  return layer;
}

// A light line on a dark one, so that a box shows on any picture; `line` is the width of the light one. What lies at the
// edge of the picture is drawn inside it.
function drawBox(context, [x0, y0, x1, y1], colour, line, dash) {
  const side = EX.size * SCALE, within = (v) => Math.min(side - line, Math.max(line, v * SCALE));
  const [left, top, right, bottom] = [x0, y0, x1 + 1, y1 + 1].map(within);
  for (const [width, stroke] of [[2 * line, "#000000"], [line, colour]]) {
    context.lineWidth = width;
    context.strokeStyle = stroke;
    context.setLineDash(dash.map((part) => part * line));
    context.strokeRect(left, top, right - left, bottom - top);
  }
  context.setLineDash([]);
}

const TRUTH = "#ffffff", PREDICTED = "#ffd400";

function paint(canvas, image, { levels, truth, boxes, alpha, line = 2.5 }) {
  const side = EX.size * SCALE, context = canvas.getContext("2d");
  canvas.width = canvas.height = side;
  context.fillStyle = "#000000";
  context.fillRect(0, 0, side, side);
  if (image) context.drawImage(image, 0, 0, side, side);
  // Without a picture under it, the map is all there is to see.
  if (levels && alpha > 0) context.drawImage(overlay(levels, state.palette, image ? alpha : 100), 0, 0, side, side);
  for (const box of truth) drawBox(context, box, TRUTH, line, [3.6, 2.4]);
  for (const box of boxes) drawBox(context, box, PREDICTED, line, []);
}
