// Drawing on a canvas: paths and labels in coordinates from 0 to 1.

// A line through the points, or a closed outline.
export function path(pen, points, closed) {
  pen.beginPath();
  for (const [x, y] of points) pen.lineTo(x * pen.canvas.width, y * pen.canvas.height);
  if (closed) pen.closePath();
  pen.stroke();
}

// A label whose lower left corner is at (x, y), pixels; inside the canvas in any case.
export function tag(pen, text, x, y, color, scale) {
  const height = 15 * scale;
  const width = pen.measureText(text).width + 4 * scale;
  const left = Math.max(0, Math.min(x, pen.canvas.width - width));
  const top = y >= height ? y - height : y;
  pen.fillStyle = color;
  pen.fillRect(left, top, width, height);
  pen.fillStyle = isDark(color) ? "#fff" : "#000";
  pen.fillText(text, left + 2 * scale, top + 12 * scale);
}

// Whether white text is easier to read on a color #rrggbb than black text (WCAG 2: the contrasts are equal at 0.179).
function isDark(color) {
  const [red, green, blue] = [1, 3, 5].map((start) => {
    const value = parseInt(color.slice(start, start + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.179;
}

// Sizes a canvas to an image, and returns the scale that keeps text legible where the canvas is shown smaller.
export function fit(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
}

export const scaleOf = (canvas) => Math.max(1, canvas.width / Math.max(1, canvas.clientWidth));

export function prepare(pen, scale) {
  pen.lineWidth = 2 * scale;
  pen.font = `${Math.round(12 * scale)}px system-ui, sans-serif`;
}
