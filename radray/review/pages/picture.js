// The picture: fetched ahead, its window and level, its size and place, and the heat map over it.
const fetched = new Map(), KEPT = 800, AHEAD = 8;
function source(number) {
  if (!served) return Promise.resolve(data.pictures[number]);
  let found = fetched.get(number);
  if (found) { fetched.delete(number); fetched.set(number, found); return found; }
  found = ask("picture/" + number).then(answer => { if (answer.status === 410) tell("the audit ran again: start the review again", true); if (!answer.ok) throw new Error("no picture"); return answer.blob(); }).then(blob => URL.createObjectURL(blob));
  found.catch(() => fetched.delete(number));
  fetched.set(number, found);
  if (fetched.size > KEPT) { const [oldest, url] = fetched.entries().next().value; fetched.delete(oldest); url.then(u => URL.revokeObjectURL(u), () => 0); }
  return found;
}
function fillImage(img, number) {
  img.dataset.number = number; img.removeAttribute("src");
  source(number).then(url => { if (img.dataset.number === String(number)) img.src = url; }, () => 0);
}
const decoded = new Map();
function ready(number) {
  if (!decoded.has(number)) {
    const image = new Image();
    decoded.set(number, source(number).then(url => { image.src = url; return image.decode(); }).then(() => image));
    decoded.get(number).catch(() => decoded.delete(number));
    if (decoded.size > 40) decoded.delete(decoded.keys().next().value);
  }
  return decoded.get(number);
}

const START = { width:1, level:.5, invert:false, zoom:1, x:0, y:0 };
let look = { ...START }, heatOf = 0, opacity = recall("radray-opacity", .6), pictured = null;
function showPicture(item) {
  const changed = pictured !== item; pictured = item;
  if (changed) { look = { ...START, invert:look.invert }; paintLook(); $("heat").hidden = true; }
  const started = performance.now();
  ready(item.picture).then(image => {
    if (pictured !== item) return;
    $("picture").src = image.src; $("picture").dataset.item = item.id; $("picture").dataset.ms = (performance.now() - started).toFixed(1);
  }, () => { if (pictured === item) { $("picture").removeAttribute("src"); setTimeout(() => pictured === item && showPicture(item), 1000); } });
  paintHeat();
}
function fetchAhead(items) { for (const item of items.slice(0, AHEAD)) { ready(item.picture).catch(() => 0); item.near.forEach(([n]) => source(n).catch(() => 0)); } }

function paintLook() {
  const plain = look.width === 1 && look.level === .5 && !look.invert, sign = look.invert ? -1 : 1;
  const slope = sign / look.width, intercept = .5 - sign * look.level / look.width;
  if (!plain) document.querySelectorAll("#windowing feComponentTransfer > *").forEach(f => { f.setAttribute("slope", slope); f.setAttribute("intercept", intercept); });
  $("picture").classList.toggle("windowed", !plain);
  $("view").style.transform = `translate(${look.x}px, ${look.y}px) scale(${look.zoom})`;
  $("window").textContent = plain && look.zoom === 1 ? "" : `W ${Math.round(255 * look.width)}  L ${Math.round(255 * look.level)}${look.invert ? "  inverted" : ""}${look.zoom === 1 ? "" : `  ${Math.round(100 * look.zoom)} %`}`;
}
function zoomAt(factor, clientX, clientY) {
  const box = $("frame").getBoundingClientRect(), zoom = Math.min(12, Math.max(1, look.zoom * factor)), ratio = zoom / look.zoom;
  const px = (clientX ?? box.x + box.width / 2) - box.x - box.width / 2, py = (clientY ?? box.y + box.height / 2) - box.y - box.height / 2;
  look.x = zoom === 1 ? 0 : px - ratio * (px - look.x); look.y = zoom === 1 ? 0 : py - ratio * (py - look.y); look.zoom = zoom; paintLook();
}

