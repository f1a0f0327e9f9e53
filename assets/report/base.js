// Making elements. Text from the data goes in as text, never as HTML.

const SVG = 'http://www.w3.org/2000/svg';

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

// A name from the data: it does not turn the text around it.
const bdi = (name) => el('bdi', {}, name);

const show = {
  four: (value) => (Number.isFinite(value) ? value.toFixed(4) : '–'),
  rate: (value) => (Number.isFinite(value) ? value.toExponential(1) : '–'),
  seconds: (value) => (Number.isFinite(value) ? `${value.toFixed(1)} s` : '–'),
  percent: (part, digits = 1) => `${(100 * part).toFixed(digits)} %`,
  count: (n) => n.toLocaleString('en-US'),
  images: (n) => `${n.toLocaleString('en-US')} ${n === 1 ? 'image' : 'images'}`,
};

let lastId = 0;
const newId = (prefix) => `${prefix}-${(lastId += 1)}`;

// Radio buttons that look like one switch. `choose` hears the value.
function choice(legend, values, chosen, choose) {
  const group = newId('choice');
  const options = values.map(([value, label]) => {
    const input = el('input', { type: 'radio', name: group, value, onchange: () => choose(value) });
    input.checked = value === chosen;
    return el('label', {}, input, el('span', {}, label));
  });
  return el('fieldset', { class: 'choice' }, el('legend', {}, legend), ...options);
}

const still = window.matchMedia('(prefers-reduced-motion: reduce)');

function scrollTo(node) {
  node.scrollIntoView({ block: 'nearest', behavior: still.matches ? 'auto' : 'smooth' });
}
