"use strict";
// Tables: a click on a head sorts by it; numbers from the largest down at first, cells without one last.
const key = cell => {
  const line = (cell.firstElementChild?.tagName === "B" ? cell.firstElementChild : cell.firstChild)?.textContent.trim() ?? "";
  const found = line.replace("−", "-").match(/^[◄<x[]?\s*([+-]?\d[\d,]*(\.\d+)?)/);
  return { text: line, number: found ? Number(found[1].replaceAll(",", "")) : null };
};
const sort = (table, column, head) => {
  const body = table.tBodies[0];
  const numeric = head.classList.contains("r");
  const down = head.hasAttribute("aria-sort") ? head.getAttribute("aria-sort") !== "descending" : numeric;
  const rows = [...body.rows].map(row => [key(row.cells[column]), row]);
  const compare = ([a], [b]) => {
    if (numeric) return (a.number === null) - (b.number === null) || (a.number - b.number) * (down ? -1 : 1);
    return a.text.localeCompare(b.text, "en", { numeric: true }) * (down ? -1 : 1);
  };
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  body.append(...rows.sort(compare).map(([, row]) => row));
  body.classList.add("sorted");
};
for (const table of document.querySelectorAll("table"))
  [...table.tHead.rows[0].cells].forEach((head, i) => head.firstChild.addEventListener("click", () => sort(table, i, head)));

// Values on hover, on focus and on touch.
const tip = document.body.appendChild(document.createElement("div"));
tip.className = "tip";
tip.setAttribute("role", "tooltip");
const show = event => {
  const target = event.target.closest?.("[data-tip]");
  tip.classList.toggle("shown", Boolean(target));
  if (!target) return;
  tip.textContent = target.dataset.tip;
  const box = target.getBoundingClientRect();
  const left = Math.min(Math.max(8, box.left + box.width / 2 - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 8);
  tip.style.left = `${left}px`;
  tip.style.top = `${box.top > tip.offsetHeight + 12 ? box.top - tip.offsetHeight - 6 : box.bottom + 6}px`;
};
for (const name of ["pointerover", "focusin", "click"]) document.addEventListener(name, show);
for (const name of ["scroll", "focusout"]) document.addEventListener(name, () => tip.classList.remove("shown"), true);

// A link into a folded section opens it.
const open = () => {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
  if (target) target.scrollIntoView();
};
addEventListener("hashchange", open);
for (const link of document.querySelectorAll("nav a"))
  link.addEventListener("click", () => { if (link.hash === location.hash) open(); });
open();
