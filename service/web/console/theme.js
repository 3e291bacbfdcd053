// Runs before the page is drawn, so that a chosen theme does not flash.
"use strict";
try {
  const theme = localStorage.getItem("s3-signer.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is blocked: the theme is that of the system.
}
