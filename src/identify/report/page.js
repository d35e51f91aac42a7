'use strict';
const $ = id => document.getElementById(id);
const data = JSON.parse($('data').textContent);
const frames = Uint8Array.from(atob($('frames').textContent), c => c.charCodeAt(0));
const [GH, GW] = data.grid, N = GH * GW, count = frames.length / N;
const units = data.units, truth = data.truth || [];
let chosen = 0, time = 0, playing = false, last = 0;

const dark = () => document.documentElement.classList.contains('dark');
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const color = unit => unit.color[dark() ? 1 : 0];

/* A canvas at the screen's own resolution; returns its context in CSS pixels and its size. */
function fit(canvas) {
  const box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
  const w = Math.max(1, Math.round(box.width * ratio)), h = Math.max(1, Math.round(box.height * ratio));
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
  const ctx = canvas.getContext('2d');
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, box.width, box.height);
  return [ctx, box.width, box.height];
}

/* Velocity to colour: blue towards negative, orange towards positive, the page's own ground at rest. */
let table = [];
function makeTable() {
  const rest = dark() ? [20, 24, 30] : [250, 250, 250];
  const ends = dark() ? [[80, 160, 240], [255, 160, 70]] : [[20, 86, 160], [176, 78, 0]];
  table = Array.from({ length: 256 }, (_, i) => {
    const v = (i - 128) / 127, end = ends[v < 0 ? 0 : 1], s = Math.min(1, Math.abs(v)) ** 0.8;
    return rest.map((r, k) => Math.round(r + (end[k] - r) * s));
  });
}
const small = document.createElement('canvas');
small.width = GW;
small.height = GH;
const smallCtx = small.getContext('2d'), image = smallCtx.createImageData(GW, GH);

function trace(ctx, loops, k) {
  ctx.beginPath();
  for (const loop of loops) {
    for (let i = 0; i < loop.length; i += 2) ctx[i ? 'lineTo' : 'moveTo'](loop[i] * k, loop[i + 1] * k);
    ctx.closePath();
  }
}

/* 1 at a firing, fading within 60 ms. */
function flash(unit) {
  let f = 0;
  for (const t of unit.firings) { const d = Math.abs(time - t); if (d < 0.06) f = Math.max(f, 1 - d / 0.06); }
  return f;
}

function drawMovie() {
  const [ctx, w, h] = fit($('movie')), k = w / GW;
  const frame = Math.min(count - 1, Math.floor(time * data.movie_hz));
  for (let i = 0; i < N; i++) {
    const c = table[frames[frame * N + i]];
    image.data[4 * i] = c[0]; image.data[4 * i + 1] = c[1]; image.data[4 * i + 2] = c[2]; image.data[4 * i + 3] = 255;
  }
  smallCtx.putImageData(image, 0, 0);
  ctx.imageSmoothingEnabled = true;
  ctx.imageSmoothingQuality = 'high';
  ctx.drawImage(small, 0, 0, w, h);
  ctx.lineJoin = 'round';
  if ($('show-truth').checked) for (const t of truth) {
    ctx.setLineDash([5, 4]);
    ctx.strokeStyle = css('--truth');
    ctx.lineWidth = 1.6;
    trace(ctx, t.outline, k);
    ctx.stroke();
  }
  ctx.setLineDash([]);
  if ($('show-units').checked) units.forEach((unit, i) => {
    const f = flash(unit);
    trace(ctx, unit.outline, k);
    ctx.globalAlpha = 0.05 + 0.4 * f;
    ctx.fillStyle = color(unit);
    ctx.fill('evenodd');
    ctx.globalAlpha = 1;
    if (i === chosen) { ctx.strokeStyle = css('--text'); ctx.lineWidth = 5.5; ctx.stroke(); }
    ctx.strokeStyle = color(unit);
    ctx.lineWidth = 1.8 + 1.6 * f;
    ctx.stroke();
  });
  if ($('show-numbers').checked) {
    ctx.textAlign = 'center';
    ctx.textBaseline = 'middle';
    ctx.lineWidth = 3.5;
    units.forEach((unit, i) => {
      ctx.font = `${i === chosen ? 700 : 600} 13px system-ui, sans-serif`;
      ctx.strokeStyle = css('--card');
      ctx.strokeText(unit.id, unit.label[0] * k, unit.label[1] * k);
      ctx.fillStyle = color(unit);
      ctx.fillText(unit.id, unit.label[0] * k, unit.label[1] * k);
    });
  }
  if (data.mm_per_pixel) {
    const length = 10 / data.mm_per_pixel * k, y = h - 14;
    ctx.globalAlpha = 0.7;
    ctx.fillStyle = css('--card');
    ctx.fillRect(8, y - 22, length + 12, 28);
    ctx.globalAlpha = 1;
    ctx.strokeStyle = ctx.fillStyle = css('--text');
    ctx.lineWidth = 2.5;
    ctx.beginPath(); ctx.moveTo(14, y); ctx.lineTo(14 + length, y); ctx.stroke();
    ctx.font = '600 12px system-ui, sans-serif';
    ctx.textAlign = 'left'; ctx.textBaseline = 'bottom';
    ctx.fillText('10 mm', 14, y - 4);
  }
  $('clock').textContent = `${time.toFixed(3)} s`;
  if (document.activeElement !== $('seek')) $('seek').value = Math.round(1000 * time / data.duration_s);
}

