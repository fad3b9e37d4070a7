// Verdicts: what this reviewer has said, what others say, and how each key press gets to the disk.
const inline = document.getElementById("queue-data");
const served = !inline;
const $ = id => document.getElementById(id);
const make = (tag, given = {}, ...children) => { const one = Object.assign(document.createElement(tag), given); one.append(...children); return one; };
const recall = (key, other) => { try { return JSON.parse(localStorage.getItem(key)) ?? other; } catch { return other; } };
const remember = (key, value) => { try { localStorage.setItem(key, JSON.stringify(value)); return true; } catch { return false; } };

let data = { place:"", titles:{}, items:[], pictures:{} };
let me = "", token = "";
let own = [], stacks = new Map(), others = new Map(), unsent = [], refused = [];
const title = name => name ? (data.titles[name] || name) : "none";
const words = v => v.verdict === "correct" ? "correct to " + title(v.region) : v.verdict === "confirm" ? "confirmed: " + title(v.region) : v.verdict.replaceAll("_", " ");
const outcome = v => v.verdict === "out_of_domain" ? "" : v.verdict === "unsure" ? null : v.region;

function apply(entry) {
  own.push(entry);
  if (!stacks.has(entry.item)) stacks.set(entry.item, []);
  if (entry.verdict === "undo") stacks.get(entry.item).pop(); else stacks.get(entry.item).push(entry);
}
function reapply(entries) { const all = entries; own = []; stacks = new Map(); all.forEach(apply); }
const mine = id => stacks.get(id)?.at(-1);
function clashing(id) {
  const my = mine(id); if (!my || outcome(my) === null) return [];
  return (others.get(id) || []).filter(v => outcome(v) !== null && outcome(v) !== outcome(my));
}
function lastLive() { return own.findLast(v => v.verdict !== "undo" && stacks.get(v.item)?.includes(v) && data.items.some(i => i.id === v.item)); }

// What is not saved yet waits in the browser, each under a key of its own: several tabs do not undo one another, and
// what the server refuses waits for the next load or an export. The place is that of the findings, through all audits.
const unsentKey = id => `radray-unsent-${data.place}-${me}-${id}`;
const forget = entry => { try { localStorage.removeItem(unsentKey(entry.id)); } catch { /* it was never kept */ } };
function waiting() {
  let keys = []; try { keys = Object.keys(localStorage); } catch { /* nothing is kept */ }
  return keys.filter(key => key.startsWith(unsentKey(""))).map(key => recall(key, null)).filter(v => v?.reviewer === me).sort((a, b) => a.order - b.order);
}
let pressed = 0;
const logKey = () => `radray-log-${data.place}`;
function newId() { return Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, "0")).join(""); }
function record(item, verdict, region, comment, blind) {
  const entry = { id:newId(), item, verdict, region:region || "", comment, blind:blind ? "yes" : "", reviewer:me, time:new Date().toISOString().slice(0, 19) + "+00:00" };
  apply(entry);
  if (served) { entry.order = Date.now() * 1000 + pressed++ % 1000; unsent.push(entry); remember(unsentKey(entry.id), entry); send(); }
  else if (entry.uri = data.items.find(i => i.id === item).uri, remember(logKey(), [...recall(logKey(), []), entry])) tell("kept in this browser; export when done");
  else tell("this browser keeps nothing: export before you close the page", true);
  return entry;
}
function tell(text, late = false) { $("saved").textContent = text; $("saved").className = late ? "late" : ""; }

