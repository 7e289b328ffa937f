// Where a training run stands: its loss curve and readings.

import { byId } from "./controls.js";

export function showTraining({ phase, step, steps, paused, scalars, curve }) {
  byId("training").hidden = false;
  byId("phase").textContent = `${phase}: step ${step} of ${steps}${paused ? ", paused" : ""}`;
  byId("pause").disabled = paused;
  byId("resume").disabled = !paused;
  byId("scalars").replaceChildren(...Object.entries(scalars).map(([name, value]) => {
    const row = document.createElement("div"), term = document.createElement("dt"), reading = document.createElement("dd");
    term.textContent = name;
    reading.textContent = value.toPrecision(4);
    row.append(term, reading);
    return row;
  }));
  draw(byId("curve"), curve);
}

// Steps to the right, the logarithm of the loss upwards.
function draw(canvas, curve) {
  const context = canvas.getContext("2d"), { width, height } = canvas, style = getComputedStyle(document.body);
  context.clearRect(0, 0, width, height);
  const points = curve.filter(([, value]) => value > 0).map(([step, value]) => [step, Math.log10(value)]);
  if (points.length < 2) return;
  const [low, high] = [Math.min(...points.map((point) => point[1])), Math.max(...points.map((point) => point[1]))];
  const [first, last] = [points[0][0], points[points.length - 1][0]];
  context.strokeStyle = style.getPropertyValue("--accent");
  context.lineWidth = 2;
  context.beginPath();
  for (const [step, value] of points) {
    context.lineTo(8 + (width - 16) * (step - first) / Math.max(last - first, 1), height - 8 - (height - 16) * (value - low) / Math.max(high - low, 1e-6));
  }
  context.stroke();
  context.fillStyle = style.getPropertyValue("--ink");
  context.fillText((10 ** high).toPrecision(3), 10, 12);
  context.fillText((10 ** low).toPrecision(3), 10, height - 4);
}
