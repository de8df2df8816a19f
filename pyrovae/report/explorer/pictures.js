// Arrays as pictures.

// From nothing to much: dark violet, red, yellow, in steps that look alike.
const WARMTH = [[13, 8, 40], [84, 15, 109], [187, 55, 84], [249, 142, 9], [252, 255, 164]];

function warm(share) {
  const at = Math.min(1, Math.max(0, share)) * (WARMTH.length - 1), low = Math.min(WARMTH.length - 2, Math.floor(at));
  return WARMTH[low].map((value, i) => value + (at - low) * (WARMTH[low + 1][i] - value));
}

function draw(canvas, [channels, height, width], colourOf) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    const [red, green, blue] = colourOf(i, channels === 3 ? [i, i + width * height, i + 2 * width * height] : [i, i, i]);
    image.data.set([red, green, blue, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

function drawValues(canvas, shape, values, [low, high]) {
  draw(canvas, shape, (i, places) => places.map((place) => (255 * (values[place] - low)) / (high - low)));
}

// Of three channels the root of their mean square: one number a pixel.
function drawSpread(canvas, shape, values, most) {
  draw(canvas, shape, (i, places) => warm(Math.sqrt(places.reduce((sum, place) => sum + values[place] ** 2, 0) / 3) / most));
}

// A line through the elements, with a band of noise and a darker one of the latent spread.
function drawLine(canvas, values, noise, spread) {
  const width = (canvas.width = 720), height = (canvas.height = 240), context = canvas.getContext("2d");
  const reach = (i) => (noise ? noise[i] : 0) + (spread ? spread[i] : 0);
  let low = Infinity, high = -Infinity;
  values.forEach((value, i) => {
    low = Math.min(low, value - reach(i));
    high = Math.max(high, value + reach(i));
  });
  const x = (i) => 4 + (i / Math.max(1, values.length - 1)) * (width - 8), y = (value) => height - 6 - ((value - low) / (high - low || 1)) * (height - 12);
  const band = (sizes, opacity) => {
    context.globalAlpha = opacity;
    context.beginPath();
    values.forEach((value, i) => context.lineTo(x(i), y(value + sizes[i])));
    for (let i = values.length - 1; i >= 0; i--) context.lineTo(x(i), y(values[i] - sizes[i]));
    context.fill();
  };
  context.clearRect(0, 0, width, height);
  context.fillStyle = context.strokeStyle = colour("--p0");
  if (noise) band(noise, 0.18);
  if (spread) band(spread, 0.45);
  context.globalAlpha = 1;
  context.lineWidth = 2;
  context.beginPath();
  values.forEach((value, i) => context.lineTo(x(i), y(value)));
  context.stroke();
  return [low, high];
}