async function ask(path, given = {}) {
  const headers = { "X-Radray-Token":token, "X-Radray-Reviewer":encodeURIComponent(me), ...given.headers };
  return fetch(path, { ...given, headers, cache:"no-store", signal:AbortSignal.timeout(10000) });
}
let sending = false;
async function send() {
  if (sending) return;
  sending = true;
  try {
    while (unsent.length) {
      const entry = unsent[0], answer = await ask("verdicts", { method:"POST", headers:{ "Content-Type":"application/json" }, body:JSON.stringify(entry) });
      if (answer.status === 400 || answer.status === 413) {
        const why = (await answer.json().catch(() => ({}))).detail || answer.status;
        unsent.shift(); refused.push(entry); reapply(own.filter(v => v.id !== entry.id)); redraw();
        $("export").hidden = false;
        tell(`refused: ${why}; ${refused.length} kept here, see Export`, true); continue;
      }
      if (!answer.ok) throw new Error(answer.status === 403 ? "open the URL that the server printed" : "trying again");
      const said = (await answer.json()).others;
      unsent.shift(); forget(entry);
      others.set(entry.item, said);
      const clash = entry.verdict === "undo" ? [] : clashing(entry.item);
      if (said.length || clash.length) redraw();
      tell(clash.length ? "saved · " + clash.map(v => v.reviewer + " differs").join(", ") : refused.length ? `saved · ${refused.length} refused, see Export` : "saved", clash.length + refused.length > 0);
    }
  } catch (error) {
    tell(`${unsent.length} not saved yet, ${/open/.test(error.message) ? error.message : "trying again"}`, true); setTimeout(send, 1000);
  } finally { sending = false; }
}
async function loadVerdicts() {
  others = new Map(); unsent = []; refused = [];
  if (!served) {
    const log = recall(logKey(), []);
    reapply(log.filter(v => v.reviewer === me));
    const theirs = new Map();
    for (const v of log) if (v.reviewer !== me) {
      const key = v.item + "\n" + v.reviewer, stack = theirs.get(key) || [];
      theirs.set(key, stack); if (v.verdict === "undo") stack.pop(); else stack.push(v);
    }
    for (const stack of theirs.values()) if (stack.length) { const v = stack.at(-1); others.set(v.item, [...(others.get(v.item) || []), v]); }
    return;
  }
  if (!me) { reapply([]); return; }
  const answer = await ask("verdicts"); if (!answer.ok) throw new Error((await answer.json()).detail);
  const got = await answer.json(), known = new Set(got.own.map(v => v.id));
  unsent = waiting();
  unsent.filter(v => known.has(v.id)).forEach(forget);
  unsent = unsent.filter(v => !known.has(v.id));
  reapply([...got.own, ...unsent]);
  for (const v of got.others) others.set(v.item, [...(others.get(v.item) || []), v]);
  if (unsent.length) send();
}

const COLUMNS = ["uri", "reviewer", "verdict", "region", "time", "comment", "blind", "id"];
function asCsv(log) {
  const cell = text => /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  return [COLUMNS.join(","), ...log.map(v => COLUMNS.map(c => cell(String((c === "uri" ? v.uri || "item:" + v.item : v[c]) || ""))).join(","))].join("\n") + "\n";
}
function fromCsv(text) {
  const rows = [[]]; let cell = "", quoted = false;
  for (let at = text.charCodeAt(0) === 0xfeff ? 1 : 0; at < text.length; at++) {
    const c = text[at];
    if (quoted) { if (c !== '"') cell += c; else if (text[at + 1] === '"') { cell += c; at++; } else quoted = false; }
    else if (c === '"') quoted = true;
    else if (c === "," || c === "\n") { rows.at(-1).push(cell); cell = ""; if (c === "\n") rows.push([]); }
    else if (c !== "\r") cell += c;
  }
  const names = rows[0];
  if (!["uri", "reviewer", "verdict", "region"].every(name => names.includes(name))) return null;
  return rows.slice(1).filter(row => row.length === names.length).map(row => Object.fromEntries(names.map((name, n) => [name, row[n]])));
}
function exportCsv() {
  const link = make("a", { href:URL.createObjectURL(new Blob([asCsv(served ? refused : recall(logKey(), own))], { type:"text/csv" })), download:"verdicts.csv" });
  link.click(); setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
// A line without id gets one from its content, as radray/review/merging.py does (FNV-1a, 128 bits).
function digest(text) {
  let found = 0x6c62272e07bb014262b821756295c58dn;
  for (const byte of new TextEncoder().encode(text)) found = (found ^ BigInt(byte)) * 0x1000000000000000000013bn & (1n << 128n) - 1n;
  return found.toString(16).padStart(32, "0");
}
function numberLines(rows) {
  const before = new Map();
  return rows.map(v => {
    if (v.id) return v;
    const content = COLUMNS.slice(0, -1).map(c => v[c] || "").join("\n"), place = before.get(content) || 0;
    before.set(content, place + 1);
    return { ...v, id:digest(content + "\n" + place) };
  });
}
// By time, each file in its own order; a line without time goes with the one before it.
function mergeLines(known, fresh) {
  const given = (lines, part) => { let latest = 0; return lines.map((v, n) => {
    const seconds = Date.parse(/(z|[+-]\d\d:?\d\d)$/i.test(v.time || "") ? v.time : v.time + "Z"); if (seconds) latest = Math.max(latest, seconds);
    return [latest, part, n, v]; }); };
  return [...given(known, 0), ...given(fresh, 1)].sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]).map(line => line[3]);
}
async function importCsv(file) {
  const rows = fromCsv(await file.text()), ids = new Map(data.items.map(i => [i.uri, i.id])), log = recall(logKey(), []), known = new Set(log.map(v => v.id));
  if (!rows) { tell("not a verdicts file", true); return; }
  const fresh = numberLines(rows).filter(v => ids.has(v.uri) && !known.has(v.id)).map(v => ({ ...v, item:ids.get(v.uri) }));
  remember(logKey(), mergeLines(log, fresh));
  await loadVerdicts(); refilter(true); tell(`${fresh.length} verdicts taken in, ${rows.length - fresh.length} left out`);
}
