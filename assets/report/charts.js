// Charts as SVG, drawn anew at each width. A reader lies over each: pointer, touch and arrow keys walk
// through its stops, and a screen reader hears their values.

const MARGIN = { left: 56, right: 14, top: 24, bottom: 34 };
const HEIGHT = 240;

function niceTicks(low, high, most) {
  const raw = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw);
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n += 1) ticks.push(n * step);
  return { ticks, step };
}

function tickText(value, step) {
  if (value === 0) return '0';
  if (Math.abs(value) < 1e-3 || step < 1e-4) return value.toExponential(1).replace('.0e', 'e');
  return value.toFixed(Math.max(0, Math.min(4, -Math.floor(Math.log10(step) + 1e-9))));
}

function scales(width, xs, ys) {
  const right = width - MARGIN.right;
  const bottom = HEIGHT - MARGIN.bottom;
  const [xLow, xHigh] = xs[0] === xs[1] ? [xs[0] - 0.5, xs[1] + 0.5] : xs;
  const x = (value) => MARGIN.left + ((value - xLow) / (xHigh - xLow)) * (right - MARGIN.left);
  const y = (value) => bottom - ((value - ys[0]) / (ys[1] - ys[0])) * (bottom - MARGIN.top);
  return { x, y, right, bottom };
}

// Grid lines, numbers and the name of the axis below.
function axes(scale, xTicks, ys, xName, format) {
  const group = svg('g', { class: 'axes' });
  const { ticks, step } = niceTicks(ys[0], ys[1], 5);
  for (const tick of ticks) {
    const y = scale.y(tick);
    group.append(
      svg('line', { x1: MARGIN.left, x2: scale.right, y1: y, y2: y }),
      svg('text', { x: MARGIN.left - 8, y: y + 4, 'text-anchor': 'end' }, (format || tickText)(tick, step)),
    );
  }
  for (const tick of xTicks) {
    const text = tickText(tick, 1);
    group.append(svg('text', { x: scale.x(tick), y: scale.bottom + 17, 'text-anchor': 'middle' }, text));
  }
  const middle = (MARGIN.left + scale.right) / 2;
  group.append(
    svg('line', { class: 'base', x1: MARGIN.left, x2: scale.right, y1: scale.bottom, y2: scale.bottom }),
    svg('text', { class: 'axis', x: middle, y: HEIGHT - 3, 'text-anchor': 'middle' }, xName),
  );
  return group;
}

function wholeTicks(low, high, most) {
  const { ticks } = niceTicks(low, high, most);
  const whole = ticks.filter((tick) => Number.isInteger(tick));
  return whole.length > 0 ? whole : [low];
}

// A line that stops where a value is missing; a value alone is a dot.
function path(xs, ys) {
  let text = '';
  let pen = false;
  ys.forEach((y, index) => {
    if (!Number.isFinite(y)) {
      pen = false;
      return;
    }
    const isAlone = !pen && !Number.isFinite(ys[index + 1]);
    text += `${pen ? 'L' : 'M'}${xs[index].toFixed(1)} ${y.toFixed(1)}${isAlone ? 'h0' : ''}`;
    pen = true;
  });
  return text;
}

// Where a key leads from stop `now` of 0 to `last`, or null for another key.
function moved(key, now, last) {
  const far = Math.max(1, Math.round(last / 10));
  const moves = {
    ArrowLeft: now - 1,
    ArrowDown: now - 1,
    ArrowRight: now + 1,
    ArrowUp: now + 1,
    PageDown: now - far,
    PageUp: now + far,
    Home: 0,
    End: last,
  };
  return key in moves ? Math.max(0, Math.min(last, moves[key])) : null;
}