/* The part of the time axis that the signal shows: all of a short recording, else the surroundings of the present. */
function span() {
  const wide = 2.5;
  if (data.duration_s <= wide) return [0, data.duration_s];
  const from = Math.max(0, Math.min(data.duration_s - wide, time - wide / 2));
  return [from, from + wide];
}

function path(ctx, signal, from, to, x, y) {
  const a = Math.max(0, Math.floor(from * data.signal_hz)), b = Math.min(signal.length - 1, Math.ceil(to * data.signal_hz));
  ctx.beginPath();
  for (let i = a; i <= b; i++) ctx[i > a ? 'lineTo' : 'moveTo'](x(i / data.signal_hz), y(signal[i]));
  ctx.stroke();
}

function nice(range, most) {
  const raw = range / most, power = 10 ** Math.floor(Math.log10(raw));
  return power * [1, 2, 5, 10].find(f => f * power >= raw * 0.999);
}

function drawSignal() {
  const [ctx, w, h] = fit($('signal')), unit = units[chosen];
  if (!unit) return;
  const known = unit.truth === null || unit.truth === undefined ? null : truth[unit.truth];
  const [from, to] = span(), box = { l: 54, r: 14, t: 30, b: 34 };
  const all = known ? unit.signal.concat(known.signal) : unit.signal;
  let low = 0, high = 0;
  for (const v of all) { if (v < low) low = v; if (v > high) high = v; }
  if (high === low) high = low + 1;
  const pad = 0.06 * (high - low); low -= pad; high += pad;
  const x = t => box.l + (t - from) / (to - from) * (w - box.l - box.r);
  const y = v => h - box.b - (v - low) / (high - low) * (h - box.t - box.b);
  ctx.font = '12px system-ui, sans-serif';
  ctx.fillStyle = css('--faint');
  ctx.strokeStyle = css('--line');
  ctx.lineWidth = 1;
  ctx.textAlign = 'center'; ctx.textBaseline = 'top';
  const step = nice(to - from, Math.max(3, w / 80));
  for (let i = Math.ceil(from / step); i * step <= to + 1e-9; i++) {
    const at = x(i * step);
    ctx.beginPath(); ctx.moveTo(at, box.t); ctx.lineTo(at, h - box.b); ctx.stroke();
    ctx.fillText(+(i * step).toFixed(3), at, h - box.b + 5);
  }
  ctx.fillText('time (s)', (box.l + w - box.r) / 2, h - 15);
  ctx.textAlign = 'right'; ctx.textBaseline = 'middle';
  const vstep = nice(high - low, 5);
  for (let i = Math.ceil(low / vstep); i * vstep <= high; i++) {
    const at = y(i * vstep);
    ctx.beginPath(); ctx.moveTo(box.l, at); ctx.lineTo(w - box.r, at); ctx.stroke();
    ctx.fillText(+(i * vstep).toPrecision(3), box.l - 7, at);
  }
  ctx.save();
  ctx.beginPath(); ctx.rect(box.l - 5, 0, w - box.l - box.r + 10, h); ctx.clip();
  ctx.lineJoin = 'round';
  if (known) {
    ctx.strokeStyle = css('--truth'); ctx.lineWidth = 1.5; ctx.setLineDash([5, 4]);
    path(ctx, known.signal, from, to, x, y);
    ctx.setLineDash([]);
    for (const t of known.firings) { ctx.beginPath(); ctx.moveTo(x(t), 4); ctx.lineTo(x(t), 12); ctx.stroke(); }
  }
  ctx.strokeStyle = ctx.fillStyle = color(unit);
  ctx.lineWidth = 2;
  path(ctx, unit.signal, from, to, x, y);
  for (const t of unit.firings) {
    ctx.beginPath(); ctx.moveTo(x(t) - 5, 15); ctx.lineTo(x(t) + 5, 15); ctx.lineTo(x(t), 24); ctx.fill();
  }
  ctx.strokeStyle = css('--text'); ctx.lineWidth = 1;
  ctx.beginPath(); ctx.moveTo(x(time), 2); ctx.lineTo(x(time), h - box.b); ctx.stroke();
  ctx.restore();
  $('signal').toTime = px => from + (px - box.l) / (w - box.l - box.r) * (to - from);
}

