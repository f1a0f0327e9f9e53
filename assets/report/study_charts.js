// The charts of a study but for the parallel coordinates.

const inside = (value, [low, high]) => Math.max(low, Math.min(high, value));

// A chart with a point for each trial.
class PointChart extends TrialChart {
  order() {
    return this.trials;
  }

  place(trials, scale, ys, x) {
    this.placed = new Map();
    for (const trial of trials) {
      const value = trial.best === null || trial.status === FAILED ? null : inside(trial.best, ys);
      const y = value === null ? scale.bottom - 6 : scale.y(value);
      const isOut = value !== null && value !== trial.best;
      this.placed.set(trial, { trial, x: x(trial), y, isOut });
    }
    return [...this.placed.values()];
  }

  placeOf(trial) {
    return this.placed.get(trial);
  }

  nearest(x, y) {
    let best = null;
    for (const point of this.placed.values()) {
      if (best === null || near2(x, y, point) < near2(x, y, best)) best = point;
    }
    return best && near2(x, y, best) < 50 ** 2 ? best.trial : null;
  }

  emphasise(trial) {
    const { x, y } = this.placed.get(trial);
    this.overlay.append(svg('circle', { class: 'halo', cx: x, cy: y, r: 7 }));
  }

  // The best one has a ring.
  ring(drawing) {
    const point = this.placed.get(bestTrial);
    if (point) drawing.append(svg('circle', { class: 'best-ring', cx: point.x, cy: point.y, r: 6 }));
  }
}

// The best value of each trial over their numbers, and the best so far as a line.
class HistoryChart extends PointChart {
  constructor(figure) {
    super(figure, allDimensions);
    // A trial without a value that has not failed has nothing to be drawn at.
    this.trials = trials.filter((trial) => trial.best !== null || trial.status === FAILED);
    this.begin();
  }

  paint(drawing, width) {
    const ys = domain(this.range);
    const ends = [trials[0].number, trials[trials.length - 1].number];
    const scale = scales(width, ends, ys);
    const ticks = wholeTicks(ends[0], ends[1], Math.max(2, Math.floor(width / 60)));
    drawing.append(axes(scale, ticks, ys, 'trial', tickValue));
    const placed = this.place(this.trials, scale, ys, (trial) => scale.x(trial.number));
    drawing.append(this.soFar(scale, ys));
    drawPoints(drawing, placed.filter(({ trial }) => trial.status !== FAILED));
    const failed = placed.filter(({ trial }) => trial.status === FAILED);
    if (failed.length > 0) drawing.append(crosses(failed.map(({ x, y }) => [x, y])));
    this.ring(drawing);
  }

  soFar(scale, ys) {
    let [best, d] = [null, ''];
    for (const trial of this.trials) {
      if (trial.status === FAILED || trial.best === null) continue;
      const isBetter = best === null || (view.higher ? trial.best > best : trial.best < best);
      if (!isBetter) continue;
      best = trial.best;
      const [x, y] = [scale.x(trial.number).toFixed(1), scale.y(inside(best, ys)).toFixed(1)];
      d += d === '' ? `M${x} ${y}` : `H${x}V${y}`;
    }
    return svg('path', { class: 'so-far', d: d === '' ? d : `${d}H${scale.right.toFixed(1)}` });
  }
}

// Where each of few values gets a column, its points are spread so that they do not hide each other.
const spread = (trial) => ((trial.number * 0.618034) % 1) - 0.5;

// The objective over the values of one dimension.
class ValueChart extends PointChart {
  constructor(figure, index) {
    super(figure, [index]);
    this.index = index;
    this.trials = ranked.filter((trial) => trial.at[index] !== null);
    this.trials.sort((a, b) => a.at[index] - b.at[index] || a.number - b.number);
    this.begin();
  }

  paint(drawing, width) {
    const axis = view.dimensions[this.index];
    const ys = domain(this.range);
    const isFew = axis.n_values !== null && axis.n_values <= 9;
    const edge = isFew ? 0.5 / Math.max(1, axis.n_values - 1) : 0.03;
    const scale = scales(width, [-edge, 1 + edge], ys);
    const room = isFew ? (scale.right - MARGIN.left) / axis.n_values : Infinity;
    const wide = isFew ? Math.min(60, room * 0.7) : 0;
    drawing.append(axes(scale, [], ys, '', tickValue), this.ticks(axis, scale, room));
    const x = (trial) => scale.x(trial.at[this.index]) + wide * spread(trial);
    drawPoints(drawing, this.place(this.trials, scale, ys, x));
    this.ring(drawing);
  }

