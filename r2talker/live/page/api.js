// Lists the server's own description.

import { address, SCHEMA } from "./protocol.js";

for (const link of document.querySelectorAll("a[href^='/']")) link.href = address(link.getAttribute("href"));

function row(table, ...cells) {
  const line = document.getElementById(table).insertRow();
  for (const text of cells) line.insertCell().textContent = text;
}

const described = await (await fetch(address("/openapi.json"))).json();
for (const [path, methods] of Object.entries(described.paths)) {
  for (const [method, what] of Object.entries(methods)) {
    row("requests", `${method.toUpperCase()} ${path}`, what.summary || "", (what.parameters || []).map(({ name }) => name).join(", "));
  }
}
for (const [direction, kinds] of Object.entries(SCHEMA)) {
  for (const [name, fields] of Object.entries(kinds)) {
    row("messages", name, direction === "fromPage" ? "to the server" : "to the page", Object.entries(fields).map(([key, kind]) => `${key}: ${kind}`).join("; "));
  }
}
