// Runs before the page is drawn, so that the theme does not flash.
try {
  const theme = localStorage.getItem("embedq-theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch { /* Storage is off: the system's theme it is. */ }
