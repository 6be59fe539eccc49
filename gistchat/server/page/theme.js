// Runs before the first paint, so that a page that was switched to dark does not flash.
const theme = localStorage.getItem("theme");
if (theme) document.documentElement.dataset.theme = theme;