function intervals(unit) { return unit.firings.slice(1).map((t, i) => 1000 * (t - unit.firings[i])); }

function drawIntervals() {
  const [ctx, w, h] = fit($('intervals')), unit = units[chosen];
  if (!unit) return;
  const gaps = intervals(unit), width = 10, most = 250, bins = new Array(most / width).fill(0);
  for (const g of gaps) bins[Math.min(bins.length - 1, Math.floor(g / width))]++;
  const top = Math.max(1, ...bins), l = 8, b = 30, bar = (w - 2 * l) / bins.length;
  ctx.fillStyle = color(unit);
  bins.forEach((n, i) => { const tall = n / top * (h - b - 6); ctx.fillRect(l + i * bar + 1, h - b - tall, bar - 2, tall); });
  ctx.strokeStyle = css('--line'); ctx.beginPath(); ctx.moveTo(l, h - b + .5); ctx.lineTo(w - l, h - b + .5); ctx.stroke();
  ctx.fillStyle = css('--faint'); ctx.font = '12px system-ui, sans-serif'; ctx.textAlign = 'center'; ctx.textBaseline = 'top';
  for (let ms = 0; ms <= most; ms += 50) ctx.fillText(ms === most ? '250+' : ms, Math.min(w - 18, Math.max(10, l + ms / width * bar)), h - b + 4);
  ctx.fillText('ms', w / 2, h - 14);
}

function drawRow(canvas, unit) {
  const [ctx, w, h] = fit(canvas), shown = Math.min(data.duration_s, data.row_s);
  let low = 0, high = 0;
  for (const v of unit.signal) { if (v < low) low = v; if (v > high) high = v; }
  const x = t => 2 + t / shown * (w - 4), y = v => 8 + (high - v) / (high - low || 1) * (h - 10);
  ctx.strokeStyle = ctx.fillStyle = color(unit);
  ctx.lineWidth = 1.2; ctx.lineJoin = 'round';
  path(ctx, unit.signal, 0, shown, x, y);
  for (const t of unit.firings) if (t <= shown) ctx.fillRect(x(t) - .8, 0, 1.6, 5);
}

function drawTable() {
  document.querySelectorAll('#rows tr').forEach((row, i) => {
    row.classList.toggle('chosen', i === chosen);
    row.querySelector('.dot').style.background = color(units[i]);
    drawRow(row.querySelector('canvas'), units[i]);
  });
}

