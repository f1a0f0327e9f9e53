// The trials of a study, the one that all charts show, and what every chart of trials has.

const view = JSON.parse(document.getElementById('data').textContent);

const [RUNNING, DONE, FAILED] = [0, 1, 2];
const SHADES = 5;
// A tip names so many dimensions; the table has all.
const MOST_IN_TIP = 9;

const trials = view.trials.number.map((number, index) => ({
  number,
  bracket: view.trials.bracket[index],
  status: view.trials.status[index],
  rung: view.trials.rung[index],
  reached: view.trials.reached[index],
  epochs: view.trials.epochs[index],
  best: view.trials.best[index],
  at: view.trials.at.map((places) => places[index]),
}));
const bestTrial = view.best === null ? null : trials[view.best];

// Those that have a value that counts, the best first.
const ranked = trials.filter((trial) => trial.best !== null && trial.status !== FAILED);
ranked.sort((a, b) => (view.higher ? b.best - a.best : a.best - b.best) || a.number - b.number);
ranked.forEach((trial, place) => (trial.shade = SHADES - 1 - Math.floor((SHADES * place) / ranked.length)));

const showValue = view.higher ? (value) => show.percent(value, 2) : show.four;
const tickValue = view.higher ? (value, step) => `${tickText(100 * value, 100 * step)} %` : tickText;

// The stronger, the more epochs the last rung had. Of many levels some share a shade.
function levelShade(reached) {
  const at = Math.max(0, view.levels.indexOf(reached));
  const last = view.levels.length - 1;
  return last < 1 ? SHADES - 1 : Math.round((at / last) * (SHADES - 1));
}

function statusWords(trial) {
  return ['running', 'done', 'failed'][trial.status];
}

// The rows of the table by trial. A table that is too long for the page lacks some.
const rowOf = new Map(
  [...document.querySelectorAll('table.trials tbody tr')].map((row) => [Number(row.cells[0].textContent), row]),
);

function valueText(trial, dimension) {
  if (trial.at[dimension] === null) return 'not set';
  const row = rowOf.get(trial.number);
  return row ? row.cells[view.columns_before + dimension].textContent : 'in study.csv';
}

// The title and the rows of a tip, and the same in words. `dimensions`: those that are told.
function tell(trial, dimensions) {
  const isBest = trial === bestTrial ? ', the best' : '';
  const title = `trial ${trial.number}${isBest}`;
  const rows = [[view.objective, trial.best === null ? '–' : showValue(trial.best)]];
  if (trial.status !== DONE) rows.push(['status', statusWords(trial)]);
  const rung = trial.rung === null ? '' : `, rung ${trial.rung}`;
  rows.push(['epochs', `${trial.epochs} (bracket ${trial.bracket}${rung})`]);
  const told = dimensions.slice(0, MOST_IN_TIP);
  rows.push(...told.map((index) => [view.dimensions[index].name, valueText(trial, index)]));
  const more = dimensions.length - MOST_IN_TIP;
  if (more > 0) rows.push([`and ${more} more, in the table`, '']);
  return { title, rows, words: `${title}: ${rows.map(([name, value]) => `${name} ${value}`).join(', ')}` };
}

const allDimensions = view.dimensions.map((_, index) => index);

// The trial that is shown everywhere: the one under the pointer, else the one that a click chose.
const focused = {
  hovered: null,
  chosen: null,
  listeners: [],
  hover(trial) {
    if (trial === this.hovered) return;
    this.hovered = trial;
    this.tellAll();
  },
  // The same trial again is let go.
  choose(trial) {
    this.chosen = trial === this.chosen ? null : trial;
    this.tellAll();
  },
  tellAll() {
    for (const listener of this.listeners) listener(this.hovered ?? this.chosen, this.chosen);
  },
};

// What the axis of the objective spans. Values outside stand at its edge.
function domain(range) {
  const values = ranked.map((trial) => trial.best);
  const part = range === 'half' ? values.slice(0, Math.ceil(values.length / 2)) : values;
  let [low, high] = [Math.min(...part), Math.max(...part)];
  if (part.length === 0) [low, high] = [0, 1];
  if (high - low < 1e-12) [low, high] = [low - Math.abs(low || 1) / 10, high + Math.abs(high || 1) / 10];
  const pad = (high - low) * 0.06;
  return [Math.max(low - pad, low >= 0 ? 0 : -Infinity), high + pad];
}

// A few values far from all others would leave no room for the rest.
function usualRange() {
  const span = (range) => domain(range)[1] - domain(range)[0];
  return span('all') > 12 * span('half') ? 'half' : 'all';
}

function rangeChoice(chart) {
  const ranges = [['all', 'all values'], ['half', 'better half']];
  return choice('Axis', ranges, usualRange(), (range) => {
    for (const one of [chart].flat()) {
      one.range = range;
      one.draw(true);
    }
  });
}

