// Tables sort by a click on a heading, or by Enter or Space on it: up, then down.
"use strict";
const value = (row, column) => {
  const cell = row.cells[column];
  return "v" in cell.dataset ? Number(cell.dataset.v) : cell.textContent.trim();
};
const missing = (item) => item === "" || item === "–";
const compare = (a, b) =>
  typeof a === "number" && typeof b === "number"
    ? a - b
    : String(a).localeCompare(String(b), "en", { numeric: true });

function sort(table, column, down) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [value(row, column), row]);
  const known = rows.filter(([item]) => !missing(item));
  const rest = rows.filter(([item]) => missing(item));
  known.sort(([a], [b]) => (down ? compare(b, a) : compare(a, b)));
  body.append(...known.concat(rest).map(([, row]) => row));
  [...table.tHead.rows[0].cells].forEach((cell, i) =>
    cell.setAttribute("aria-sort", i !== column ? "none" : down ? "descending" : "ascending")
  );
}

for (const table of document.querySelectorAll("figure.sorts table")) {
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...cell.childNodes);
    cell.append(button);
    cell.setAttribute("aria-sort", "none");
    // Figures are first wanted from the largest, names from a to z.
    const first = cell.classList.contains("n") ? "descending" : "ascending";
    button.addEventListener("click", () => {
      const now = cell.getAttribute("aria-sort");
      const next = now === "none" ? first : now === "ascending" ? "descending" : "ascending";
      sort(table, column, next === "descending");
    });
  });
}