// The layer that reads a chart. `stops` gives x of each; `tell` gives what the tip shows and the words
// for a screen reader; `mark` draws, or clears without an index.
class Reader {
  constructor(plot, label, chart) {
    this.chart = chart;
    this.at = null;
    this.tip = el('div', { class: 'tip', 'aria-hidden': 'true', hidden: '' });
    this.layer = el('div', {
      class: 'reader',
      role: 'slider',
      tabindex: '0',
      'aria-label': `${label}: read values`,
      'aria-valuemin': '1',
      onpointermove: (event) => this.point(event),
      onpointerdown: (event) => this.point(event),
      onpointerleave: (event) => event.pointerType === 'mouse' && this.leave(),
      onkeydown: (event) => this.key(event),
      onfocus: () => this.layer.matches(':focus-visible') && this.go(this.at ?? this.chart.start()),
      onblur: () => this.leave(),
    });
    plot.append(this.layer, this.tip);
  }

  // The chart was drawn anew.
  refresh() {
    const n = this.chart.stops().length;
    this.layer.setAttribute('aria-valuemax', n);
    this.say(Math.min(this.at ?? this.chart.start(), n - 1));
    if (this.at !== null) this.go(this.at);
  }

  say(index) {
    this.layer.setAttribute('aria-valuenow', index + 1);
    this.layer.setAttribute('aria-valuetext', this.chart.tell(index).words);
  }

  point(event) {
    const x = event.clientX - this.layer.getBoundingClientRect().left;
    const stops = this.chart.stops();
    let nearest = 0;
    stops.forEach((stop, index) => {
      if (Math.abs(stop - x) < Math.abs(stops[nearest] - x)) nearest = index;
    });
    this.go(nearest);
  }

  key(event) {
    const last = this.chart.stops().length - 1;
    const now = this.at ?? this.chart.start();
    if (event.key === 'Escape') this.leave();
    const next = moved(event.key, now, last);
    if (next === null) return;
    event.preventDefault();
    this.go(next);
  }

