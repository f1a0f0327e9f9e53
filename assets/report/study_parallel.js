// Parallel coordinates: an axis for each dimension, the objective last, a line for each trial.

const BETWEEN = 104;
const NAME_LINE = 14;

// A name in lines that fit between two axes, broken after dots and underscores where it has them.
function nameLines(name, most = 15) {
  const lines = [''];
  for (const part of name.match(/[^._\s]*[._\s]?/g).filter(Boolean)) {
    for (let rest = part; rest !== ''; rest = rest.slice(most)) {
      const piece = rest.slice(0, most);
      if (lines[lines.length - 1].length + piece.length <= most) lines[lines.length - 1] += piece;
      else lines.push(piece);
    }
  }
  const kept = lines.filter(Boolean);
  return kept.length > 4 ? [...kept.slice(0, 3), `${kept[3].slice(0, most - 1)}…`] : kept;
}

class ParallelChart extends TrialChart {
  constructor(figure, said) {
    super(figure, allDimensions);
    this.said = said;
    this.names = [...view.dimensions.map((axis) => axis.name), view.objective].map((name) => nameLines(name));
    this.top = 22 + NAME_LINE * Math.max(...this.names.map((lines) => lines.length));
    this.height = this.top + 300;
    // Of very many lines none could be followed.
    this.part = ranked.length > 1000 ? 0.1 : ranked.length > 300 ? 0.5 : 1;
    // The ranges that were drawn on axes: axis -> [low, high], from 0 to 1.
    this.ranges = new Map();
    this.stage = el('div', { class: 'stage' });
    this.plot.append(this.stage);
    fill(this.plot, { class: 'plot scroll', role: 'region', 'aria-label': `${this.title}: axes` }, []);
    watchScrolling(this.plot);
    this.begin();
    this.layer.addEventListener('pointerdown', (event) => this.press(event));
    this.layer.addEventListener('pointerup', () => (this.drag = null));
  }

  wanted() {
    return Math.max(this.plot.clientWidth, BETWEEN * (view.dimensions.length + 1));
  }

  // The trials that are shown, the best first.
  order() {
    return this.passing;
  }

  passes(trial) {
    for (const [axis, [low, high]] of this.ranges) {
      const at = this.heightOf(trial, axis);
      if (at < low || at > high) return false;
    }
    return true;
  }

  // From 0 at the bottom to 1; what is not set lies below.
  heightOf(trial, axis) {
    if (axis < view.dimensions.length) return trial.at[axis] ?? -0.13;
    const [low, high] = this.ys;
    return (inside(trial.best, this.ys) - low) / (high - low);
  }

  paint(drawing, width) {
    this.ys = domain(this.range);
    const n = view.dimensions.length;
    const bottom = this.height - 56;
    this.x = (axis) => 46 + (axis / n) * (width - 46 - 76);
    this.y = (at) => bottom - at * (bottom - this.top);
    this.stage.style.width = `${width}px`;
    const among = ranked.slice(0, Math.ceil(ranked.length * this.part));
    this.passing = among.filter((trial) => this.passes(trial));
    const isShown = new Set(this.passing);
    const off = ranked.filter((trial) => !isShown.has(trial));
    drawing.append(this.lines(off, 'line-off'));
    for (let shade = 0; shade < SHADES; shade += 1) {
      drawing.append(this.lines(this.passing.filter((trial) => trial.shade === shade), `trial-line g${shade}`));
    }
    if (isShown.has(bestTrial)) drawing.append(this.lines([bestTrial], 'trial-line the-best'));
    for (let axis = 0; axis <= n; axis += 1) drawing.append(this.axis(axis));
    this.said.textContent = `${this.passing.length} of ${ranked.length} trials`;
  }

  lines(of, mark) {
    return svg('path', { class: mark, d: of.map((trial) => this.lineOf(trial)).join('') });
  }

  lineOf(trial) {
    const points = [...view.dimensions.keys(), view.dimensions.length].map(
      (axis) => `${this.x(axis).toFixed(1)} ${this.y(this.heightOf(trial, axis)).toFixed(1)}`,
    );
    return `M${points.join('L')}`;
  }

