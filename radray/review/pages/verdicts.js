// Verdicts: what this reviewer has said, what others say, and how each key press gets to the disk.
const inline = document.getElementById("queue-data");
const served = !inline;
const $ = id => document.getElementById(id);
const make = (tag, given = {}, ...children) => { const one = Object.assign(document.createElement(tag), given); one.append(...children); return one; };
const recall = (key, other) => { try { return JSON.parse(localStorage.getItem(key)) ?? other; } catch { return other; } };
const remember = (key, value) => { try { localStorage.setItem(key, JSON.stringify(value)); return true; } catch { return false; } };

let data = { key:"", titles:{}, items:[], pictures:{} };
let me = "", token = "";
let own = [], stacks = new Map(), others = new Map(), unsent = [];
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
function lastLive() { return own.findLast(v => v.verdict !== "undo" && stacks.get(v.item)?.includes(v)); }

// What is not saved yet waits in the browser, each under a key of its own: several tabs do not undo one another.
const unsentKey = id => `radray-unsent-${data.key}-${me}-${id}`;
const forget = entry => { try { localStorage.removeItem(unsentKey(entry.id)); } catch { /* it was never kept */ } };
function waiting() {
  let keys = []; try { keys = Object.keys(localStorage); } catch { /* nothing is kept */ }
  return keys.filter(key => key.startsWith(unsentKey(""))).map(key => recall(key, null)).filter(Boolean).sort((a, b) => a.order - b.order);
}
let pressed = 0;
const logKey = () => `radray-log-${data.key}`;
function newId() { return Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, "0")).join(""); }
function record(item, verdict, region, comment, blind) {
  const entry = { id:newId(), item, verdict, region:region || "", comment, blind:blind ? "yes" : "", reviewer:me, time:new Date().toISOString().slice(0, 19) + "+00:00" };
  apply(entry);
  if (served) { entry.order = Date.now() * 1000 + pressed++ % 1000; unsent.push(entry); remember(unsentKey(entry.id), entry); send(); }
  else if (remember(logKey(), [...recall(logKey(), []), entry])) tell("kept in this browser; export when done");
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
        unsent.shift(); forget(entry); reapply(own.filter(v => v.id !== entry.id)); redraw();
        tell("refused: " + why, true); return;
      }
      if (!answer.ok) throw new Error(answer.status === 403 ? "open the URL that the server printed" : "trying again");
      const said = (await answer.json()).others;
      unsent.shift(); forget(entry);
      others.set(entry.item, said);
      const clash = entry.verdict === "undo" ? [] : clashing(entry.item);
      if (said.length || clash.length) redraw();
      tell(clash.length ? "saved · " + clash.map(v => v.reviewer + " differs").join(", ") : "saved", clash.length > 0);
    }
  } catch (error) {
    tell(`${unsent.length} not saved yet, ${/open/.test(error.message) ? error.message : "trying again"}`, true); setTimeout(send, 1000);
  } finally { sending = false; }
}
async function loadVerdicts() {
  others = new Map(); unsent = [];
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
  const cell = text => /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text, uris = new Map(data.items.map(i => [i.id, i.uri]));
  return [COLUMNS.join(","), ...log.map(v => COLUMNS.map(c => cell(String((c === "uri" ? uris.get(v.item) : v[c]) || ""))).join(","))].join("\n") + "\n";
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
  const link = make("a", { href:URL.createObjectURL(new Blob([asCsv(recall(logKey(), own))], { type:"text/csv" })), download:"verdicts.csv" });
  link.click(); setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
async function importCsv(file) {
  const rows = fromCsv(await file.text()), ids = new Map(data.items.map(i => [i.uri, i.id])), log = recall(logKey(), []), known = new Set(log.map(v => v.id));
  if (!rows) { tell("not a verdicts file", true); return; }
  const fresh = rows.filter(v => ids.has(v.uri) && !known.has(v.id || "")).map(({ uri, ...v }) => ({ ...v, item:ids.get(uri), id:v.id || newId() }));
  remember(logKey(), [...log, ...fresh]);
  await loadVerdicts(); refilter(true); tell(`${fresh.length} verdicts taken in, ${rows.length - fresh.length} left out`);
}