  go(index) {
    this.at = index;
    this.say(index);
    for (const chart of this.chart.linked) chart.mark(chart.indexOf(this.chart, index));
    const { rows, title } = this.chart.tell(index);
    this.tip.replaceChildren(
      el('b', {}, title),
      ...rows.map(([mark, name, value]) =>
        el('div', {}, el('i', { class: `swatch ${mark}` }), bdi(name), el('span', {}, value)),
      ),
    );
    this.tip.hidden = false;
    const x = this.chart.stops()[index];
    const space = this.layer.clientWidth - this.tip.offsetWidth;
    const beside = x + 14 <= space ? x + 14 : x - 14 - this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(0, Math.min(space, beside))}px`;
  }

  leave() {
    this.tip.hidden = true;
    for (const chart of this.chart.linked) chart.mark(null);
  }
}

// Lines over epochs.
// series: [{name, mark (a class), xs, ys, isOn()}]; best: an epoch to mark, of the series `bestOf`.
class LineChart {
  constructor(figure, { series, format, tickFormat, unit, best, bestOf, fromZero, linked }) {
    Object.assign(this, { figure, series, format, tickFormat, unit, best, bestOf, fromZero });
    this.linked = linked || [this];
    if (linked) linked.push(this);
    this.plot = figure.querySelector('.plot');
    this.title = figure.querySelector('figcaption').textContent;
    this.summary = figure.querySelector('.note').textContent;
    this.epochs = [...new Set(series.flatMap((line) => line.xs))].sort((a, b) => a - b);
    this.reader = new Reader(this.plot, this.title, this);
    this.width = 0;
    new ResizeObserver(() => this.draw(false)).observe(this.plot);
    this.draw(true);
  }

  lines() {
    return this.series.filter((line) => !line.isOn || line.isOn());
  }

  domain() {
    const values = this.lines().flatMap((line) => line.ys).filter(Number.isFinite);
    if (values.length === 0) return [0, 1];
    let low = this.fromZero ? 0 : Math.min(...values);
    let high = Math.max(...values);
    if (high - low < 1e-12) [low, high] = [low - Math.abs(low || 1) / 10, high + Math.abs(high || 1) / 10];
    const pad = (high - low) * 0.06;
    return [this.fromZero ? 0 : Math.max(low - pad, low >= 0 ? 0 : -Infinity), high + pad];
  }

  draw(anyway) {
    const width = this.plot.clientWidth;
    if (width === 0 || (!anyway && width === this.width)) return;
    this.width = width;
    const ys = this.domain();
    const ends = [this.epochs[0], this.epochs[this.epochs.length - 1]];
    const scale = scales(width, ends, ys);
    this.scale = scale;
    const ticks = wholeTicks(ends[0], ends[1], Math.max(2, Math.floor(width / 60)));
    const drawing = svg('svg', { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: 'img' });
    drawing.setAttribute('aria-label', `${this.title}. ${this.summary}`);
    drawing.append(axes(scale, ticks, ys, 'epoch', this.tickFormat));
    if (this.best) drawing.append(this.bestMark(scale));
    for (const line of this.lines()) {
      const d = path(line.xs.map(scale.x), line.ys.map((y) => (Number.isFinite(y) ? scale.y(y) : NaN)));
      drawing.append(svg('path', { class: `line ${line.mark}`, d }));
    }
    if (this.best && this.bestOf) drawing.append(this.bestRing(scale));
    this.overlay = svg('g', { class: 'cross' });
    drawing.append(this.overlay);
    this.plot.querySelector('svg')?.remove();
    this.plot.prepend(drawing);
    this.reader.refresh();
  }

  bestMark(scale) {
    const x = scale.x(this.best);
    const near = x > scale.right - 20 ? 'end' : 'middle';
    return svg(
      'g',
      { class: 'best' },
      svg('line', { x1: x, x2: x, y1: MARGIN.top, y2: scale.bottom }),
      svg('text', { x: near === 'end' ? scale.right : x, y: MARGIN.top - 6, 'text-anchor': near }, 'best'),
    );
  }

  bestRing(scale) {
    const value = this.bestOf.ys[this.bestOf.xs.indexOf(this.best)];
    if (!Number.isFinite(value)) return svg('g');
    const place = { cx: scale.x(this.best), cy: scale.y(value), r: 5 };
    return svg('circle', { class: `ring ${this.bestOf.mark}`, ...place });
  }

  stops() {
    return this.scale ? this.epochs.map(this.scale.x) : this.epochs;
  }

  start() {
    const best = this.epochs.indexOf(this.best);
    return best >= 0 ? best : this.epochs.length - 1;
  }

  indexOf(other, index) {
    return other === this ? index : this.epochs.indexOf(other.epochs[index]);
  }

  tell(index) {
    const epoch = this.epochs[index];
    const isBest = epoch === this.best ? ', best' : '';
    const rows = this.lines()
      .map((line) => [line.mark, line.name, line.ys[line.xs.indexOf(epoch)]])
      .filter(([, , value]) => value !== undefined)
      .map(([mark, name, value]) => [mark, name, this.format(value)]);
    const words = rows.map(([, name, value]) => `${name} ${value}`).join(', ');
    return { title: `epoch ${epoch}${isBest}`, rows, words: `epoch ${epoch}${isBest}: ${words || 'no value'}` };
  }

  mark(index) {
    if (!this.overlay) return;
    this.overlay.replaceChildren();
    if (index === null || index < 0) return;
    const epoch = this.epochs[index];
    const x = this.scale.x(epoch);
    this.overlay.append(svg('line', { x1: x, x2: x, y1: MARGIN.top, y2: this.scale.bottom }));
    for (const line of this.lines()) {
      const value = line.ys[line.xs.indexOf(epoch)];
      if (Number.isFinite(value)) {
        const place = { cx: x, cy: this.scale.y(value), r: 4 };
        this.overlay.append(svg('circle', { class: `dot ${line.mark}`, ...place }));
      }
    }
  }
}

// A reliability diagram: accuracy of each bin of confidence against the diagonal.
class CalibrationChart {
  constructor(figure, bins) {
    this.bins = bins;
    this.linked = [this];
    this.plot = figure.querySelector('.plot');
    this.title = figure.querySelector('figcaption').textContent;
    this.summary = figure.querySelector('.note').textContent;
    this.most = Math.max(1, ...bins.map(([, , n]) => n));
    this.reader = new Reader(this.plot, this.title, this);
    this.width = 0;
    new ResizeObserver(() => this.draw(false)).observe(this.plot);
    this.draw(true);
  }

  draw(anyway) {
    const width = this.plot.clientWidth;
    if (width === 0 || (!anyway && width === this.width)) return;
    this.width = width;
    const scale = scales(width, [0, 1], [0, 1]);
    this.scale = scale;
    const drawing = svg('svg', { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: 'img' });
    drawing.setAttribute('aria-label', `${this.title}. ${this.summary}`);
    const group = axes(scale, [], [0, 1], 'confidence');
    for (const tick of [0, 0.2, 0.4, 0.6, 0.8, 1]) {
      const place = { x: scale.x(tick), y: scale.bottom + 17, 'text-anchor': 'middle' };
      group.append(svg('text', place, tickText(tick, 0.1)));
    }
    drawing.append(group);
    for (const [lower, upper, n, confidence, accuracy] of this.bins) {
      if (n > 0) drawing.append(this.bar(lower, upper, n, confidence, accuracy));
    }
    const [x1, y1, x2, y2] = [scale.x(0), scale.y(0), scale.x(1), scale.y(1)];
    drawing.append(svg('line', { class: 'diagonal', x1, y1, x2, y2 }));
    this.overlay = svg('g', { class: 'cross' });
    drawing.append(this.overlay);
    this.plot.querySelector('svg')?.remove();
    this.plot.prepend(drawing);
    this.reader.refresh();
  }

  // The bar is as strong as the bin is full, and the gap to its mean confidence is drawn on it.
  bar(lower, upper, n, confidence, accuracy) {
    const { x, y, bottom } = this.scale;
    const [left, right] = [x(lower) + 1, x(upper) - 1];
    const [top, other] = [y(accuracy), y(confidence)];
    const width = Math.max(1, right - left);
    return svg(
      'g',
      { class: 'bin' },
      svg('rect', { class: 'amount', x: left, y: top, width, height: Math.max(1, bottom - top) }),
      svg('rect', {
        class: 'gap',
        x: left,
        y: Math.min(top, other),
        width,
        height: Math.max(1, Math.abs(top - other)),
      }),
      svg('line', { class: 'top', x1: left, x2: right, y1: top, y2: top }),
    );
  }

  stops() {
    return this.bins.map(([lower, upper]) => (this.scale ? this.scale.x((lower + upper) / 2) : lower));
  }

  start() {
    return this.bins.length - 1;
  }

  indexOf(_, index) {
    return index;
  }

  tell(index) {
    const [lower, upper, n, confidence, accuracy] = this.bins[index];
    const title = `confidence ${lower.toFixed(2)} to ${upper.toFixed(2)}`;
    if (n === 0) return { title, rows: [['', 'images', '0']], words: `${title}: no images` };
    const rows = [
      ['', 'images', show.count(n)],
      ['', 'mean confidence', show.percent(confidence)],
      ['', 'accuracy', show.percent(accuracy)],
      ['', 'gap', show.percent(accuracy - confidence)],
    ];
    return { title, rows, words: `${title}: ${rows.map(([, name, value]) => `${name} ${value}`).join(', ')}` };
  }

  mark(index) {
    if (!this.overlay) return;
    this.overlay.replaceChildren();
    if (index === null) return;
    const [lower, upper] = this.bins[index];
    const { x, bottom } = this.scale;
    const place = { x: x(lower), y: MARGIN.top, width: x(upper) - x(lower), height: bottom - MARGIN.top };
    this.overlay.append(svg('rect', place));
  }
}