  ticksOf(axis) {
    if (axis < view.dimensions.length) return view.dimensions[axis].ticks;
    const [low, high] = this.ys;
    const { ticks, step } = niceTicks(low, high, 6);
    return ticks.map((tick) => [(tick - low) / (high - low), tickValue(tick, step)]);
  }

  axis(axis) {
    const x = this.x(axis);
    const name = axis < view.dimensions.length ? view.dimensions[axis].name : view.objective;
    const lines = this.names[axis];
    const y = this.top - 14 - NAME_LINE * (lines.length - 1);
    const title = svg('text', { class: 'name', x, y, 'text-anchor': 'middle' });
    lines.forEach((line, index) => title.append(svg('tspan', { x, dy: index === 0 ? 0 : NAME_LINE }, line)));
    title.append(svg('title', {}, name));
    const group = svg('g', { class: 'parallel-axis' }, title);
    group.append(svg('line', { x1: x, x2: x, y1: this.y(1), y2: this.y(0) }));
    const taken = [];
    for (const [at, text] of this.ticksOf(axis)) {
      const y = this.y(at);
      if (taken.some((other) => Math.abs(other - y) < 14)) continue;
      taken.push(y);
      const shown = text.length > 12 ? `${text.slice(0, 11)}…` : text;
      group.append(svg('line', { x1: x - 4, x2: x, y1: y, y2: y }), svg('text', { x: x + 5, y: y + 4 }, shown));
    }
    if (axis < view.dimensions.length && ranked.some((trial) => trial.at[axis] === null)) {
      group.append(svg('text', { class: 'not-set', x, y: this.y(-0.13) + 16, 'text-anchor': 'middle' }, 'not set'));
    }
    const range = this.ranges.get(axis);
    if (range) {
      const [top, end] = [this.y(range[1]), this.y(range[0])];
      group.append(svg('rect', { class: 'range', x: x - 7, y: top, width: 14, height: Math.max(2, end - top) }));
    }
    return group;
  }

  nearest(x, y) {
    if (this.drag) return null;
    const n = view.dimensions.length;
    const step = this.x(1) - this.x(0);
    const left = Math.max(0, Math.min(n - 1, Math.floor((x - this.x(0)) / step)));
    const t = inside((x - this.x(left)) / step, [0, 1]);
    let [best, least] = [null, 26];
    for (const trial of this.passing) {
      const [a, b] = [this.y(this.heightOf(trial, left)), this.y(this.heightOf(trial, left + 1))];
      const away = Math.abs(a + t * (b - a) - y);
      if (away < least) [best, least] = [trial, away];
    }
    return best;
  }

  placeOf() {
    return { x: this.pointerX ?? this.seen()[1] };
  }

  // Many axes scroll in their box.
  seen() {
    return [this.plot.scrollLeft, this.plot.scrollLeft + this.plot.clientWidth];
  }

  point(event) {
    const box = this.layer.getBoundingClientRect();
    this.pointerX = event.clientX - box.left;
    if (this.drag) this.pull(event.clientY - box.top);
    else super.point(event);
  }

  key(event) {
    this.pointerX = null;
    super.key(event);
  }

  // A mouse that is pressed on an axis and moved draws a range. Without a move it is a click.
  press(event) {
    const box = this.layer.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const axis = Math.round((x - this.x(0)) / (this.x(1) - this.x(0)));
    const isOn = axis >= 0 && axis <= view.dimensions.length && Math.abs(this.x(axis) - x) < 14;
    if (!isOn || event.pointerType === 'touch') return;
    this.layer.setPointerCapture(event.pointerId);
    this.drag = { axis, from: y };
  }

  pull(y) {
    if (Math.abs(y - this.drag.from) < 5 && !this.drag.moved) return;
    this.drag.moved = true;
    this.leave();
    const bottom = this.y(0);
    const at = (place) => inside((bottom - place) / (bottom - this.y(1)), [-0.2, 1]);
    this.ranges.set(this.drag.axis, [at(Math.max(y, this.drag.from)), at(Math.min(y, this.drag.from))]);
    this.draw(true);
  }

  clear() {
    this.ranges.clear();
    this.draw(true);
  }

  emphasise(trial) {
    this.overlay.append(this.lines([trial], 'trial-line strong'));
  }
}