// Points as one path: each is a line of no length with round ends.
function dots(points, mark) {
  const d = points.map(([x, y]) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`).join('');
  const many = points.length > 250 ? ' many' : '';
  return svg('path', { class: `dots ${mark}${many}`, d });
}

function crosses(points) {
  const d = points.map(([x, y]) => `M${(x - 4).toFixed(1)} ${(y - 4).toFixed(1)}l8 8m0 -8l-8 8`).join('');
  return svg('path', { class: 'failures', d });
}

// What a point of a trial is drawn as: its shade, hollow while it runs, faint where it stands at the edge.
function drawPoints(drawing, placed) {
  for (const isOut of [true, false]) {
    for (let shade = 0; shade < SHADES; shade += 1) {
      const isOf = (point) => point.isOut === isOut && levelShade(point.trial.reached) === shade;
      const of = placed.filter((point) => point.trial.status === DONE && isOf(point));
      if (of.length > 0) drawing.append(dots(of.map(({ x, y }) => [x, y]), `g${shade}${isOut ? ' out' : ''}`));
    }
  }
  const running = placed.filter(({ trial }) => trial.status === RUNNING).map(({ x, y }) => [x, y]);
  if (running.length > 0) drawing.append(dots(running, 'running'), dots(running, 'hole'));
}

function levelLegend(withRunning) {
  const name = (epochs) => `${epochs} ${epochs === 1 ? 'epoch' : 'epochs'}`;
  const items = view.levels.map((level) => [`g${levelShade(level)}`, name(level)]);
  if (items.length === 0) items.push(['none-yet', 'none is done']);
  if (withRunning && trials.some((trial) => trial.status === RUNNING)) items.push(['running', 'running']);
  return legendOf('last rung', items);
}

function legendOf(title, items) {
  const marks = items.map(([mark, name]) => el('li', {}, el('i', { class: `spot ${mark}` }), name || null));
  return el('ul', { class: 'legend', 'aria-label': title }, el('li', {}, `${title}:`), ...marks);
}

const near2 = (x, y, point) => (point.x - x) ** 2 + (point.y - y) ** 2;

// A chart that names trials: by pointer and touch, by arrow keys, to a screen reader. Those that extend it
// have `paint` (draws), `nearest` (the trial at a place), `order` (the trials that keys walk through),
// `placeOf` (where a trial's tip is) and `emphasise` (draws a trial once more, stronger).
class TrialChart {
  constructor(figure, dimensions) {
    this.dimensions = dimensions;
    this.plot = figure.querySelector('.plot');
    this.stage = this.plot;
    this.title = figure.querySelector('figcaption').textContent;
    this.summary = figure.querySelector('.note').textContent;
    this.range = usualRange();
    this.height = HEIGHT;
    this.width = 0;
  }

  begin() {
    this.tip = el('div', { class: 'tip', 'aria-hidden': 'true', hidden: '' });
    this.layer = el('div', {
      class: 'reader',
      role: 'slider',
      tabindex: '0',
      'aria-label': `${this.title}: read trials`,
      'aria-valuemin': '1',
      onpointermove: (event) => this.point(event),
      onpointerdown: (event) => this.point(event),
      onpointerleave: (event) => event.pointerType === 'mouse' && this.leave(),
      onclick: () => focused.hovered && focused.choose(focused.hovered),
      onkeydown: (event) => this.key(event),
      onfocus: () => this.layer.matches(':focus-visible') && this.go(this.at ?? this.start()),
      onblur: () => this.leave(),
    });
    this.stage.append(this.layer, this.tip);
    focused.listeners.push((trial) => this.mark(trial));
    new ResizeObserver(() => this.draw(false)).observe(this.plot);
    this.draw(true);
  }

  wanted() {
    return this.plot.clientWidth;
  }

  draw(anyway) {
    const width = this.wanted();
    if (width === 0 || (!anyway && width === this.width)) return;
    this.width = width;
    const { height } = this;
    const drawing = svg('svg', { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img' });
    drawing.setAttribute('aria-label', `${this.title}. ${this.summary}`);
    this.paint(drawing, width);
    this.overlay = svg('g', { class: 'shown' });
    drawing.append(this.overlay);
    this.stage.querySelector('svg')?.remove();
    this.stage.prepend(drawing);
    this.say(Math.min(this.at ?? this.start(), this.order().length - 1));
    this.mark(focused.hovered ?? focused.chosen);
  }

  start() {
    return Math.max(0, this.order().indexOf(bestTrial));
  }

  say(index) {
    const order = this.order();
    this.layer.setAttribute('aria-valuemax', Math.max(1, order.length));
    this.layer.setAttribute('aria-valuenow', Math.max(1, index + 1));
    const words = order.length > 0 ? tell(order[index], this.dimensions).words : 'no trial';
    this.layer.setAttribute('aria-valuetext', words);
  }

  point(event) {
    const box = this.layer.getBoundingClientRect();
    const trial = this.nearest(event.clientX - box.left, event.clientY - box.top);
    if (trial === null) this.leave();
    else this.go(this.order().indexOf(trial));
  }

  key(event) {
    const last = this.order().length - 1;
    const now = this.at ?? this.start();
    if (event.key === 'Escape') this.leave();
    const chooses = event.key === 'Enter' || event.key === ' ';
    const next = chooses ? now : moved(event.key, now, last);
    if (next === null) return;
    event.preventDefault();
    this.go(Math.max(0, Math.min(last, next)));
    if (chooses && focused.hovered) focused.choose(focused.hovered);
  }

  go(index) {
    const trial = this.order()[index];
    if (!trial) return;
    this.at = index;
    this.say(index);
    focused.hover(trial);
    const { title, rows } = tell(trial, this.dimensions);
    const lines = rows.map(([name, value]) => el('div', {}, bdi(name), el('span', {}, bdi(value))));
    this.tip.replaceChildren(el('b', {}, title), ...lines);
    this.tip.hidden = false;
    const x = this.placeOf(trial).x;
    const [left, right] = this.seen();
    const space = right - this.tip.offsetWidth;
    const beside = x + 14 <= space ? x + 14 : x - 14 - this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(left, Math.min(space, beside))}px`;
  }

  // Where the part of the chart that is seen begins and ends.
  seen() {
    return [0, this.layer.clientWidth];
  }

  leave() {
    this.tip.hidden = true;
    focused.hover(null);
  }

  mark(trial) {
    if (!this.overlay) return;
    this.overlay.replaceChildren();
    if (trial && this.order().includes(trial)) this.emphasise(trial);
  }
}
