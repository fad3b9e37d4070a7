// Which items, in a list beside the picture or as a grid of many; only what is visible is drawn.
const ROW = 60, CELLS = 40;
const caption = item => { const my = mine(item.id); return my ? (clashing(item.id).length ? "≠ " : "✓ ") + words(my) : isHidden(item) || !item.suggested ? title(item.label) : `${title(item.label)} → ${title(item.suggested)}`; };

function matches(item, anyState) {
  const text = $("find").value.trim().toLowerCase(), state = anyState ? "" : $("state").value, my = mine(item.id);
  return (!$("issue").value || item.issue === $("issue").value)
    && (!$("region").value || item.label === $("region").value || !isHidden(item) && item.suggested === $("region").value)
    && (!$("station").value || item.station === $("station").value)
    && (!state || state === "conflict" && clashing(item.id).length > 0 || state === "open" && !my || state === "done" && !!my || state === "unsure" && my?.verdict === "unsure")
    && (!text || [title(item.label), !isHidden(item) && item.suggested && title(item.suggested), item.station, item.note, my?.comment, item.id].some(t => t && t.toLowerCase().includes(text)));
}
function refilter(stay) {
  const current = shown[at];
  shown = data.items.filter(i => matches(i));
  at = stay && shown.includes(current) ? shown.indexOf(current) : shown.findIndex(i => !mine(i.id));
  at = Math.max(0, at); gridAt = Math.floor(at / CELLS) * CELLS; marked = null;
  showItem(); drawRows(); scrollToRow(); drawCells(); showProgress();
}
function clearFilters() { for (const id of ["issue", "region", "station", "state", "find"]) $(id).value = ""; }
function fillFilters() {
  const fill = (id, first, pairs) => $(id).replaceChildren(...[["", first], ...pairs].map(([value, textContent]) => make("option", { value, textContent })));
  const have = pick => [...new Set(data.items.flatMap(pick).filter(Boolean))].sort();
  fill("issue", "all issues", Object.entries(ISSUES).filter(([name]) => data.items.some(i => i.issue === name)));
  fill("region", "all regions", have(i => [i.label, i.suggested]).map(r => [r, title(r)]));
  fill("station", "all stations", have(i => i.station).map(s => [s, s]));
}

const rowPool = new Map();
function drawRows() {
  const box = $("queue"), first = Math.max(0, Math.floor(box.scrollTop / ROW) - 3), last = Math.min(shown.length, first + Math.ceil((box.clientHeight || 0) / ROW) + 7);
  $("rows").style.height = shown.length * ROW + "px";
  if (!box.clientHeight) return;
  for (const [n, row] of rowPool) if (n < first || n >= last || row.item !== shown[n]) { row.button.remove(); rowPool.delete(n); }
  for (let n = first; n < last; n++) {
    let row = rowPool.get(n);
    if (!row) {
      const img = make("img", { alt:"" }), text = make("span"), button = make("button", { type:"button", tabIndex:-1 }, img, text);
      button.style.top = n * ROW + 2 + "px"; button.onclick = () => { at = n; moved(); button.blur(); };
      fillImage(img, shown[n].thumb); row = { item:shown[n], button, text }; rowPool.set(n, row); $("rows").append(button);
    }
    row.text.textContent = caption(shown[n]);
    row.text.className = !mine(shown[n].id) ? "" : clashing(shown[n].id).length ? "clash" : "done";
    row.button.setAttribute("aria-current", n === at);
  }
}
function scrollToRow() {
  const box = $("queue"), top = at * ROW;
  if (top < box.scrollTop || top + ROW > box.scrollTop + box.clientHeight) box.scrollTop = top - box.clientHeight / 2 + ROW / 2;
}
$("queue").addEventListener("scroll", drawRows, { passive:true });
addEventListener("resize", () => drawRows());

let gridAt = 0, marked = null;
const cellItems = () => shown.slice(gridAt, gridAt + CELLS);
function drawCells() {
  if ($("grid").hidden) return;
  const items = cellItems();
  marked ??= new Set(items.filter(i => !mine(i.id)));
  $("gridplace").textContent = shown.length ? `${gridAt + 1}–${gridAt + items.length} of ${shown.length}, ${marked.size} marked` : "";
  const old = [...$("cells").children];
  if (old.length !== items.length || old.some((c, n) => c.item !== items[n])) $("cells").replaceChildren(...items.map((item, n) => {
    const img = make("img", { alt:"" }), cell = make("button", { type:"button", item }, img, make("span"));
    fillImage(img, item.thumb);
    cell.onclick = () => { if (marked.has(item)) marked.delete(item); else marked.add(item); drawCells(); };
    cell.ondblclick = () => { at = gridAt + n; setGrid(false); };
    return cell;
  }));
  [...$("cells").children].forEach(cell => {
    cell.setAttribute("aria-pressed", marked.has(cell.item));
    const text = cell.querySelector("span"); text.textContent = caption(cell.item); text.className = mine(cell.item.id) ? "done" : "";
  });
  document.querySelector("[data-grid=suggest]").disabled = items.every(isHidden);
  source(shown[gridAt + CELLS]?.thumb ?? items[0]?.thumb)?.catch(() => 0);
}
function setGrid(on) {
  $("grid").hidden = !on; $("gridbutton").setAttribute("aria-pressed", on);
  if (on) { gridAt = Math.floor(at / CELLS) * CELLS; marked = null; } else at = Math.max(gridAt, Math.min(at, Math.max(0, shown.length - 1)));
  showItem(); drawRows(); drawCells();
}
function turnPage(step) {
  const next = gridAt + step * CELLS;
  if (next < 0 || next >= shown.length) return;
  gridAt = at = next; marked = null; $("cells").scrollTop = 0; drawCells(); showProgress();
}
function judgeMarked(kind) {
  if (!hasName()) return;
  const fits = cellItems().filter(i => marked.has(i) && (kind === "confirm" ? i.label || i.suggested && !isHidden(i) : i.label && i.suggested && i.suggested !== i.label && !isHidden(i)));
  for (const item of fits) give(item, kind === "confirm" ? "confirm" : "correct", kind === "confirm" ? item.label || item.suggested : item.suggested);
  fits.forEach(i => marked.delete(i));
  if (fits.length && cellItems().every(i => mine(i.id))) turnPage(1);
  drawCells(); showProgress();
}
const GRID = {
  before() { turnPage(-1); }, after() { turnPage(1); }, undo,
  all() { marked = marked.size ? new Set() : new Set(cellItems()); drawCells(); },
  confirm() { judgeMarked("confirm"); }, suggest() { judgeMarked("suggest"); },
};
document.querySelectorAll("[data-grid]").forEach(b => b.addEventListener("click", () => { GRID[b.dataset.grid](); b.blur(); }));
