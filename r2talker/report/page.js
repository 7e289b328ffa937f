// One cursor through all charts: tells the picture under the pointer.
const charts = [...document.querySelectorAll("figure.time")];
const at = document.getElementById("at");
const { width, left, right, fps, first } = document.body.dataset;
for (const chart of charts) {
  const svg = chart.querySelector("svg");
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const inside = width - left - right;
    const share = ((event.clientX - box.left) / box.width * width - left) / inside;
    const last = chart.dataset.frames - 1;
    const frame = Math.round(Math.min(Math.max(share, 0), 1) * last);
    const x = Number(left) + (last ? frame / last : 0) * inside;
    for (const other of charts) {
      const cursor = other.querySelector(".cursor");
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
    }
    at.textContent = `picture ${frame + Number(first)} · ${(frame / fps).toFixed(2)} s`;
    at.style.display = "block";
  });
}
