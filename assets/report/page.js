// What every page does beside its charts: copying, loading anew, unfolding what a link leads to.

function copyButton(box) {
  const text = box.querySelector('code').textContent;
  const done = el('span', { role: 'status' });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const range = document.createRange();
      range.selectNodeContents(box.querySelector('code'));
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      document.execCommand('copy');
    }
    done.textContent = 'Copied';
    setTimeout(() => (done.textContent = ''), 2000);
  };
  box.prepend(el('p', { class: 'tools' }, el('button', { type: 'button', onclick: copy }, 'Copy the config'), done));
}

// A page about a run that still trains may load itself anew, if a person wants that.
function liveReload() {
  const key = 'weft-reload';
  let stored = null;
  try {
    stored = sessionStorage.getItem(key);
  } catch {
    return; // without a place for the answer it would have to be asked each time
  }
  const input = el('input', { type: 'checkbox' });
  input.checked = stored === 'yes';
  let timer = null;
  const update = () => {
    sessionStorage.setItem(key, input.checked ? 'yes' : 'no');
    clearTimeout(timer);
    if (input.checked) timer = setTimeout(() => location.reload(), 30000);
  };
  input.addEventListener('change', update);
  update();
  const label = el('label', { class: 'live' }, input, ' load this page anew every 30 seconds');
  document.querySelector('header').append(label);
}

function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target instanceof HTMLDetailsElement) target.open = true;
  target.scrollIntoView();
}