const RAMP = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];
function colour(value) {
  const at = value / 255 * (RAMP.length - 1), low = Math.min(Math.floor(at), RAMP.length - 2), part = at - low;
  return RAMP[low].map((c, n) => c + part * (RAMP[low + 1][n] - c));
}
const COLOURS = Array.from({ length:256 }, (_, value) => colour(value));
async function paintHeat() {
  const item = pictured, number = item && heatOf ? item.heat[heatOf - 1] : null, canvas = $("heat"), wanted = heatOf;
  const hidden = item && isHidden(item), names = item && [null, item.suggested, item.label];
  $("heatword").textContent = !heatOf || !item ? "" : hidden ? "heat map hidden: blind" : number === null ? `no heat map for ${heatOf === 1 ? "the suggestion" : "the label"}` : "what speaks for " + title(names[heatOf]);
  if (number === null || hidden) { canvas.hidden = true; return; }
  const image = await ready(number).catch(() => null);
  if (!image || pictured !== item || heatOf !== wanted) return;
  canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d", { willReadFrequently:true });
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let at = 0; at < pixels.data.length; at += 4) {
    const value = pixels.data[at];
    pixels.data.set(COLOURS[value], at); pixels.data[at + 3] = Math.sqrt(value / 255) * 255;
  }
  context.putImageData(pixels, 0, 0);
  canvas.style.opacity = opacity; canvas.dataset.item = item.id; canvas.hidden = false;
}
function setOpacity(value) { opacity = Math.min(1, Math.max(.1, value)); $("opacity").value = 100 * opacity; $("heat").style.opacity = opacity; remember("radray-opacity", opacity); }
const LOOKS = {
  invert() { look.invert = !look.invert; paintLook(); },
  heat() { heatOf = (heatOf + 1) % 3; paintHeat(); },
  in() { zoomAt(1.4); }, out() { zoomAt(1 / 1.4); },
  reset() { look = { ...START }; paintLook(); },
};

const fingers = new Map(); let drag = null;
$("frame").addEventListener("pointerdown", e => {
  if (!pictured) return;
  fingers.set(e.pointerId, e); $("frame").setPointerCapture(e.pointerId);
  drag = { x:e.clientX, y:e.clientY, look:{ ...look }, moves:e.shiftKey || e.button === 2 || e.button === 1 };
  if (fingers.size === 2) drag.span = span();
});
const span = () => { const [a, b] = fingers.values(); return { size:Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) || 1, x:(a.clientX + b.clientX) / 2, y:(a.clientY + b.clientY) / 2 }; };
$("frame").addEventListener("pointermove", e => {
  if (!fingers.has(e.pointerId) || !drag) return;
  const before = fingers.size === 2 ? span() : null;
  fingers.set(e.pointerId, e);
  if (before) { const after = span(); look.x += after.x - before.x; look.y += after.y - before.y; zoomAt(after.size / before.size, after.x, after.y); return; }
  const dx = e.clientX - drag.x, dy = e.clientY - drag.y;
  if (drag.moves) { look.x = drag.look.x + dx; look.y = drag.look.y + dy; }
  else { look.width = Math.min(3, Math.max(.02, drag.look.width * Math.exp(dx / 250))); look.level = Math.min(1.5, Math.max(-.5, drag.look.level + dy / 500)); }
  paintLook();
});
for (const end of ["pointerup", "pointercancel"]) $("frame").addEventListener(end, e => {
  fingers.delete(e.pointerId); const left = [...fingers.values()][0];
  drag = left ? { x:left.clientX, y:left.clientY, look:{ ...look }, moves:true } : null;
});
$("frame").addEventListener("contextmenu", e => e.preventDefault());
$("frame").addEventListener("dblclick", () => LOOKS.reset());
$("frame").addEventListener("wheel", e => { e.preventDefault(); zoomAt(Math.exp(-e.deltaY / 400), e.clientX, e.clientY); }, { passive:false });
document.querySelectorAll("[data-look]").forEach(b => b.addEventListener("click", () => LOOKS[b.dataset.look]()));
$("opacity").addEventListener("input", () => setOpacity($("opacity").value / 100));
