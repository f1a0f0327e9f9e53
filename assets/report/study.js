// Puts everything of a study's page in its place.

function start() {
  document.querySelectorAll('table[data-sort]').forEach(makeSortable);
  document.querySelectorAll('.scroll').forEach(watchScrolling);
  document.querySelectorAll('.copy').forEach(copyButton);
  if ('live' in document.body.dataset) liveReload();
  window.addEventListener('hashchange', openTarget);
  if (location.hash) openTarget();
  document.documentElement.dataset.ready = '';
}

start();
