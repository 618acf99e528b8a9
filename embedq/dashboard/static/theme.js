// Before anything is drawn, so that nothing flashes.
try {
  const theme = localStorage.getItem("embedq-theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch { /* Storage is off: the system's theme it is. */ }
