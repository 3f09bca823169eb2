// Sorts a table by the column whose header is clicked, or chosen with Tab and Enter.
const SIZES = { k: 1e3, M: 1e6, G: 1e9, T: 1e12 };

function valueOf(row, column) {
  const text = row.cells[column].textContent.trim().replace(/^~|\*$/g, "").trim();
  const found = text.match(/^([+-]?[\d.]+)\s*([kMGT]?)(?:B|s)?$/);
  return found ? parseFloat(found[1]) * (SIZES[found[2]] || 1) : text === "-" || text === "" ? null : text;
}

function sort(head) {
  const table = head.closest("table"), body = table.tBodies[0], column = head.cellIndex;
  const down = head.getAttribute("aria-sort") !== "descending";
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(b));
  const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
  const known = rows.filter(([value]) => value !== null);
  known.sort(([a], [b]) => (down ? compare(b, a) : compare(a, b)));
  const missing = rows.filter(([value]) => value === null); // always last
  body.append(...[...known, ...missing].map(([, row]) => row));
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
}

for (const head of document.querySelectorAll("table.sort thead th")) {
  if (!head.textContent.trim()) continue;
  head.tabIndex = 0;
  head.title = "sort";
  head.addEventListener("click", () => sort(head));
  head.addEventListener("keydown", (event) => event.key === "Enter" && sort(head));
}
