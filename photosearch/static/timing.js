// When to run what is asked for often.

/** Run once, when nothing has asked for it for `wait`. */
export function debounced(run, wait) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(run, wait);
  };
}

/** Run soon, but not again before `wait` has passed. */
export function throttled(run, wait) {
  let timer = 0;
  let last = -Infinity;
  return () => {
    if (timer) return;
    const delay = Math.max(100, last + wait - performance.now());
    timer = setTimeout(() => {
      timer = 0;
      last = performance.now();
      run();
    }, delay);
  };
}

/** Run when `wait` has passed since the next frame was painted. Returns what calls it off. */
export function afterRest(run, wait) {
  let timer = 0;
  const frame = requestAnimationFrame(() => {
    timer = setTimeout(run, wait);
  });
  return () => {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
  };
}