  // Marks below the axis, as many as have room; those of few values are cut to theirs.
  ticks(axis, scale, room) {
    const group = svg('g', { class: 'axes' });
    const taken = [];
    for (const [at, text] of axis.ticks) {
      const most = Math.max(2, Math.floor(room / 7));
      const shown = text.length > most ? `${text.slice(0, most - 1)}…` : text;
      const half = shown.length * 3.4 + 4;
      const x = room < Infinity ? scale.x(at) : inside(scale.x(at), [half, scale.right + MARGIN.right - half]);
      if (room === Infinity && taken.some(([other, its]) => Math.abs(other - x) < its + half)) continue;
      taken.push([x, half]);
      const mark = svg('text', { x, y: scale.bottom + 17, 'text-anchor': 'middle' }, shown);
      if (shown !== text) mark.append(svg('title', {}, text));
      group.append(mark, svg('line', { x1: scale.x(at), x2: scale.x(at), y1: scale.bottom, y2: scale.bottom + 4 }));
    }
    return group;
  }
}

function distance2(x, y, a, b) {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const length2 = dx * dx + dy * dy;
  const t = length2 === 0 ? 0 : inside(((x - a.x) * dx + (y - a.y) * dy) / length2, [0, 1]);
  return near2(x, y, { x: a.x + t * dx, y: a.y + t * dy });
}

// The objective over the epochs, a line for each trial.
class CurveChart extends TrialChart {
  constructor(figure) {
    super(figure, allDimensions);
    this.curves = view.curves.map(([index, epochs, values]) => ({ trial: trials[index], epochs, values }));
    const place = new Map(ranked.map((trial, index) => [trial, index]));
    // The best first, those without a value last.
    const placeOf = ({ trial }) => place.get(trial) ?? ranked.length + trial.number;
    this.curves.sort((a, b) => placeOf(a) - placeOf(b));
    this.trials = this.curves.map((curve) => curve.trial);
    this.colour = 'rung';
    this.begin();
  }

  order() {
    return this.trials;
  }

  markOf(trial) {
    if (this.colour === 'bracket') return `s-${view.brackets.indexOf(trial.bracket) % 8}`;
    if (trial.reached === null) return 'none-yet';
    return `g${levelShade(trial.reached)}`;
  }

  legend() {
    const brackets = view.brackets.map((bracket, index) => [`s-${index % 8}`, String(bracket)]);
    const legend = this.colour === 'rung' ? levelLegend(false) : legendOf('bracket', brackets);
    legend.append(el('li', {}, el('i', { class: 'spot star' }), 'the best'));
    return legend;
  }

  span() {
    if (this.range === 'half') return domain('half');
    const values = this.curves.flatMap((curve) => curve.values).filter(Number.isFinite);
    if (values.length === 0) return [0, 1];
    const low = values.reduce((a, b) => Math.min(a, b));
    const high = values.reduce((a, b) => Math.max(a, b));
    const pad = (high - low || Math.abs(high) || 1) * 0.05;
    return [Math.max(low - pad, low >= 0 ? 0 : -Infinity), high + pad];
  }

  paint(drawing, width) {
    const ys = this.span();
    const last = Math.max(1, ...this.curves.map((curve) => curve.epochs[curve.epochs.length - 1]));
    const scale = scales(width, [1, last], ys);
    this.scale = scale;
    const ticks = wholeTicks(1, last, Math.max(2, Math.floor(width / 60)));
    drawing.append(axes(scale, ticks, ys, 'epoch', tickValue));
    // What the axis does not span is cut off at its edge.
    const [x, y] = [MARGIN.left - 4, MARGIN.top - 4];
    const size = { width: scale.right + 4 - x, height: scale.bottom + 4 - y };
    const clip = svg('svg', { class: 'clip', x, y, ...size, viewBox: `${x} ${y} ${size.width} ${size.height}` });
    this.paths = new Map();
    for (const { trial, epochs, values } of [...this.curves].reverse()) {
      const at = values.map((value) => (value === null ? NaN : scale.y(value)));
      const points = epochs.map((epoch, index) => ({ x: scale.x(epoch), y: at[index] }));
      const d = path(points.map((point) => point.x), at);
      this.paths.set(trial, { d, points: points.filter((point) => Number.isFinite(point.y)) });
      const alone = epochs.length === 1 ? ' alone' : '';
      const mark = trial === bestTrial ? 'the-best' : this.markOf(trial);
      clip.append(svg('path', { class: `curve ${mark}${alone}`, d }));
    }
    drawing.append(clip);
  }

  nearest(x, y) {
    let [best, least] = [null, 40 ** 2];
    for (const [trial, { points }] of this.paths) {
      points.forEach((point, index) => {
        const away = distance2(x, y, points[Math.max(0, index - 1)], point);
        if (away < least) [best, least] = [trial, away];
      });
    }
    return best;
  }

  placeOf(trial) {
    const { points } = this.paths.get(trial);
    return points[points.length - 1] ?? { x: MARGIN.left, y: MARGIN.top };
  }

  emphasise(trial) {
    const { d, points } = this.paths.get(trial);
    const clip = this.stage.querySelector('svg.clip').cloneNode(false);
    clip.append(svg('path', { class: 'curve strong', d }));
    this.overlay.append(clip);
    const end = points[points.length - 1];
    if (!end) return;
    const y = inside(end.y, [MARGIN.top, this.scale.bottom]);
    this.overlay.append(svg('circle', { class: 'halo', cx: end.x, cy: y, r: 4 }));
  }
}