function facts() {
  const unit = units[chosen];
  if (!unit) return;
  $('unit-title').textContent = `Motor unit ${unit.id} of ${units.length}`;
  $('unit-velocity').textContent = `velocity in ${data.velocity_unit}`;
  $('unit-dot').style.background = color(unit);
  const gaps = intervals(unit), mean = gaps.reduce((a, b) => a + b, 0) / gaps.length;
  const sd = Math.sqrt(gaps.reduce((a, b) => a + (b - mean) ** 2, 0) / Math.max(1, gaps.length - 1));
  const list = unit.facts.concat(gaps.length > 1 ? [['Mean interval', `${mean.toFixed(0)} ms`], ['Interval variation', `${(100 * sd / mean).toFixed(0)} %`]] : []);
  $('facts').replaceChildren(...list.map(([name, value]) => {
    const box = document.createElement('div'), dt = document.createElement('dt'), dd = document.createElement('dd');
    dt.textContent = name; dd.textContent = value; box.append(dt, dd);
    return box;
  }));
}

function choose(i) {
  if (!units.length) return;
  chosen = (i + units.length) % units.length;
  drawAll();
}
function drawAll() { makeTable(); facts(); drawMovie(); drawSignal(); drawIntervals(); drawTable(); }
function seek(t) { time = Math.max(0, Math.min(data.duration_s, t)); drawMovie(); drawSignal(); }
function play(on) { playing = on; $('play').textContent = on ? 'Pause' : 'Play'; if (on) { last = 0; requestAnimationFrame(tick); } }
function tick(now) {
  if (!playing) return;
  if (last) {
    time += (now - last) / 1000 * Number($('speed').value);
    if (time >= data.duration_s) time = 0;
    drawMovie(); drawSignal();
  }
  last = now;
  requestAnimationFrame(tick);
}

$('play').onclick = () => play(!playing);
$('seek').oninput = e => { play(false); seek(e.target.value / 1000 * data.duration_s); };
for (const id of ['show-units', 'show-numbers', 'show-truth']) $(id).onchange = drawMovie;
$('previous').onclick = () => choose(chosen - 1);
$('next').onclick = () => choose(chosen + 1);
$('movie').onclick = e => {
  const box = $('movie').getBoundingClientRect(), k = box.width / GW, ctx = smallCtx;
  const hits = units.map((unit, i) => { trace(ctx, unit.outline, 1); return [ctx.isPointInPath((e.clientX - box.left) / k, (e.clientY - box.top) / k, 'evenodd'), unit.area, i]; });
  const inside = hits.filter(h => h[0]).sort((a, b) => a[1] - b[1]);
  if (inside.length) {
    /* A second click on the same spot goes to the next unit below. */
    const at = inside.findIndex(h => h[2] === chosen);
    choose(inside[(at + 1) % inside.length][2]);
  }
};
const scrub = e => { if (e.buttons && $('signal').toTime) { play(false); seek($('signal').toTime(e.clientX - $('signal').getBoundingClientRect().left)); } };
$('signal').onpointerdown = $('signal').onpointermove = scrub;
document.querySelectorAll('#rows tr').forEach((row, i) => { row.onclick = () => choose(i); });
document.onkeydown = e => {
  if (e.target.closest('input, select, button')) return;
  if (e.key === ' ') { e.preventDefault(); play(!playing); }
  else if (e.key === 'ArrowRight') seek(time + 1 / data.movie_hz);
  else if (e.key === 'ArrowLeft') seek(time - 1 / data.movie_hz);
};
function theme(on) { document.documentElement.classList.toggle('dark', on); $('theme').textContent = on ? 'Light' : 'Dark'; drawAll(); }
$('theme').onclick = () => theme(!dark());
window.onresize = drawAll;
/* A wide field takes the page's width; a tall one is no taller than a square would be. */
$('movie').style.aspectRatio = `${GW} / ${GH}`;
if (GW < GH) Object.assign($('movie').style, { width: `${100 * GW / GH}%`, margin: '0 auto' });
if (GW > 1.4 * GH) $('movie').closest('.pair').style.gridTemplateColumns = 'minmax(0, 1fr)';
if (data.truth) $('truth-label').hidden = false;
theme(window.matchMedia('(prefers-color-scheme: dark)').matches);
